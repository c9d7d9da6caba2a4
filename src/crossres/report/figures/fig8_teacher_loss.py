"""Test and training loss of the 32 px teacher by epoch, with the epochs that are worse than guessing."""

from __future__ import annotations

import math
from collections.abc import Sequence

from crossres.records.record import Record
from crossres.report.drawing import curves, labels, style
from crossres.report.types import Facts, Figure, RunData

RUNS = ("teacher_32",)
SECTION = "audit"
ORDER = 2


def has_data(records: Sequence[Record]) -> bool:
    """Some epoch is worse than guessing."""
    return any(
        (epoch.test_loss or 0.0) > math.log(record.spec.dataset.classes)
        for record in records
        if record.name in RUNS
        for epoch in record.history
    )


def caption(facts: Facts) -> str:
    return (
        f"Test loss (black) and training loss (grey) of {facts.label('teacher_32')} by epoch, on a logarithmic scale. "
        "Dots mark the epochs whose test loss exceeds that of guessing all classes equally (dotted line)."
    )


def reference(facts: Facts) -> str:
    students = facts.taught_by("teacher_32")
    taught = f", from which {facts.named(students)} learned" if students else ""
    return f"[fig:fig8_teacher_loss] shows the loss of {facts.label('teacher_32')}{taught}."


def draw(data: RunData) -> Figure:
    (run,) = RUNS
    figure, (axes,) = style.panels(style.COLUMN_IN, 2.5)
    axes.set_yscale("log")
    train = curves.draw_curve(axes, data, run, "train_loss", look=style.Look("#b0b0b0"))
    test = curves.draw_curve(axes, data, run, "test_loss", look=style.Look("#000000"))
    guessing = math.log(data.spec(run).dataset.classes)
    axes.axhline(guessing, **style.RULE)
    for record in data.seeds(run):
        losses = [(epoch.epoch, epoch.test_loss or 0.0) for epoch in record.history]
        above = [(epoch, loss) for epoch, loss in losses if loss > guessing]
        points = ([epoch for epoch, _ in above], [loss for _, loss in above])
        axes.plot(*points, marker="o", ms=2.6, mew=0, linestyle="none", color="#D55E00", zorder=4)
    style.epoch_axis(axes, data.last_epoch(RUNS))
    style.log_axis(axes, "Loss (nats)")
    labels.label_ends(axes, [test._replace(text="test"), train._replace(text="training")])
    return figure
