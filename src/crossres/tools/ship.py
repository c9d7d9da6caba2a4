"""Which records still match their spec, and how they become shipped ones."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from crossres import files
from crossres.base import CrossresError
from crossres.records import provenance
from crossres.records.record import Record, read_record, write_record
from crossres.suites.spec import Spec
from crossres.suites.suite import Suite


def why_stale(record: Record, spec: Spec, sources_sha256: str) -> str | None:
    """Say why a record no longer matches its run; None where it does.

    Args:
        record: The record.
        spec: The run's spec as the suite has it today.
        sources_sha256: Digest of today's training sources.
    """
    if differing := record.spec.differing(spec):
        return f"its spec differs from the suite's in {', '.join(differing)}"
    made_by = record.provenance.sources_sha256
    return "the training code has changed since" if made_by not in (None, sources_sha256) else None


def ship(
    suite: Suite,
    runs: Iterable[str] | None = None,
    accept_sources: bool = False,
    suite_name: str | None = None,
    seeds: Collection[int] | None = None,
) -> list[Path]:
    """Copy computed records to the shipped ones: all of them, or none if one is refused.

    Args:
        suite: The suite.
        runs: Runs to ship; all when None.
        accept_sources: Whether to ship records of an older version of the training code.
        suite_name: What the user called the suite, for messages: its name or file.
        seeds: Seeds to ship; all when None.

    Returns:
        The shipped records.

    Raises:
        CrossresError: When a record is missing, truncated, stale, or not of the shipped teacher.
    """
    if suite.records == "shipped":
        raise CrossresError(f"suite {suite.suite}: its records are given; there are none to ship")
    records: dict[Path, Record] = {}
    for run in runs or suite.runs:
        for seed in (seed for seed in suite.seeds_of(run) if seeds is None or seed in seeds):
            shipped = files.shipped_record(suite.suite, run, seed)
            records[shipped] = _checked(suite, run, seed, accept_sources, suite_name or suite.suite)
    if not records:
        raise CrossresError(f"suite {suite.suite}: no run has a seed of {sorted(seeds or ())}; nothing to ship")
    for record in records.values():
        _check_teacher(suite, record, records)
    for path, record in records.items():
        write_record(path, record)
    return list(records)


def _checked(suite: Suite, run: str, seed: int, accept_sources: bool, suite_name: str) -> Record:
    path = files.record_file(files.suite_dir(suite.suite), run, seed)
    command = f"snakemake --cores 1 --config suite={suite_name} -- {path}"
    if not path.is_file():
        raise CrossresError(f"{path}: no such record; to compute it: {command}")
    record, spec = read_record(path), suite.resolve(run, seed)
    if record.spec.budget is not None:
        raise CrossresError(f"{path}: truncated by a budget; a shipped record must be of the whole run")
    sources = record.provenance.sources_sha256 if accept_sources else provenance.sources_digest()
    if reason := why_stale(record, spec, sources or ""):
        fix = f"compute it again: {command}"
        if record.spec == spec:
            fix = "delete it and run its rule again, or accept it with --accept-sources"
        raise CrossresError(f"{path}: stale: {reason}; {fix}")
    return record


def _check_teacher(suite: Suite, record: Record, records: dict[Path, Record]) -> None:
    """Check that a student's teacher is shipped and has the weights that taught it, by their digest."""
    spec = record.spec
    if spec.teacher is None or spec.teacher_seed is None:
        return
    path = files.shipped_record(suite.suite, spec.teacher, spec.teacher_seed)
    if path not in records and not path.is_file():
        raise CrossresError(f"run {spec.run} seed {spec.seed}: its teacher is not shipped; add --run {spec.teacher}")
    teacher = records[path] if path in records else read_record(path)
    if teacher.provenance.weights_sha256 != record.provenance.teacher_sha256:
        name = f"{spec.teacher} seed {spec.teacher_seed}"
        raise CrossresError(f"run {spec.run} seed {spec.seed}: taught by other weights than those of {name}'s record")
