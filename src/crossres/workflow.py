"""What the rules of the workflow ask."""

from __future__ import annotations

from pathlib import Path

from crossres.base import CrossresError
from crossres.files import run_dir, shipped_record
from crossres.records.record import read_record
from crossres.suites.config import Config, is_computed, results_dir
from crossres.suites.spec import Suite


def check_given(config: Config, suite: Suite) -> None:
    """Check that everything which is given, and which no rule may compute, is there.

    Raises:
        CrossresError: Naming a shipped record that is missing or of another spec, or a shipped teacher whose weights
            are not here.
    """
    for run, seed in suite.jobs():
        computed, record = is_computed(config, suite, run), shipped_record(suite.suite, run, seed)
        # With a list, weights alone may be wanted, and then no other run's record is.
        if not computed and not isinstance(config.records, list) and not record.is_file():
            mend = "git restore it" if suite.records == "shipped" else f"compute it, then: crossres ship {config.suite}"
            raise CrossresError(f"{run} seed {seed} is not to be computed, and there is no {record}; {mend}")
        if not computed and record.is_file():
            _check_shipped(record, suite, run, seed)
        spec = suite.resolve(run, seed, config.budget)
        if not computed or spec.teacher is None or is_computed(config, suite, spec.teacher):
            continue
        weights = run_dir(results_dir(config, suite), spec.teacher, str(spec.teacher_seed)) / "weights.safetensors"
        if not weights.is_file():
            mend = f"put them there, or compute it, too: records=[{run},{spec.teacher}]"
            raise CrossresError(f"{run} learns from {spec.teacher}, whose weights are not here ({weights}); {mend}")


def _check_shipped(path: Path, suite: Suite, run: str, seed: int) -> None:
    spec, wanted = read_record(path).spec, suite.resolve(run, seed)
    if differing := spec.differing(wanted):
        mend = "git restore it" if suite.records == "shipped" else "undo the change, or compute it and ship it again"
        raise CrossresError(
            f"{path}: not the record of {run} seed {seed}: it differs in {', '.join(differing)}; {mend}"
        )
