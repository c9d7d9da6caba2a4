"""How far every run of a suite is, read from its files alone."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Literal, NamedTuple

from tabulate import tabulate

from crossres import files
from crossres.base import CrossresError
from crossres.records import provenance
from crossres.records.record import Checkpoint, read_record
from crossres.suites.config import Config, is_computed, results_dir
from crossres.suites.spec import Spec
from crossres.suites.suite import Suite
from crossres.tools.history import newest_state
from crossres.tools.ship import stale

Kind = Literal["shipped", "missing", "done", "stale", "running", "trained", "resumable", "not started"]


class RunStatus(NamedTuple):
    """Where one run and seed stands."""

    run: str
    seed: int
    kind: Kind
    """`trained`: its weights are there, and its record is not. `resumable`: the state of an epoch is on disk."""
    epoch: int | None = None
    """Epochs that are done."""
    epochs: int | None = None
    """Epochs of the schedule."""
    accuracy_pct: float | None = None
    """Accuracy of the selected weights, or the best so far."""
    remaining_s: float | None = None
    """Seconds to the end of the schedule; an early stop comes sooner."""
    note: str = ""


def states(config: Config, suite: Suite) -> list[RunStatus]:
    """Return the state of every run and seed of a suite, in the suite's order."""
    results = results_dir(config, suite)
    sources = provenance.sources_digest()
    found = []
    for run, seed in suite.jobs():
        spec = suite.resolve(run, seed, config.budget)
        if is_computed(config, suite, run):
            found.append(_computed(spec, files.run_dir(results, run, seed), sources))
        else:
            found.append(_recorded("shipped", files.shipped_record(suite.suite, run, seed), spec, sources))
    return found


def _computed(spec: Spec, folder: Path, sources: str) -> RunStatus:
    """What is at work comes first, then what is finished, then what an earlier process left, then a stale record."""
    checkpoint, resumable = _newest(folder, spec)
    if _is_held(folder / files.LOCK):
        if checkpoint is None:
            return RunStatus(spec.run, spec.seed, "running", 0, spec.optimisation.epochs)
        progress, age_s = checkpoint
        left_s = max(0.0, (progress.epochs - progress.epoch) * progress.epoch_s - age_s)
        figures = (progress.epoch, progress.epochs, progress.best_accuracy_pct)
        return RunStatus(spec.run, spec.seed, "running", *figures, left_s)
    record, training = folder / "record.json", folder / "training.json"
    recorded = _recorded("done", record, spec, sources) if record.is_file() else None
    if recorded is not None and recorded.kind == "done":
        return recorded
    if training.is_file() and (recorded is None or record.stat().st_mtime < training.stat().st_mtime):
        return RunStatus(spec.run, spec.seed, "trained", note="to be evaluated")
    if checkpoint is not None:
        progress, _ = checkpoint
        left_s = (progress.epochs - progress.epoch) * progress.epoch_s
        return RunStatus(
            spec.run, spec.seed, "resumable", progress.epoch, progress.epochs, progress.best_accuracy_pct, left_s
        )
    if recorded is not None:
        return recorded
    note = "" if not resumable else "there is a state of another spec, which is not taken up"
    return RunStatus(spec.run, spec.seed, "not started", 0, spec.optimisation.epochs, note=note)


def _recorded(kind: Kind, path: Path, spec: Spec, sources: str) -> RunStatus:
    if not path.is_file():
        return RunStatus(spec.run, spec.seed, "missing", note=f"no {path}")
    try:
        record = read_record(path)
    except CrossresError as error:
        return RunStatus(spec.run, spec.seed, "stale", note=str(error))
    reason = stale(record, spec, sources)
    figures = (len(record.history), record.spec.optimisation.epochs, record.best.top1_pct)
    return RunStatus(spec.run, spec.seed, kind if reason is None else "stale", *figures, note=reason or "")


def _newest(folder: Path, spec: Spec) -> tuple[tuple[Checkpoint, float] | None, bool]:
    """Return the newest checkpoint of this very spec with its age in seconds, and whether there is any state at all."""
    newest = newest_state(folder, spec)
    if newest is None:
        return None, any(folder.glob("state/*"))
    return (newest.checkpoint, max(0.0, time.time() - newest.written)), True


def _is_held(lock: Path) -> bool:
    """Tell whether a process trains here: it holds the lock for as long as it lives."""
    try:
        with open(lock) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def show(found: list[RunStatus], marks: Mapping[str, str] | None = None) -> str:
    """Return the states as a table for the terminal, and a count of each kind.

    Args:
        found: The states.
        marks: What stands before a run's rows, by its name; nothing when None.
    """
    rows = [
        {
            "": (marks or {}).get(state.run, ""),
            "run": state.run,
            "seed": state.seed,
            "state": state.kind,
            "epoch": "" if state.epoch is None else f"{state.epoch}/{state.epochs}",
            "best": "" if state.accuracy_pct is None else f"{state.accuracy_pct:.2f} %",
            "left": "" if state.remaining_s is None else str(timedelta(seconds=round(state.remaining_s))),
            "note": state.note,
        }
        for state in found
    ]
    shown = [key for key in rows[0] if any(row[key] != "" for row in rows)] if rows else []
    table = tabulate([[row[key] for key in shown] for row in rows], headers=shown, disable_numparse=True)
    counts: dict[str, int] = {}
    for state in found:
        counts[state.kind] = counts.get(state.kind, 0) + 1
    return f"{table}\n\n{', '.join(f'{count} {kind}' for kind, count in counts.items())}"
