"""Accuracy of the two DKD students by epoch, compared at equal epochs where one was stopped early."""

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

RUNS = ("dkd_beta8", "dkd_beta2")
SECTION = "results"
ORDER = 4


def caption(facts: Facts) -> str:
    return (
        f"Test accuracy by epoch of {facts.label('dkd_beta8')} and {facts.label('dkd_beta2')}, in per cent beside the "
        "names at the selected epochs (dots); a cross marks an early stop. Where it ended the first run, a ring marks "
        "the best epoch of the second up to then, so that the two can be compared after the same number of epochs."
    )


def reference(facts: Facts) -> str:
    return "[fig:fig2_dkd_beta_comparison] compares the two values of β."


def draw(summary: pd.DataFrame, records: Sequence[Record]) -> Figure:
    """Draw the figure."""
    figure, (axes,) = drawing.panels(drawing.COLUMN_IN, 2.5)
    axes.set_ylabel(drawing.ACCURACY_LABEL)
    _compare_at_stop(axes, records)
    accuracy = {run: f"{drawing.mean_of(summary, run, 'accuracy_pct'):.2f}" for run in RUNS}
    drawing.draw_lines(axes, records, RUNS, "test_accuracy_pct", values=accuracy)
    return figure


def _compare_at_stop(axes: Axes, records: Sequence[Record]) -> None:
    """Mark the best of the second run up to the epoch at which the first was stopped, seed by seed."""
    colour = drawing.looks(records)[RUNS[1]].colour
    others = {record.spec.seed: record for record in drawing.of_run(records, RUNS[1])}
    for record in drawing.of_run(records, RUNS[0]):
        stop = record.history[-1].epoch
        if not record.stopped_early or record.spec.seed not in others:
            continue
        so_far = [epoch for epoch in others[record.spec.seed].history if epoch.epoch <= stop]
        best = max(so_far, key=lambda epoch: epoch.test_accuracy_pct)
        axes.axvline(stop, color=drawing.MUTED, linewidth=0.6, linestyle=(0, (2, 2)), zorder=1)
        axes.plot(best.epoch, best.test_accuracy_pct, marker="o", ms=5, mfc="white", mec=colour, mew=1.1, zorder=6)
        axes.annotate(
            f"{best.test_accuracy_pct:.2f}",
            xy=(best.epoch, best.test_accuracy_pct),
            xytext=(-4, 5),
            textcoords="offset points",
            color=drawing.text_colour(colour),
            fontsize=drawing.SMALL_PT,
            ha="right",
            va="bottom",
        )
