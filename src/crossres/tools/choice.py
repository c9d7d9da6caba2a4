"""Which run of a suite is handed on: the one that was asked for, or the best student."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from crossres import files
from crossres.base import CrossresError
from crossres.records.record import Record, read_record
from crossres.suites.suite import Suite


class Choice(NamedTuple):
    """One trained and evaluated run and seed."""

    record: Record
    record_file: Path
    run_dir: Path
    """Folder with its weights."""
    reason: str
    """Why this one, as a sentence for the reader."""
    teacher: Record | None
    """Its teacher's record, where it has a teacher and that is evaluated."""


def choose(
    suite: Suite, results: Path, run: str | None = None, seed: int | None = None, named: str | None = None
) -> Choice:
    """Choose a run and seed among those that are evaluated.

    Where several are left to choose from, the most accurate is taken: by validation images if every one of them selects
    its epoch without the test images and has such images, by test images otherwise.

    Args:
        suite: The suite.
        results: Folder of its results, in which weights stand; a record may be computed there, or shipped.
        run: Only this run; every student (a run that teaches no other) when None.
        seed: Only this seed; every one when None.
        named: What the user called the suite, its name or file, for the message; its name when None.

    Raises:
        CrossresError: When there is no such run or seed, it is not trained or not evaluated, or its record is of
            another spec than the suite's.
    """
    taught_by = {entry.teacher for entry in suite.runs.values()}
    runs = [name for name in suite.runs if name not in taught_by] if run is None else [run]
    jobs = [(name, each) for name in runs for each in suite.seeds_of(name) if seed in (None, each)]
    if not jobs:
        seeds = sorted({each for name in runs for each in suite.seeds_of(name)})
        raise CrossresError(f"{run or suite.suite}: has no seed {seed}; known: {', '.join(map(str, seeds))}")
    found = {job: file for job in jobs if (file := _record_file(suite, results, *job)) is not None}
    if not found:
        raise _missing(named or suite.suite, results, jobs)
    records = {job: _current(suite, file) for job, file in found.items()}
    accuracy, what = _measure(list(records.values()))
    best = max(records, key=lambda job: accuracy[records[job].spec.run, records[job].spec.seed])
    reason = _reason(len(records), len(jobs), what, run)
    teacher = _teacher(suite, results, records[best])
    return Choice(records[best], found[best], files.run_dir(results, *best), reason, teacher)


def _record_file(suite: Suite, results: Path, run: str, seed: int) -> Path | None:
    """The computed record, or else the shipped one."""
    places = (files.record_file(results, run, seed), files.shipped_record(suite.suite, run, seed))
    return next((file for file in places if file.is_file()), None)


def _missing(named: str, results: Path, jobs: list[tuple[str, int]]) -> CrossresError:
    trained = [job for job in jobs if (files.run_dir(results, *job) / "training.json").is_file()]
    run, seed = (trained or jobs)[0]
    record = files.record_file(results, run, seed)
    what = "it is trained and not yet evaluated" if trained else "it is not trained"
    if len(jobs) > 1 and not trained:
        what = f"none of the {len(jobs)} runs and seeds to choose from is trained"
    mend = f"snakemake --cores 1 --config suite={named} -- {record}"
    truncated = results.with_name(f"{results.name}-truncated")
    if truncated.is_dir():
        mend += f"; or take those of a budget: --results {truncated}"
    return CrossresError(f"{record}: no such record, {what}; to make it: {mend}")


def _current(suite: Suite, file: Path) -> Record:
    record = read_record(file)
    spec = suite.resolve(record.spec.run, record.spec.seed, record.spec.budget)
    if keys := record.spec.differing(spec):
        raise CrossresError(f"{file}: stale: its spec differs from the suite's in {', '.join(keys)}; compute it again")
    return record


def _measure(records: list[Record]) -> tuple[dict[tuple[str, int], float], str]:
    """Return the accuracy of each record's selected weights that runs are compared by, and its name."""
    by_test = {(record.spec.run, record.spec.seed): record.best.top1_pct for record in records}
    found = {}
    for record in records:
        accuracy = next(
            (entry.validation_accuracy_pct for entry in record.history if entry.epoch == record.best.epoch), None
        )
        if accuracy is None or record.spec.optimisation.select == "best_on_test":
            return by_test, "test"
        found[record.spec.run, record.spec.seed] = accuracy
    return found, "validation"


def _reason(evaluated: int, jobs: int, what: str, run: str | None) -> str:
    if jobs == 1:
        return "It is the only student and seed of its suite." if run is None else "It was asked for by name."
    many = f"{evaluated} evaluated ones of {jobs}" if evaluated < jobs else str(jobs)
    among = f"{many} students and seeds" if run is None else f"{many} seeds of {run}"
    had = (
        "The same images say how accurate it is, which flatters it." if what == "test" else "No test image had a part."
    )
    return f"It is the most accurate of {among} on the {what} images. {had}"


def _teacher(suite: Suite, results: Path, record: Record) -> Record | None:
    spec = record.spec
    if spec.teacher is None or spec.teacher_seed is None:
        return None
    file = _record_file(suite, results, spec.teacher, spec.teacher_seed)
    teacher = None if file is None else read_record(file)
    if teacher is None or teacher.provenance.weights_sha256 != record.provenance.teacher_sha256:
        return None
    return teacher
