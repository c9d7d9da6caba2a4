"""Accuracy and test loss of the two teachers by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from crossres.records.record import Record
from crossres.report import figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RUNS = ("teacher_32", "teacher_64")
SECTION = "results"
CAPTION = (
    r"The teachers \VAR{label('teacher_32')} and \VAR{label('teacher_64')}: test accuracy (top) and test loss on a "
    r"logarithmic scale (bottom) by epoch. Dots mark the selected epochs."
)


def draw(summary: pd.DataFrame, records: Sequence[Record]) -> Figure:
    """Draw the figure."""
    figure, (accuracy, loss) = figures.panels(figures.COLUMN_IN, 3.3, rows=2, sharex=True)
    loss.set_yscale("log")
    figures.draw_lines(accuracy, records, RUNS, "test_accuracy_pct")
    accuracy.set_ylabel(figures.ACCURACY_LABEL)
    figures.draw_lines(loss, records, RUNS, "test_loss")
    figures.log_axis(loss, figures.LOSS_LABEL)
    return figure
