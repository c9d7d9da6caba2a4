"""Test accuracy and loss of the two teachers by epoch."""

from __future__ import annotations

from crossres.report.drawing import curves, style
from crossres.report.types import Facts, Figure, RunData

RUNS = ("teacher_32", "teacher_64")
SECTION = "results"
ORDER = 6


def caption(facts: Facts) -> str:
    low, high = (facts.spec(run).view.resolution_px for run in RUNS)
    return (
        f"Test accuracy (top) and test loss on a logarithmic scale (bottom) of the two teachers ({low}\u00a0px and "
        f"{high}\u00a0px) by epoch. Dots mark the selected epochs."
    )


def reference(facts: Facts) -> str:
    return "[fig:fig1c_teacher_comparison] compares the teachers themselves."


def draw(data: RunData) -> Figure:
    figure, (accuracy, loss) = style.panels(style.COLUMN_IN, 3.3, rows=2, sharex=True)
    loss.set_yscale("log")
    curves.draw_lines(accuracy, data, RUNS, "test_accuracy_pct")
    accuracy.set_ylabel(style.ACCURACY_LABEL)
    curves.draw_lines(loss, data, RUNS, "test_loss")
    style.log_axis(loss, style.LOSS_LABEL)
    return figure
