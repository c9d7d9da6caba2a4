"""The figures of the report: one file per figure.

To add one, write a file here, named after it, with `RUNS`, `SECTION`, `ORDER`, `caption`, `reference` and `draw`. The
workflow and the report find it. What figures share is in `crossres.report.drawing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from crossres.report import exhibits

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from crossres.records.record import Record


class FigureModule(exhibits.Exhibit, Protocol):
    """The module of a figure."""

    def draw(self, summary: pd.DataFrame, records: Sequence[Record]) -> Figure:
        """Draw it from the suite's summary and records."""


def load(name: str) -> FigureModule:
    """Import a figure by name."""
    return cast(FigureModule, exhibits.load("figures", name))


def render(name: str, summary: pd.DataFrame, records: Sequence[Record], *paths: Path) -> None:
    """Draw a figure by name and write it as `.pdf`, `.png` or `.svg`, by the suffix of each path."""
    from crossres.report import drawing

    module = load(name)
    with drawing.style():
        figure = module.draw(summary, records)
        drawing.save(figure, *paths)
        figure.clear()
