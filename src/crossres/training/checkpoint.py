"""The state of a run in training, on disk: it survives whatever kills the process, but for the epoch in progress.

A state is the tensors in `state-EPOCH.pt`, the best weights in `best-EPOCH.safetensors`, and everything else in
`checkpoint.json`, which names the digests of both. The last is written after the others, so that writing it commits the
epoch. The generation before is kept: should the newest be torn, the run goes on from the epoch before.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch

from crossres.base import CrossresError, canonical_json
from crossres.files import CHECKPOINT, PREVIOUS_CHECKPOINT, read_json, sha256, write_atomic, write_json
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


def save_state(folder: Path, checkpoint: Checkpoint, before: Checkpoint, parts: Mapping[str, Stateful]) -> Checkpoint:
    """Save the state after an epoch, whose best weights are saved already, and delete those before the last two.

    Returns:
        The checkpoint with the digests of its files.
    """
    state, best = state_file(folder, checkpoint.epoch), best_file(folder, checkpoint.best_epoch)
    tensors = {name: part.state_dict() for name, part in parts.items()}
    write_atomic(state, lambda file: torch.save(tensors, file))
    files = {path.name: before.files.get(path.name) or sha256(path) for path in (state, best)}
    checkpoint = checkpoint.model_copy(update={"files": files})
    if before.epoch:
        _write(folder / PREVIOUS_CHECKPOINT, before)
    _write(folder / CHECKPOINT, checkpoint)
    for old in [*folder.glob("state-*.pt"), *folder.glob("best-*.safetensors")]:
        if old.name not in {*files, *before.files}:
            old.unlink()
    return checkpoint


def _digest(checkpoint: Checkpoint) -> str:
    return sha256(canonical_json(checkpoint.model_dump(mode="json", exclude={"sha256"})).encode())


def _write(path: Path, checkpoint: Checkpoint) -> None:
    document = checkpoint.model_dump(mode="json") | {"sha256": _digest(checkpoint)}
    document["history"] = [entry.model_dump(mode="json", exclude_defaults=True) for entry in checkpoint.history]
    write_json(path, document)


class Restored(NamedTuple):
    """What was found of a run's state."""

    checkpoint: Checkpoint | None
    """None where no epoch was finished, or the first one's state is torn."""
    torn: str | None
    """What is wrong with a newer state, if there is one."""


def restore_state(folder: Path, parts: Mapping[str, Stateful], device: torch.device) -> Restored:
    """Restore the parts of a run from the newest whole state.

    Raises:
        CrossresError: When the state before the newest is damaged as well, or one is of another version. Nothing is
            deleted.
    """
    torn: list[str] = []
    generations = [path for path in (folder / CHECKPOINT, folder / PREVIOUS_CHECKPOINT) if path.is_file()]
    for path in generations:
        try:
            checkpoint, tensors = _read(path, device)
        except Exception as error:  # torch.load raises many kinds on a damaged file
            torn.append(_damage(path, error))
            continue
        try:
            for name, part in parts.items():
                part.load_state_dict(tensors[name])
        except Exception as error:
            raise CrossresError(f"{_damage(path, error)}; move {folder} away to start afresh") from None
        resumed = checkpoint.model_copy(update={"resumptions": checkpoint.resumptions + 1})
        return Restored(resumed, torn[0] if torn else None)
    if torn and generations[-1].name == PREVIOUS_CHECKPOINT:
        raise CrossresError(f"{torn[0]}; move {folder} away to start afresh")
    return Restored(None, torn[0] if torn else None)


def _damage(path: Path, error: Exception) -> str:
    return f"{path}: not a whole state ({' '.join(str(error).split())[:120]})"


def _read(path: Path, device: torch.device) -> tuple[Checkpoint, dict[str, Any]]:
    """Return a checkpoint and the tensors of its state, if every file of it has its digest."""
    folder, checkpoint = path.parent, Checkpoint.parse(read_json(path), "its content")
    if _digest(checkpoint) != checkpoint.sha256:
        raise CrossresError("its content is damaged")
    state, best = state_file(folder, checkpoint.epoch), best_file(folder, checkpoint.best_epoch)
    for file in (state, best):
        if not file.is_file():
            raise CrossresError(f"{file.name} is missing")
        if sha256(file) != checkpoint.files.get(file.name):
            raise CrossresError(f"{file.name} is damaged")
    return checkpoint, torch.load(state, map_location=device, weights_only=True)


def discard_state(run_dir: Path, training: TrainingResult) -> None:
    """Delete the state of a run whose record is written, so that a forced rerun starts afresh."""
    shutil.rmtree(run_dir / "state" / training.state, ignore_errors=True)
    with contextlib.suppress(OSError):  # states of other specs are kept
        (run_dir / "state").rmdir()
