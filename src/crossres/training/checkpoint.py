"""The state of a run in training, on disk: it survives whatever kills the process, but for the epoch in progress.

A state is the tensors in `state-EPOCH.pt`, the best weights in `best-EPOCH.safetensors`, and everything else in
`checkpoint.json`. The last is written after the others and names their epochs, so that writing it commits the epoch.
The files of the epoch before are deleted afterwards only.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from crossres.base import CrossresError
from crossres.files import CHECKPOINT, read_json, write_atomic, write_json
from crossres.records.record import Checkpoint, TrainingResult


class Stateful(Protocol):
    """A part of a run that has tensors: its network, its optimiser, its loss scaler."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: dict[str, Any], /) -> object: ...


def best_file(folder: Path, epoch: int) -> Path:
    """The weights of the best epoch so far."""
    return folder / f"best-{epoch:04d}.safetensors"


def state_file(folder: Path, epoch: int) -> Path:
    """The tensors after an epoch."""
    return folder / f"state-{epoch:04d}.pt"


def save_state(folder: Path, checkpoint: Checkpoint, parts: Mapping[str, Stateful]) -> None:
    """Save the state after an epoch, whose best weights are saved already, and delete the older files."""
    state, best = state_file(folder, checkpoint.epoch), best_file(folder, checkpoint.best_epoch)
    tensors = {name: part.state_dict() for name, part in parts.items()}
    write_atomic(state, lambda file: torch.save(tensors, file))
    document = checkpoint.model_dump(mode="json")
    document["history"] = [entry.model_dump(mode="json", exclude_defaults=True) for entry in checkpoint.history]
    write_json(folder / CHECKPOINT, document)
    for old in [*folder.glob("state-*.pt"), *folder.glob("best-*.safetensors")]:
        if old not in (state, best):
            old.unlink()


def restore_state(folder: Path, parts: Mapping[str, Stateful], device: torch.device) -> Checkpoint | None:
    """Restore the parts of a run and return its checkpoint; None where no epoch was finished.

    Raises:
        CrossresError: When a file of the state is missing, damaged or of another version. Nothing is deleted.
    """
    path = folder / CHECKPOINT
    if not path.is_file():
        return None
    try:
        checkpoint = Checkpoint.parse(read_json(path), "its content")
        path = best_file(folder, checkpoint.best_epoch)
        path.stat()
        path = state_file(folder, checkpoint.epoch)
        tensors = torch.load(path, map_location=device, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(tensors[name])
    except Exception as error:  # torch.load raises many kinds on a damaged file
        reason = "missing" if isinstance(error, FileNotFoundError) else " ".join(str(error).split())[:120]
        raise CrossresError(f"{path}: not a whole state ({reason}); move {folder} away to start afresh") from None
    return checkpoint.model_copy(update={"resumptions": checkpoint.resumptions + 1})


def discard_state(run_dir: Path, training: TrainingResult) -> None:
    """Delete the state of a run whose record is written, so that a forced rerun starts afresh."""
    shutil.rmtree(run_dir / "state" / training.state, ignore_errors=True)
    with contextlib.suppress(OSError):  # states of other specs are kept
        (run_dir / "state").rmdir()
