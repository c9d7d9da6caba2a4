"""Curves over epochs: means over seeds, with marks and labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from crossres.report.drawing.labels import End, label_ends, label_inside
from crossres.report.drawing.style import Look, epoch_axis
from crossres.report.types import Axes, RunData

CROSS: dict[str, Any] = {"marker": "X", "ms": 5.6, "mew": 0.6, "mec": "white", "zorder": 5}
DOT: dict[str, Any] = {"marker": "o", "ms": 4.6, "mew": 0.6, "mec": "white", "zorder": 5}


def draw_curve(
    axes: Axes, data: RunData, run: str, column: str, first: int = 1, look: Look | None = None, **line: Any
) -> End:
    """Draw a run's mean over seeds, from a first epoch on, and the band from least to greatest; return the line's end.

    Where early stopping has ended some of the seeds, the mean of the remaining ones is drawn faintly. The look is the
    run's own by default; other options go to `Axes.plot`.
    """
    look = look or data.look(run)
    values = data.curve(run, column)
    values = values[values["epoch"] >= first]
    options: dict[str, Any] = {"color": look.colour, "linestyle": look.dash, **line}
    whole = values[values["seeds"] == values["seeds"].max()]
    rest = values[values["epoch"] >= whole["epoch"].max()]
    axes.plot(whole["epoch"], whole["mean"], **options)
    if len(rest) > 1:
        axes.plot(rest["epoch"], rest["mean"], **{**options, "alpha": 0.45})
    if values["seeds"].max() > 1:
        axes.fill_between(values["epoch"], values["low"], values["high"], color=look.colour, alpha=0.18, linewidth=0)
    return End(float(values["epoch"].iloc[-1]), float(values["mean"].iloc[-1]), data.label(run), look.colour)


def draw_marks(axes: Axes, data: RunData, run: str, column: str, first: int = 1) -> None:
    """Mark each seed's selected epoch with a dot and its early stop, if any, with a cross, from a first epoch on."""
    shared: dict[str, Any] = {"color": data.look(run).colour, "linestyle": "none", "clip_on": False}
    for record in data.seeds(run):
        last = record.history[-1]
        for epoch in record.history:
            if epoch.epoch == record.best.epoch >= first:
                axes.plot([epoch.epoch], [getattr(epoch, column)], **shared, **DOT)
        if record.stopped_early and last.epoch >= first:
            axes.plot([last.epoch], [getattr(last, column)], **shared, **CROSS)


def draw_rate(axes: Axes, data: RunData, run: str, **line: Any) -> End:
    """Draw the learning rate of a run's longest seed in per cent of its peak, with a cross at an early stop."""
    longest, look = data.longest(run), data.look(run)
    epochs = [epoch.epoch for epoch in longest.history]
    share = [100 * epoch.learning_rate / longest.spec.optimisation.learning_rate for epoch in longest.history]
    axes.plot(epochs, share, color=look.colour, linestyle=look.dash, **line)
    if longest.stopped_early:
        axes.plot(epochs[-1:], share[-1:], color=look.colour, **CROSS)
    return End(epochs[-1], share[-1], data.label(run), look.colour)


def draw_lines(
    axes: Axes, data: RunData, runs: Sequence[str], column: str, values: Mapping[str, str] | None = None
) -> None:
    """Draw the histories of several runs with their marks and labels, and a value under the names of some.

    A line is labelled at the right edge; one that early stopping ended well before it, at its own end, on the side away
    from the others. The vertical axis must have its scale already.
    """
    last = data.last_epoch(runs)
    ends = {run: draw_curve(axes, data, run, column) for run in runs}
    for run, value in (values or {}).items():
        ends[run] = ends[run]._replace(text=f"{ends[run].text}\n{value}")
    for run in runs:
        draw_marks(axes, data, run, column)
    epoch_axis(axes, last)
    short = [run for run in runs if ends[run].x < 0.7 * last]
    for run in short:
        end, note = ends[run], data.stop_note(run)
        others = [data.curve(other, column) for other in runs if other != run]
        level = np.mean([np.interp(end.x, other["epoch"], other["mean"]) for other in others])
        text = end.text if note is None else f"{end.text}\n{note}"
        label_inside(axes, end._replace(text=text), above=bool(end.y > level))
    label_ends(axes, [ends[run] for run in runs if run not in short])
