"""Test loss of the students of the two teachers by epoch, and the difference between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from crossres.records.record import Record
from crossres.report import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RUNS = ("kd_32", "kd_64_to_32")
SECTION = "results"
CAPTION = (
    r"Test loss by epoch of \VAR{label('kd_32')} and \VAR{label('kd_64_to_32')}, dots at the selected epochs (top), "
    r"and the second minus the first (bottom): above zero, the student taught at the higher resolution has the higher "
    r"loss."
)


def draw(summary: pd.DataFrame, records: Sequence[Record]) -> Figure:
    """Draw the figure."""
    figure, (loss, difference) = figures.panels(
        figures.COLUMN_IN, 2.9, rows=2, sharex=True, gridspec_kw={"height_ratios": [3, 1.2]}
    )
    loss.set_yscale("log")
    _draw_difference(difference, records)
    figures.epoch_axis(difference, figures.last_epoch(records, RUNS))
    figures.draw_lines(loss, records, RUNS, "test_loss")
    figures.log_axis(loss, figures.LOSS_LABEL)
    return figure


def _draw_difference(axes: Axes, records: Sequence[Record]) -> None:
    base, other = (figures.curve(records, run, "test_loss").set_index("epoch")["mean"] for run in RUNS)
    difference = (other - base).dropna()
    colour = figures.looks(records)[RUNS[1]].colour
    axes.axhline(0, color=figures.INK, linewidth=0.6)
    axes.fill_between(difference.index, 0, difference, color=colour, alpha=0.25, linewidth=0)
    axes.plot(difference.index, difference, color=colour, linewidth=0.8)
    axes.set_ylabel("Difference\n(nats)")
