"""Best test accuracy so far of KD and the two DKD students at equal epochs, with their learning rates."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from crossres.records.record import Record
from crossres.report.drawing import curves, labels, style
from crossres.report.types import Axes, Facts, Figure, RunData
from crossres.suites.spec import Optimisation

RUNS = ("kd_32", "dkd_beta8", "dkd_beta2")
SECTION = "audit"
ORDER = 1


def has_data(records: Sequence[Record]) -> bool:
    """Some run has fewer epochs than another; otherwise the reported accuracies are already at equal epochs."""
    return len({len(record.history) for record in records if record.name in RUNS}) > 1


def caption(facts: Facts) -> str:
    stops = ", pale after an early stop (cross)" if facts.stopped_early(RUNS) else ""
    return (
        f"Left: best test accuracy so far of {facts.label('kd_32')}, {facts.label('dkd_beta8')} and "
        f"{facts.label('dkd_beta2')} at equal epochs, up to the end of the shortest training; the labels give the "
        f"accuracy at that end. Right: their learning rates in per cent of the peak over the planned schedule{stops}; "
        "of equal schedules, the wider line lies below."
    )


def reference(facts: Facts) -> str:
    return "[fig:fig7_matched_epochs] compares KD and the two DKD students at equal epochs."


def draw(data: RunData) -> Figure:
    figure, (accuracy, rate) = style.panels(style.FULL_IN, 2.5, columns=2, pads_in=(0.06, 0.03))
    end = min(len(record.history) for run in RUNS for record in data.seeds(run))
    ends = [_draw_best(accuracy, data, run, end) for run in RUNS]
    style.epoch_axis(accuracy, end)
    low = min(np.interp(end / 8, *_best(data, run, end)) for run in RUNS)
    top = max(value.y for value in ends)
    accuracy.set(ylabel="Best test accuracy so far (%)", ylim=(low, top + 0.08 * (top - low)))
    labels.label_ends(accuracy, ends)
    planned = [data.spec(run).optimisation.epochs for run in RUNS]
    for index, run in enumerate(RUNS):
        _draw_schedule(rate, data, run, linewidth=1.1 + 1.3 * planned[index + 1 :].count(planned[index]))
    whole = [run for run in RUNS if data.stop_note(run) is None]
    notes = [("whole schedule:", style.INK), *((data.label(run), data.look(run).colour) for run in whole)]
    for line, (text, colour) in enumerate(reversed(notes if whole else [])):
        rate.text(0.04, 0.04 + 0.06 * line, text, transform=rate.transAxes, color=style.text_colour(colour))
    style.epoch_axis(rate, max(data.spec(run).optimisation.epochs for run in RUNS))
    rate.set(ylabel="Learning rate (% of peak)", ylim=(0, 105))
    return figure


def _best(data: RunData, run: str, end: int) -> tuple[list[int], list[float]]:
    """Return the epochs up to an end and the best accuracy up to each, averaged over seeds."""
    rows = [
        np.maximum.accumulate([epoch.test_accuracy_pct for epoch in record.history[:end]]) for record in data.seeds(run)
    ]
    return list(range(1, end + 1)), list(np.mean(rows, axis=0))


def _draw_best(axes: Axes, data: RunData, run: str, end: int) -> labels.End:
    look = data.look(run)
    epochs, best = _best(data, run, end)
    axes.plot(epochs, best, color=look.colour, linestyle=look.dash)
    return labels.End(end, best[-1], f"{data.label(run)}\n{best[-1]:.2f}", look.colour)


def _draw_schedule(axes: Axes, data: RunData, run: str, linewidth: float) -> None:
    """Draw the learning rate of a run's longest seed, and pale what it had left of its plan."""
    end, look, longest = curves.draw_rate(axes, data, run, linewidth=linewidth), data.look(run), data.longest(run)
    if longest.stopped_early:
        plan = longest.spec.optimisation
        left = list(range(int(end.x), plan.epochs + 1))
        rates = [_planned(plan, epoch) for epoch in left]
        axes.plot(left, rates, color=look.colour, linestyle=look.dash, alpha=0.35, linewidth=linewidth)
        text = f"{end.text}\n{data.stop_note(run)}"
        labels.label_inside(axes, end._replace(text=text), above=True, shift_pt=(5, 1))


def _planned(plan: Optimisation, epoch: int) -> float:
    """Return the cosine schedule's rate after an epoch, in per cent of the peak."""
    done = (epoch - plan.warmup_epochs) / max(1, plan.epochs - plan.warmup_epochs)
    return 50 * (1 + math.cos(math.pi * done))
