"""Test loss of the 32 px teacher by epoch, against its training loss: where it is not what its accuracy suggests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from crossres.report import drawing

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from crossres.records.record import Record
    from crossres.report.facts import Facts

RUNS = ("teacher_32",)
SECTION = "audit"
ORDER = 2


def caption(facts: Facts) -> str:
    return (
        f"Test loss (black) and training loss (grey) of {facts.label('teacher_32')} by epoch, on a logarithmic scale. "
        "Dots mark the epochs whose test loss is above the dashed line: the loss of guessing all classes equally."
    )


def reference(facts: Facts) -> str:
    students = facts.taught_by("teacher_32")
    who = facts.named(students) if students else "no student here"
    return f"[fig:fig8_teacher_loss] shows the loss of the teacher that {who} learned from."


def draw(summary: pd.DataFrame, records: Sequence[Record]) -> Figure:
    """Draw the figure."""
    (run,) = RUNS
    figure, (axes,) = drawing.panels(drawing.COLUMN_IN, 2.5)
    axes.set_yscale("log")
    seeds = drawing.of_run(records, run)
    train = drawing.draw_curve(axes, records, run, "train_loss", look=drawing.Look("#b0b0b0", "-"))
    test = drawing.draw_curve(axes, records, run, "test_loss", look=drawing.Look("#000000", "-"))
    guessing = math.log(seeds[0].spec.dataset.classes)
    axes.axhline(guessing, color=drawing.MUTED, linewidth=0.6, linestyle=(0, (2, 2)), zorder=1)
    for record in seeds:
        above = [epoch for epoch in record.history if epoch.test_loss > guessing]
        points = [epoch.epoch for epoch in above], [epoch.test_loss for epoch in above]
        axes.plot(*points, marker="o", ms=2.6, mew=0, linestyle="none", color="#D55E00", zorder=4)
    drawing.epoch_axis(axes, drawing.last_epoch(records, RUNS))
    drawing.log_axis(axes, "Loss (nats)")
    drawing.label_ends(axes, [test._replace(text="test"), train._replace(text="training")])
    return figure
