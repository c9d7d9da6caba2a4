"""Accuracy and test loss of the two teachers by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from crossres.report import drawing

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from crossres.records.record import Record
    from crossres.report.facts import Facts

RUNS = ("teacher_32", "teacher_64")
SECTION = "results"
ORDER = 6


def caption(facts: Facts) -> str:
    return (
        f"The teachers {facts.label('teacher_32')} and {facts.label('teacher_64')}: test accuracy (top) and test loss "
        "on a logarithmic scale (bottom) by epoch. Dots mark the selected epochs."
    )


def reference(facts: Facts) -> str:
    return "[fig:fig1c_teacher_comparison] compares the teachers themselves."


def draw(summary: pd.DataFrame, records: Sequence[Record]) -> Figure:
    """Draw the figure."""
    figure, (accuracy, loss) = drawing.panels(drawing.COLUMN_IN, 3.3, rows=2, sharex=True)
    loss.set_yscale("log")
    drawing.draw_lines(accuracy, records, RUNS, "test_accuracy_pct")
    accuracy.set_ylabel(drawing.ACCURACY_LABEL)
    drawing.draw_lines(loss, records, RUNS, "test_loss")
    drawing.log_axis(loss, drawing.LOSS_LABEL)
    return figure
