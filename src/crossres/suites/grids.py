"""Grids: every combination of some settings as a run of its own, written once."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from crossres.base import CrossresError, Strict
from crossres.suites.compare import SETTINGS, plain

Value = bool | int | float | str


class Grid(Strict):
    """A run in several versions. What they share stands beside these keys, as in a run."""

    title: str
    """What varies, and what stays the same."""
    over: Annotated[dict[str, Annotated[tuple[Value, ...], Field(min_length=1)]], Field(min_length=1)]
    """Settings by their dotted path in a run, such as `objective.nckd_weight`, each with its values. The combinations
    are runs called after the grid and their values: `NAME_8`, or `NAME_8_4` with two settings."""

    @property
    def axes(self) -> list[str]:
        """The dotted paths of its settings."""
        return list(self.over)

    def cells(self, name: str) -> dict[str, tuple[Value, ...]]:
        """Return the values of each run, by the run's name."""
        return {"_".join([name, *map(_word, values)]): values for values in itertools.product(*self.over.values())}


def _word(value: Value) -> str:
    """Return a value as part of a run's name, which has no point."""
    return (f"{value:g}" if isinstance(value, float) else str(value)).replace(".", "p")


def expand(document: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return a suite's document with the runs of its grids, and a factor for each of their settings.

    A factor compares the values of one setting while the others have their first value.

    Raises:
        CrossresError: When a grid is malformed, or a run of its names is there already.
    """
    grids = document.get("grids") or {}
    if not grids:
        return dict(document)
    if not isinstance(grids, Mapping):
        raise CrossresError(f"{where}: grids: expected a mapping of keys (got {grids!r:.40})")
    runs, factors = dict(document.get("runs") or {}), dict(document.get("factors") or {})
    described = {}
    for name, entry in grids.items():
        keys = dict(entry) if isinstance(entry, Mapping) else {}
        own = {key: keys.pop(key) for key in Grid.model_fields if key in keys}
        grid = Grid.parse(own, f"{where}: grids.{name}")
        cells = grid.cells(name)
        if taken := cells.keys() & runs.keys():
            raise CrossresError(f"{where}: grids.{name}: the run '{min(taken)}' is there already; rename one")
        runs |= {run: _changed(keys, dict(zip(grid.axes, values, strict=True))) for run, values in cells.items()}
        factors |= _factors(name, grid, cells)
        described[name] = own
    return {**document, "runs": runs, "factors": factors, "grids": described}


def _changed(keys: Mapping[str, Any], settings: Mapping[str, Value]) -> dict[str, Any]:
    """Return a run's keys with some settings, by their dotted paths."""
    run: dict[str, Any] = dict(keys)
    for path, value in settings.items():
        *parents, last = path.split(".")
        place = run
        for parent in parents:
            place[parent] = dict(place.get(parent) or {})
            place = place[parent]
        place[last] = value
    return run


def _factors(name: str, grid: Grid, cells: Mapping[str, tuple[Value, ...]]) -> dict[str, Any]:
    first = next(iter(cells.values()))
    found = {}
    for index, axis in enumerate(grid.axes):
        levels = {
            f"{axis_title(axis)} = {plain(values[index])}": run
            for run, values in cells.items()
            if values == (*first[:index], values[index], *first[index + 1 :])
        }
        key = name if len(grid.axes) == 1 else f"{name}_{axis.rpartition('.')[2]}"
        found[key] = {"title": grid.title, "levels": levels}
    return found


def axis_title(path: str) -> str:
    """Return the name of a setting by its path, within a sentence."""
    return next((setting.in_sentence for setting in SETTINGS if setting.path == path), path)
