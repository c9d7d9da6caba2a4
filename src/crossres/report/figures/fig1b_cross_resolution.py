"""Test loss of the students of the two teachers by epoch, and the difference between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from crossres.report import drawing

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from crossres.records.record import Record
    from crossres.report.facts import Facts

RUNS = ("kd_32", "kd_64_to_32")
SECTION = "results"
ORDER = 5


def caption(facts: Facts) -> str:
    return (
        f"Test loss by epoch of {facts.label('kd_32')} and {facts.label('kd_64_to_32')}, dots at the selected epochs "
        "(top), and the second minus the first (bottom): above zero, the student taught at the higher resolution has "
        "the higher loss."
    )


def reference(facts: Facts) -> str:
    return "[fig:fig1b_cross_resolution] compares the students of the two teachers."


def draw(summary: pd.DataFrame, records: Sequence[Record]) -> Figure:
    """Draw the figure."""
    figure, (loss, difference) = drawing.panels(
        drawing.COLUMN_IN, 2.9, rows=2, sharex=True, gridspec_kw={"height_ratios": [3, 1.2]}
    )
    loss.set_yscale("log")
    _draw_difference(difference, records)
    drawing.epoch_axis(difference, drawing.last_epoch(records, RUNS))
    drawing.draw_lines(loss, records, RUNS, "test_loss")
    drawing.log_axis(loss, drawing.LOSS_LABEL)
    return figure


def _draw_difference(axes: Axes, records: Sequence[Record]) -> None:
    base, other = (drawing.curve(records, run, "test_loss").set_index("epoch")["mean"] for run in RUNS)
    difference = (other - base).dropna()
    colour = drawing.looks(records)[RUNS[1]].colour
    axes.axhline(0, color=drawing.INK, linewidth=0.6)
    axes.fill_between(difference.index, 0, difference, color=colour, alpha=0.25, linewidth=0)
    axes.plot(difference.index, difference, color=colour, linewidth=0.8)
    axes.set_ylabel("Difference\n(nats)")
