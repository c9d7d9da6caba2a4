"""The workflow in another working directory, which then holds data and results: three ways that Snakemake offers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.project import job_counts, planned, snakemake

pytestmark = pytest.mark.workflow
MODULE = """\
module thesis:
    snakefile: "{project}/Snakefile"
    config: {{"suite": "published"}}

use rule * from thesis as thesis_*
"""


def ways(project: Path, elsewhere: Path) -> dict[str, tuple[Path, list[str], str]]:
    """Return the folder to start in, the words and the prefix of the rules of each way."""
    (elsewhere / "own.smk").write_text(MODULE.format(project=project))
    config = ["--config", "suite=published"]
    return {
        "snakefile": (elsewhere, ["-s", str(project / "Snakefile"), *config], ""),
        "directory": (project, ["--directory", str(elsewhere), *config], ""),
        "module": (elsewhere, ["-s", "own.smk"], "thesis_"),
    }


@pytest.mark.parametrize("way", ["snakefile", "directory", "module"])
def test_packaged_files_are_found_from_elsewhere(project: Path, tmp_path: Path, way: str) -> None:
    folder, words, prefix = ways(project, tmp_path)[way]
    targets = ["results/published/claims.json", "results/published/report.tex"]
    done = snakemake(folder, "-n", "--cores", "1", *words, "--", *targets)
    assert done.returncode == 0, done.stderr
    here = planned(project, "--config", "suite=published", "--", *targets)
    assert job_counts(done.stdout + done.stderr) == {f"{prefix}{rule}": count for rule, count in here.items()}


@pytest.mark.parametrize("way", ["snakefile", "module"])
def test_results_go_to_the_working_directory(project: Path, tmp_path: Path, way: str) -> None:
    folder, words, _ = ways(project, tmp_path)[way]
    target = "results/published/claims.json"
    done = snakemake(folder, "--cores", "1", *words, "--", target)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / target).is_file()
    assert not (project / "results/published").exists()
