"""The status of every run of a suite, read from its files alone."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Literal, NamedTuple

from tabulate import tabulate

from crossres import files
from crossres.base import CrossresError
from crossres.files import read_json
from crossres.records import provenance
from crossres.records.record import Checkpoint, Epoch, TrainingResult, read_record
from crossres.suites.config import Config, is_computed, results_dir
from crossres.suites.spec import Spec
from crossres.suites.suite import Suite
from crossres.tools.ship import why_stale

StatusKind = Literal["shipped", "missing", "done", "stale", "running", "trained", "resumable", "not started"]


class RunStatus(NamedTuple):
    """The status of one run and seed."""

    run: str
    seed: int
    kind: StatusKind
    """`trained`: the weights are there, the record is not. `resumable`: a checkpoint is there."""
    epoch: int | None = None
    """Finished epochs."""
    epochs: int | None = None
    """Epochs of the schedule."""
    accuracy_pct: float | None = None
    """Accuracy of the selected weights, or the best so far."""
    remaining_s: float | None = None
    """Seconds to the end of the schedule; early stopping ends sooner."""
    note: str = ""
    history: Sequence[Epoch] = ()


def suite_status(config: Config, suite: Suite) -> list[RunStatus]:
    """Return the status of every run and seed, in the suite's order."""
    results, sources = results_dir(config, suite), provenance.sources_digest()
    rows = []
    for run, seed in suite.jobs():
        spec = suite.resolve(run, seed, config.budget)
        if is_computed(config, suite, run):
            rows.append(_computed(spec, files.run_dir(results, run, seed), sources))
        else:
            rows.append(_recorded("shipped", files.shipped_record(suite.suite, run, seed), spec, sources))
    return rows


def _computed(spec: Spec, folder: Path, sources: str) -> RunStatus:
    """First a running process, then a finished record, then what an earlier process left, then a stale record."""
    checkpoint, age_s = newest_checkpoint(folder, spec)
    not_started = RunStatus(spec.run, spec.seed, "not started", 0, spec.optimisation.epochs)
    if files.is_locked(folder / files.LOCK):  # a process trains here: it holds the lock as long as it lives
        running = not_started._replace(kind="running")
        return running if checkpoint is None else _in_training("running", spec, checkpoint, age_s)
    record, training = folder / "record.json", folder / "training.json"
    recorded = _recorded("done", record, spec, sources) if record.is_file() else None
    if recorded is not None and recorded.kind == "done":
        return recorded
    if training.is_file() and (recorded is None or record.stat().st_mtime < training.stat().st_mtime):
        return _trained(spec, training)
    if checkpoint is not None:
        return _in_training("resumable", spec, checkpoint)
    if recorded is not None:
        return recorded
    if any(folder.glob("state/*")):
        return not_started._replace(note="there is a checkpoint of another spec, which is not used")
    return not_started


def newest_checkpoint(folder: Path, spec: Spec) -> tuple[Checkpoint | None, float]:
    """Return the newest checkpoint of this very spec in a run's folder, and its age in seconds.

    Files that are replaced or removed during the read count as missing.
    """
    found: list[tuple[float, Checkpoint]] = []
    for path in folder.glob(f"state/*/{files.CHECKPOINT}"):
        try:
            found.append((path.stat().st_mtime, Checkpoint.parse(read_json(path), str(path))))
        except (CrossresError, FileNotFoundError):  # from an older version, or removed at this moment
            continue
    matching = [entry for entry in found if entry[1].spec_sha256 == spec.digest()]
    written, checkpoint = max(matching, key=lambda entry: entry[0], default=(0.0, None))
    return checkpoint, max(0.0, time.time() - written)


def _in_training(kind: StatusKind, spec: Spec, checkpoint: Checkpoint, age_s: float = 0.0) -> RunStatus:
    return RunStatus(
        spec.run,
        spec.seed,
        kind,
        epoch=checkpoint.epoch,
        epochs=checkpoint.epochs,
        accuracy_pct=checkpoint.best_accuracy_pct,
        remaining_s=max(0.0, (checkpoint.epochs - checkpoint.epoch) * checkpoint.epoch_s - age_s),
        history=checkpoint.history,
    )


def _trained(spec: Spec, path: Path) -> RunStatus:
    try:
        history, note = TrainingResult.parse(read_json(path), str(path)).history, "to be evaluated"
    except CrossresError as error:
        history, note = [], str(error)
    return RunStatus(spec.run, spec.seed, "trained", note=note, history=history)


def _recorded(kind: StatusKind, path: Path, spec: Spec, sources: str) -> RunStatus:
    if not path.is_file():
        return RunStatus(spec.run, spec.seed, "missing", note=f"no {path}")
    try:
        record = read_record(path)
    except CrossresError as error:
        return RunStatus(spec.run, spec.seed, "stale", note=str(error))
    reason = why_stale(record, spec, sources)
    return RunStatus(
        spec.run,
        spec.seed,
        kind if reason is None else "stale",
        epoch=len(record.history),
        epochs=record.spec.optimisation.epochs,
        accuracy_pct=record.best.top1_pct,
        note=reason or "",
        history=record.history,
    )


def status_table(rows: Sequence[RunStatus], marks: Mapping[str, str] | None = None) -> str:
    """Return a table for the terminal and the number of runs of each kind; `marks` precede the rows of a run."""
    cells = [
        {
            "": (marks or {}).get(row.run, ""),
            "run": row.run,
            "seed": row.seed,
            "status": row.kind,
            "epoch": "" if row.epoch is None else f"{row.epoch}/{row.epochs}",
            "best": "" if row.accuracy_pct is None else f"{row.accuracy_pct:.2f} %",
            "left": "" if row.remaining_s is None else str(timedelta(seconds=round(row.remaining_s))),
            "note": row.note,
        }
        for row in rows
    ]
    shown = [key for key in cells[0] if any(row[key] != "" for row in cells)] if cells else []
    table = tabulate([[row[key] for key in shown] for row in cells], headers=shown, disable_numparse=True)
    counts = Counter(row.kind for row in rows)
    return f"{table}\n\n{', '.join(f'{count} {kind}' for kind, count in counts.items())}"
