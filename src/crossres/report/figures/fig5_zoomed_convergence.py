"""Accuracy of three KD students over the last epochs: best epoch against the mean of the last ten."""

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

RUNS = ("kd_32_basic", "kd_32", "kd_64_to_32")
SECTION = "results"
ORDER = 7
SHOWN_EPOCHS = 50
"""Epochs shown of a long schedule; of one less than twice as long, the last quarter is shown."""
LAST_EPOCHS = 10
"""Epochs in the summary's `last_ten_mean_pct`."""


def caption(facts: Facts) -> str:
    return (
        f"Test accuracy over the last epochs of {facts.label('kd_32_basic')}, {facts.label('kd_32')} and "
        f"{facts.label('kd_64_to_32')}. Beside the lines stand, in per cent, the accuracy at the selected epoch (dot) "
        "and the mean of the last epochs (pale bar, where all of them are shown); their distance is what selecting "
        "adds."
    )


def reference(facts: Facts) -> str:
    return "[fig:fig5_zoomed_convergence] shows the last epochs of the KD students."


def draw(summary: pd.DataFrame, records: Sequence[Record]) -> Figure:
    """Draw the figure."""
    figure, (axes,) = drawing.panels(drawing.COLUMN_IN, 2.5)
    last = drawing.last_epoch(records, RUNS)
    shown = SHOWN_EPOCHS if last >= 2 * SHOWN_EPOCHS else max(2, last // 4)
    ends = [_draw_run(axes, summary, records, run, max(1, last - shown)) for run in RUNS]
    drawing.epoch_axis(axes, last, first=max(1, last - shown))
    axes.set_ylabel(drawing.ACCURACY_LABEL)
    drawing.label_ends(axes, ends)
    return figure


def _draw_run(axes: Axes, summary: pd.DataFrame, records: Sequence[Record], run: str, first: int) -> drawing.End:
    """Draw the shown part of a run and return its end, labelled with both drawing."""
    end = drawing.draw_curve(axes, records, run, "test_accuracy_pct", first=first)
    drawing.draw_marks(axes, records, run, "test_accuracy_pct", first=first)
    best, late = (drawing.mean_of(summary, run, column) for column in ("accuracy_pct", "last_ten_mean_pct"))
    if end.x - LAST_EPOCHS >= first:
        span = [end.x - LAST_EPOCHS + 1, end.x]
        axes.plot(span, [late, late], color=end.colour, linewidth=4, alpha=0.35, solid_capstyle="butt", zorder=1.5)
    return end._replace(text=f"{end.text}\nbest: {best:.2f}\nlast {LAST_EPOCHS}: {late:.2f}")
