"""Accuracy of three KD students over the last epochs: best epoch against the mean of the last ten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from crossres.records.record import Record
from crossres.report import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RUNS = ("kd_32_basic", "kd_32", "kd_64_to_32")
SECTION = "results"
CAPTION = (
    r"Test accuracy over the last epochs of \VAR{label('kd_32_basic')}, \VAR{label('kd_32')} and "
    r"\VAR{label('kd_64_to_32')}. Beside the lines stand, in per cent, the accuracy at the selected epoch (dot) and "
    r"the mean of the last epochs (pale bar, where all of them are shown); their distance is what selecting adds."
)
SHOWN_EPOCHS = 50
"""Epochs shown of a long schedule; of one less than twice as long, the last quarter is shown."""
LAST_EPOCHS = 10
"""Epochs in the summary's `last_ten_mean_pct`."""


def draw(summary: pd.DataFrame, records: Sequence[Record]) -> Figure:
    """Draw the figure."""
    figure, (axes,) = figures.panels(figures.COLUMN_IN, 2.5)
    last = figures.last_epoch(records, RUNS)
    shown = SHOWN_EPOCHS if last >= 2 * SHOWN_EPOCHS else max(2, last // 4)
    ends = [_draw_run(axes, summary, records, run, max(1, last - shown)) for run in RUNS]
    figures.epoch_axis(axes, last, first=max(1, last - shown))
    axes.set_ylabel(figures.ACCURACY_LABEL)
    figures.label_ends(axes, ends)
    return figure


def _draw_run(axes: Axes, summary: pd.DataFrame, records: Sequence[Record], run: str, first: int) -> figures.End:
    """Draw the shown part of a run and return its end, labelled with both figures."""
    end = figures.draw_curve(axes, records, run, "test_accuracy_pct", first=first)
    figures.draw_marks(axes, records, run, "test_accuracy_pct", first=first)
    best, late = (figures.mean_of(summary, run, column) for column in ("accuracy_pct", "last_ten_mean_pct"))
    if end.x - LAST_EPOCHS >= first:
        span = [end.x - LAST_EPOCHS + 1, end.x]
        axes.plot(span, [late, late], color=end.colour, linewidth=4, alpha=0.35, solid_capstyle="butt", zorder=1.5)
    return end._replace(text=f"{end.text}\nbest: {best:.2f}\nlast {LAST_EPOCHS}: {late:.2f}")
