"""Test loss of KD and of DKD with the large β by epoch, over the learning rate that each had reached."""

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

RUNS = ("kd_32", "dkd_beta8")
SECTION = "results"
ORDER = 3


def caption(facts: Facts) -> str:
    return (
        f"Test loss by epoch of {facts.label('kd_32')} and {facts.label('dkd_beta8')} (top), and the learning rate of "
        "the same epochs as a share of its peak (bottom). A dot marks the selected epoch, a cross an early stop; "
        "where a run was stopped, its learning rate tells how much of the schedule it had left."
    )


def reference(facts: Facts) -> str:
    return "[fig:fig1a_loss_kd_vs_dkd] follows the test loss of KD and of DKD with the larger β."


def draw(summary: pd.DataFrame, records: Sequence[Record]) -> Figure:
    """Draw the figure."""
    figure, (loss, rate) = drawing.panels(
        drawing.COLUMN_IN, 2.9, rows=2, sharex=True, gridspec_kw={"height_ratios": [3, 1]}
    )
    loss.set_yscale("log")
    for run in RUNS:
        _draw_rate(rate, records, run)
    drawing.epoch_axis(rate, drawing.last_epoch(records, RUNS))
    rate.set(ylim=(0, 105), ylabel="Learning rate\n(% of peak)")
    drawing.draw_lines(loss, records, RUNS, "test_loss")
    drawing.log_axis(loss, drawing.LOSS_LABEL)
    return figure


def _draw_rate(axes: Axes, records: Sequence[Record], run: str) -> None:
    """Draw the learning rate of a run's longest seed."""
    longest = max(drawing.of_run(records, run), key=lambda record: len(record.history))
    look, peak = drawing.looks(records)[run], longest.spec.optimisation.learning_rate
    share = [100 * epoch.learning_rate / peak for epoch in longest.history]
    axes.plot([epoch.epoch for epoch in longest.history], share, color=look.colour, linestyle=look.dash)
    if longest.stopped_early:
        last = longest.history[-1].epoch
        axes.plot([last], share[-1:], marker="X", ms=5.6, mew=0.6, color=look.colour, mec="white", zorder=5)
        text = f"{share[-1]:.0f} % at the stop"
        drawing.label_inside(axes, drawing.End(last, share[-1], text, look.colour), above=True, shift_pt=(4, -1))
