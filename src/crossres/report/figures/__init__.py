"""The figures of the report: one file per figure.

To add one, write a file here, named after it, with `RUNS`, `SECTION`, `ORDER`, `caption`, `reference` and `draw`. The
workflow and the report find it. What figures share is in `crossres.report.drawing`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, cast

from crossres.claims.finding import ContrastFinding
from crossres.records.record import Record
from crossres.report import exhibits
from crossres.report.types import DataFrame, Figure, RunData
from crossres.suites.grids import Grid


class FigureModule(exhibits.Exhibit, Protocol):
    """The module of a figure."""

    def draw(self, data: RunData) -> Figure:
        """Draw it."""


def load(name: str) -> FigureModule:
    """Import a figure by name."""
    return cast(FigureModule, exhibits.load("figures", name))


def render(
    name: str,
    summary: DataFrame,
    records: Sequence[Record],
    *paths: Path,
    contrasts: Sequence[ContrastFinding] = (),
    grids: Mapping[str, Grid] | None = None,
) -> None:
    """Draw a figure by name and write it as `.pdf`, `.png` or `.svg`, by the suffix of each path.

    Without the data for it, the files say so.
    """
    from crossres.report.drawing import data, style

    module = load(name)
    with style.journal():
        if exhibits.has_data(module, records):
            figure = module.draw(data.RunData(summary, records, contrasts, grids))
        else:
            figure = style.note(f"The records of this suite do not hold what {name} shows.")
        style.save(figure, *paths)
        figure.clear()
