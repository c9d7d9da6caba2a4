"""The figures and tables of the report: each is one file in `figures/` or `tables/`, found by its name.

A suite gets every figure and table whose runs it has. Nothing here imports Matplotlib or pandas, so that the workflow
can ask which ones these are before it runs anything.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from crossres.base import CrossresError, nearest

if TYPE_CHECKING:
    from crossres.records.record import Record
    from crossres.report.facts import Facts
    from crossres.suites.suite import Suite

KINDS = ("figures", "tables")


class Exhibit(Protocol):
    """The module of a figure or table.

    It may also have `applies(suite)`: whether the suite's plan leads to what it shows; and `has_data(records)`: whether
    the records hold it. A suite whose plan does not is without it; records that do not, leave it out of the report.
    A figure with `CLAIMS = True` is drawn from the verdicts too.
    """

    RUNS: Sequence[str]
    """The runs that it cannot do without."""
    SECTION: str
    """Where the report shows it: `verdicts`, `method`, `results` or `audit`."""
    ORDER: int
    """Its place among those of its section."""

    def caption(self, facts: Facts) -> str:
        """Say what it shows, in the markup of `crossres.report.words`."""

    def reference(self, facts: Facts) -> str:
        """Return the sentence by which the report refers to it."""


def module_file(kind: str, name: str) -> Path:
    """Return the file of a figure or table."""
    return own(kind).get(name) or _packaged(kind) / f"{name}.py"


def _packaged(kind: str) -> Path:
    return Path(__file__).parent / kind


def variable(kind: str) -> str:
    """Return the environment variable by which the jobs of a workflow are told of the user's own figures or tables."""
    return f"CROSSRES_{kind.upper()}"


def own(kind: str) -> dict[str, Path]:
    """Return the files of the user's own figures or tables, by name."""
    return {Path(path).stem: Path(path) for path in os.environ.get(variable(kind), "").split(os.pathsep) if path}


def check_own(kind: str, paths: Sequence[Path]) -> None:
    """Check that figures or tables of one's own can be imported, and have names of their own.

    Raises:
        CrossresError: Naming the file.
    """
    taken = {path.stem for path in _packaged(kind).glob("*.py")}
    for path in paths:
        if not path.is_file():
            raise CrossresError(f"config: {kind}: {path}: no such file")
        if path.stem in taken:
            raise CrossresError(f"config: {kind}: {path}: '{path.stem}' is there already; choose another name")
        _load_own(path)
        taken.add(path.stem)


def names(kind: str, suite: Suite | None = None) -> list[str]:
    """Return the names of all figures or tables, or of those that a suite has the runs for."""
    found = sorted({*(path.stem for path in _packaged(kind).glob("[!_]*.py")), *own(kind)})
    return [name for name in found if suite is None or _has_runs_for(suite, load(kind, name))]


def load(kind: str, name: str) -> Exhibit:
    """Import a figure or table.

    Raises:
        CrossresError: When there is none of that name, naming the nearest.
    """
    if name not in (known := names(kind)):
        raise CrossresError(f"no {kind.removesuffix('s')} '{name}'{nearest(name, known)}")
    if name not in own(kind):
        return cast(Exhibit, importlib.import_module(f"crossres.report.{kind}.{name}"))
    return _load_own(own(kind)[name])


@functools.cache
def _load_own(path: Path) -> Exhibit:
    spec = importlib.util.spec_from_file_location(f"own_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise CrossresError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a module may raise anything
        raise CrossresError(f"{path}: could not be imported ({type(error).__name__}: {error})") from error
    return cast(Exhibit, module)


def _has_runs_for(suite: Suite, exhibit: Exhibit) -> bool:
    applies = getattr(exhibit, "applies", None)
    return set(exhibit.RUNS) <= set(suite.runs) and (applies is None or applies(suite))


def has_data(exhibit: Exhibit, records: Sequence[Record]) -> bool:
    """Return whether the records of a suite hold what a figure or table shows."""
    tell = getattr(exhibit, "has_data", None)
    return tell is None or tell(records)


def shown(kind: str, facts: Facts) -> list[str]:
    """Return the names of the figures or tables in the report of a suite."""
    return [name for name in names(kind, facts.suite) if has_data(load(kind, name), facts.records)]
