"""Test loss of the students of the two teachers by epoch, and the difference between them."""

from __future__ import annotations

from crossres.report.drawing import curves, style
from crossres.report.types import Axes, Facts, Figure, RunData

RUNS = ("kd_32", "kd_64_to_32")
SECTION = "results"
ORDER = 5


def caption(facts: Facts) -> str:
    return (
        f"Test loss of {facts.label('kd_32')} and {facts.label('kd_64_to_32')} by epoch (top), and the second minus "
        "the first (bottom). Dots mark the selected epochs. Above zero, the student of the teacher with the higher "
        "resolution has the higher loss."
    )


def reference(facts: Facts) -> str:
    return "[fig:fig1b_cross_resolution] compares the students of the two teachers."


def draw(data: RunData) -> Figure:
    figure, (loss, difference) = style.panels(
        style.COLUMN_IN, 2.9, rows=2, sharex=True, gridspec_kw={"height_ratios": [3, 1.2]}
    )
    loss.set_yscale("log")
    _draw_difference(difference, data)
    style.epoch_axis(difference, data.last_epoch(RUNS))
    curves.draw_lines(loss, data, RUNS, "test_loss")
    style.log_axis(loss, style.LOSS_LABEL)
    return figure


def _draw_difference(axes: Axes, data: RunData) -> None:
    base, other = (data.curve(run, "test_loss").set_index("epoch")["mean"] for run in RUNS)
    difference = other - base  # a gap where a loss is not finite; one of the two may stop early
    difference = difference.loc[: difference.last_valid_index()]
    colour = data.look(RUNS[1]).colour
    axes.axhline(0, color=style.INK, linewidth=0.6)
    axes.fill_between(difference.index, 0, difference, color=colour, alpha=0.25, linewidth=0)
    axes.plot(difference.index, difference, color=colour, linewidth=0.8)
    axes.set_ylabel("Difference\n(nats)")
