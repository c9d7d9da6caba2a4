"""The epochs of a run, from whatever it has left so far: its record, its training, or its state.  Layer L0.

Everything is only read, and what is replaced or removed meanwhile is as good as not there. The state is torch's, and is
read without torch: a zip archive in which one small pickle holds all but the numbers of the tensors.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from crossres import paths
from crossres.records import Epoch, Standing, read_json
from crossres.schema import CrossresError
from crossres.spec import Spec

EPOCHS = TypeAdapter(list[Epoch])


class Found(NamedTuple):
    """A state on disk."""

    written: float
    """When its last epoch ended, in seconds since 1970."""
    standing: Standing
    folder: Path


def newest_state(run_dir: Path, spec: Spec) -> Found | None:
    """Return the newest state of this very spec; None where there is none."""
    found = []
    for path in run_dir.glob(f"state/*/{paths.STANDING}"):
        try:
            standing, written = Standing.parse(read_json(path), str(path)), path.stat().st_mtime
        except (CrossresError, FileNotFoundError):  # of an older version, or removed this moment
            continue
        if standing.spec_sha256 == spec.digest():
            found.append(Found(written, standing, path.parent))
    return max(found, key=lambda state: state.written, default=None)


def state_history(run_dir: Path, spec: Spec) -> list[Epoch]:
    """Return the epochs in the newest state of this very spec; none where there is no such state.

    Args:
        run_dir: Folder of the run and seed.
        spec: The run.
    """
    state = newest_state(run_dir, spec)
    return [] if state is None else _state_epochs(state.folder / "state.pt")


def recorded_history(path: Path) -> list[Epoch]:
    """Return the epochs of a record, or of what training left for the evaluation; none where it is not whole."""
    try:
        return EPOCHS.validate_python(read_json(path)["history"])
    except (CrossresError, ValidationError, KeyError, TypeError):
        return []


def _state_epochs(path: Path) -> list[Epoch]:
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            with archive.open(name) as file:
                state = _WithoutTensors(file).load()
        return EPOCHS.validate_python(state["progressed"]["history"])
    except (OSError, zipfile.BadZipFile, StopIteration, pickle.UnpicklingError, ValidationError, KeyError, TypeError):
        return []


class _Nothing:
    """Stands for a tensor, or whatever else is made by code: nothing is called."""

    def __init__(self, *_: Any) -> None: ...

    def __setstate__(self, _: Any) -> None: ...


class _WithoutTensors(pickle.Unpickler):
    """Unpickles plain values; everything that code would make is nothing."""

    def find_class(self, module: str, name: str) -> Any:
        return OrderedDict if (module, name) == ("collections", "OrderedDict") else _Nothing

    def persistent_load(self, _: Any) -> None:
        return None
