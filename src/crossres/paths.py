"""The only speller of paths.  Layer L0.

Every function takes names and returns a path relative to the project's root; with Snakemake wildcards as names
(`"{run}"`) it returns the pattern of a rule.
"""

from __future__ import annotations

from pathlib import Path

RESULTS = Path("results")
SHIPPED = Path("paper/records")
SUITES = Path("workflow/suites")
TEMPLATES = Path("paper")
STANDING = "progress.json"
LOCK = ".lock"
BENCHMARKS = Path("benchmarks/results")
CLAIMS = TEMPLATES / "claims.yaml"


def suite_file(suite: str) -> Path:
    """The definition of a suite."""
    return SUITES / f"{suite}.yaml"


def suite_dir(suite: str, truncated: bool = False) -> Path:
    """The folder of a suite's results; a truncated suite has its own, so that a trial overwrites nothing."""
    return RESULTS / (f"{suite}-truncated" if truncated else suite)


def audit_file(results: Path) -> Path:
    """The verdicts on the claims, under a suite's results."""
    return results / "claims.json"


def run_dir(results: Path, run: str, seed: int | str) -> Path:
    """The folder of one run and seed."""
    return results / run / f"seed{seed}"


def record_file(results: Path, run: str, seed: int | str) -> Path:
    """The computed record of one run and seed."""
    return run_dir(results, run, seed) / "record.json"


def export_dir(results: Path, run: str | None = None, seed: int | None = None) -> Path:
    """The folder of what is handed on: the best student, or a run and seed of one's choice."""
    return results / "export" if run is None else results / "export" / f"{run}-seed{seed}"


def logits_dir(teacher_dir: Path, key: str) -> Path:
    """The folder of a teacher's stored pass over one stream."""
    return teacher_dir / "logits" / key


def epoch_logits(folder: Path, epoch: int) -> Path:
    """One epoch of a stored pass."""
    return folder / f"epoch-{epoch:04d}.bin"


def shipped_record(suite: str, run: str, seed: int | str) -> Path:
    """A record that is given, and that no rule outputs."""
    return run_dir(SHIPPED / suite, run, seed).with_suffix(".json")


def data_dir(root: Path, dataset: str) -> Path:
    """The folder of a data set; `cifar-100-python/` or its like stands inside."""
    return root / dataset


def data_manifest(root: Path, dataset: str) -> Path:
    """The list of a data set's files and digests, written once they are verified."""
    return data_dir(root, dataset) / "manifest.json"
