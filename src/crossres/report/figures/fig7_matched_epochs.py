"""Best accuracy so far of KD and the two DKD students at equal epochs, and the learning-rate schedules they were on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from crossres.report import drawing
from crossres.suites.spec import Optimisation

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from crossres.records.record import Record
    from crossres.report.facts import Facts

RUNS = ("kd_32", "dkd_beta8", "dkd_beta2")
SECTION = "audit"
ORDER = 1


def caption(facts: Facts) -> str:
    return (
        f"Left: the best test accuracy so far of {facts.label('kd_32')}, {facts.label('dkd_beta8')} and "
        f"{facts.label('dkd_beta2')} at equal epochs, up to the end of the shortest training; the values are those at "
        "its end. Right: the learning rate of each as a share of its peak, over its planned schedule (pale where it "
        "was not run); a cross marks an early stop."
    )


def reference(facts: Facts) -> str:
    return "[fig:fig7_matched_epochs] compares the students that the claims on DKD are about at equal epochs."


def draw(summary: pd.DataFrame, records: Sequence[Record]) -> Figure:
    """Draw the figure."""
    figure, (accuracy, rate) = drawing.panels(drawing.FULL_IN, 2.5, columns=2, pads_in=(0.06, 0.03))
    end = min(record.history[-1].epoch for run in RUNS for record in drawing.of_run(records, run))
    ends = [_draw_best(accuracy, records, run, end) for run in RUNS]
    drawing.epoch_axis(accuracy, end)
    low = min(np.interp(end / 8, *_best(records, run, end)) for run in RUNS)
    top = max(value.y for value in ends)
    accuracy.set(ylabel="Best test accuracy so far (%)", ylim=(low, top + 0.08 * (top - low)))
    drawing.label_ends(accuracy, ends)
    for run in RUNS:
        _draw_schedule(rate, records, run)
    whole = [drawing.label_of(records, run) for run in RUNS if drawing.stop_note(records, run) is None]
    note: dict[str, Any] = {"transform": rate.transAxes, "fontsize": drawing.SMALL_PT, "linespacing": 1.3}
    rate.text(0.04, 0.05, "\n".join(["whole schedule:", *whole] if whole else []), **note)
    drawing.epoch_axis(rate, max(drawing.of_run(records, run)[0].spec.optimisation.epochs for run in RUNS))
    rate.set(ylabel="Learning rate (% of peak)", ylim=(0, 105))
    return figure


def _best(records: Sequence[Record], run: str, end: int) -> tuple[list[int], list[float]]:
    """Return the epochs up to an end and the best accuracy up to each, averaged over seeds."""
    rows = [
        np.maximum.accumulate([epoch.test_accuracy_pct for epoch in record.history[:end]])
        for record in drawing.of_run(records, run)
    ]
    return list(range(1, end + 1)), list(np.mean(rows, axis=0))


def _draw_best(axes: Axes, records: Sequence[Record], run: str, end: int) -> drawing.End:
    look = drawing.looks(records)[run]
    epochs, best = _best(records, run, end)
    axes.plot(epochs, best, color=look.colour, linestyle=look.dash)
    return drawing.End(end, best[-1], f"{drawing.label_of(records, run)}\n{best[-1]:.2f}", look.colour)


def _draw_schedule(axes: Axes, records: Sequence[Record], run: str) -> None:
    """Draw the learning rate of a run's longest seed, and pale what it had left of its plan."""
    longest = max(drawing.of_run(records, run), key=lambda record: len(record.history))
    look, plan = drawing.looks(records)[run], longest.spec.optimisation
    share = [100 * epoch.learning_rate / plan.learning_rate for epoch in longest.history]
    epochs = [epoch.epoch for epoch in longest.history]
    axes.plot(epochs, share, color=look.colour, linestyle=look.dash)
    if not longest.stopped_early:
        return
    left = list(range(epochs[-1], plan.epochs + 1))
    axes.plot(left, [_planned(plan, epoch) for epoch in left], color=look.colour, linestyle=look.dash, alpha=0.35)
    axes.plot(epochs[-1:], share[-1:], marker="X", ms=5.6, mew=0.6, color=look.colour, mec="white", zorder=5)
    text = f"{drawing.label_of(records, run)}\n{drawing.stop_note(records, run)}"
    end = drawing.End(epochs[-1], share[-1], text, look.colour)
    drawing.label_inside(axes, end, above=True, shift_pt=(5, 1))


def _planned(plan: Optimisation, epoch: int) -> float:
    """Return the cosine schedule's rate after an epoch, in per cent of the peak."""
    done = (epoch - plan.warmup_epochs) / max(1, plan.epochs - plan.warmup_epochs)
    return 50 * (1 + math.cos(math.pi * done))
