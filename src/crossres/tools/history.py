"""The epochs of a run, from its record, its training result or its checkpoint.

Files replaced or removed during the read count as missing.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError

from crossres import files
from crossres.base import CrossresError
from crossres.files import read_json
from crossres.records.record import Checkpoint, Epoch
from crossres.suites.spec import Spec

EPOCHS = TypeAdapter(list[Epoch])


class Found(NamedTuple):
    """A state on disk."""

    written: float
    """When its last epoch ended, in seconds since 1970."""
    checkpoint: Checkpoint
    folder: Path


def newest_state(run_dir: Path, spec: Spec) -> Found | None:
    """Return the newest state of this very spec; None where there is none."""
    found = []
    for path in run_dir.glob(f"state/*/{files.CHECKPOINT}"):
        try:
            checkpoint, written = Checkpoint.parse(read_json(path), str(path)), path.stat().st_mtime
        except (CrossresError, FileNotFoundError):  # of an older version, or removed this moment
            continue
        if checkpoint.spec_sha256 == spec.digest():
            found.append(Found(written, checkpoint, path.parent))
    return max(found, key=lambda state: state.written, default=None)


def state_history(run_dir: Path, spec: Spec) -> list[Epoch]:
    """Return the epochs in the newest state of this very spec; none where there is no such state.

    Args:
        run_dir: Folder of the run and seed.
        spec: The run.
    """
    state = newest_state(run_dir, spec)
    return [] if state is None else state.checkpoint.history


def recorded_history(path: Path) -> list[Epoch]:
    """Return the epochs of a record, or of what training left for the evaluation; none where it is not whole."""
    try:
        return EPOCHS.validate_python(read_json(path)["history"])
    except (CrossresError, ValidationError, KeyError, TypeError):
        return []
