"""Which records still stand for their spec, and how they become shipped ones."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from crossres import files
from crossres.base import CrossresError
from crossres.records import provenance
from crossres.records.record import Record, read_record, write_record
from crossres.suites.spec import Spec
from crossres.suites.suite import Suite


def stale(record: Record, spec: Spec, sources_sha256: str) -> str | None:
    """Say why a record no longer stands for its run; None where it does.

    Args:
        record: The record.
        spec: The run's spec as the suite has it today.
        sources_sha256: Digest of today's training sources.
    """
    if differing := record.spec.differing(spec):
        return f"its spec differs from the suite's in {', '.join(differing)}"
    made_by = record.provenance.sources_sha256
    return "the training code changed since" if made_by not in (None, sources_sha256) else None


def ship(
    suite: Suite, runs: Iterable[str] | None = None, accept_sources: bool = False, named: str | None = None
) -> list[Path]:
    """Copy computed records to where shipped ones stand: all of them, or none where one will not do.

    Args:
        suite: The suite.
        runs: Runs to ship; all when None.
        accept_sources: Ship records of other training code than today's, too.
        named: What the user called the suite, its name or file, for the message; its name when None.

    Returns:
        The shipped records.

    Raises:
        CrossresError: When a record is missing, truncated, stale, or not of the shipped teacher.
    """
    if suite.records == "shipped":
        raise CrossresError(f"suite {suite.suite}: its records are given, and there are none to ship")
    jobs = [(run, seed) for run in runs or suite.runs for seed in suite.seeds_of(run)]
    records = {(run, seed): _sound(suite, run, seed, accept_sources, named or suite.suite) for run, seed in jobs}
    for record in records.values():
        _check_teacher(suite, record, records)
    shipped = []
    for (run, seed), record in records.items():
        shipped.append(files.shipped_record(suite.suite, run, seed))
        write_record(shipped[-1], record)
    return shipped


def _sound(suite: Suite, run: str, seed: int, accept_sources: bool, named: str) -> Record:
    path = files.record_file(files.suite_dir(suite.suite), run, seed)
    if not path.is_file():
        raise CrossresError(f"{path}: no such record; to compute it: {_command(named, path)}")
    record = read_record(path)
    if record.spec.budget is not None:
        raise CrossresError(f"{path}: truncated by a budget; a shipped record must be of the whole run")
    sources = record.provenance.sources_sha256 if accept_sources else provenance.sources_digest()
    reason = stale(record, suite.resolve(run, seed), sources or "")
    if reason is not None:
        mend = f"compute it again: {_command(named, path)}"
        if record.spec == suite.resolve(run, seed):
            mend = "delete it and run its rule again, or accept it with --accept-sources"
        raise CrossresError(f"{path}: stale: {reason}; {mend}")
    return record


def _command(named: str, path: Path) -> str:
    return f"snakemake --cores 1 --config suite={named} -- {path}"


def _check_teacher(suite: Suite, record: Record, others: dict[tuple[str, int], Record]) -> None:
    """A student's teacher is known by the digest of its weights."""
    spec = record.spec
    if spec.teacher is None or spec.teacher_seed is None:
        return
    teacher = others.get((spec.teacher, spec.teacher_seed))
    shipped = files.shipped_record(suite.suite, spec.teacher, spec.teacher_seed)
    if teacher is None and shipped.is_file():
        teacher = read_record(shipped)
    if teacher is None:
        raise CrossresError(f"run {spec.run} seed {spec.seed}: its teacher is not shipped; add --run {spec.teacher}")
    if teacher.provenance.weights_sha256 != record.provenance.teacher_sha256:
        name = f"{spec.teacher} seed {spec.teacher_seed}"
        raise CrossresError(f"run {spec.run} seed {spec.seed}: taught by other weights than those of {name}'s record")
