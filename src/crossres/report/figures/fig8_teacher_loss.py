"""Test loss of the 32 px teacher by epoch, against its training loss: where it is not what its accuracy suggests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from crossres.records.record import Record
from crossres.report import figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RUNS = ("teacher_32",)
SECTION = "audit"
CAPTION = (
    r"Test loss (black) and training loss (grey) of \VAR{label('teacher_32')} by epoch, on a logarithmic scale. Dots "
    r"mark the epochs whose test loss is above the dashed line: the loss of guessing all classes equally."
)


def draw(summary: pd.DataFrame, records: Sequence[Record]) -> Figure:
    """Draw the figure."""
    (run,) = RUNS
    figure, (axes,) = figures.panels(figures.COLUMN_IN, 2.5)
    axes.set_yscale("log")
    seeds = figures.of_run(records, run)
    train = figures.draw_curve(axes, records, run, "train_loss", look=figures.Look("#b0b0b0", "-"))
    test = figures.draw_curve(axes, records, run, "test_loss", look=figures.Look("#000000", "-"))
    guessing = math.log(seeds[0].spec.dataset.classes)
    axes.axhline(guessing, color=figures.MUTED, linewidth=0.6, linestyle=(0, (2, 2)), zorder=1)
    for record in seeds:
        above = [epoch for epoch in record.history if epoch.test_loss > guessing]
        points = [epoch.epoch for epoch in above], [epoch.test_loss for epoch in above]
        axes.plot(*points, marker="o", ms=2.6, mew=0, linestyle="none", color="#D55E00", zorder=4)
    figures.epoch_axis(axes, figures.last_epoch(records, RUNS))
    figures.log_axis(axes, "Loss (nats)")
    figures.label_ends(axes, [test._replace(text="test"), train._replace(text="training")])
    return figure
