"""Test accuracy of every run by epoch: one panel per student, with its teacher, in front of all other runs."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

from crossres.report.drawing import curves, style
from crossres.report.types import Axes, Facts, Figure, RunData

RUNS = ()
SECTION = "results"
ORDER = 1
COLUMNS = 3
MOST_PANELS = 18
"""Students that fit on a page; of more, those that repeat one of the thesis are shown."""
COLUMN = "test_accuracy_pct"
PALE = style.Look("#dcdcdc")


def caption(facts: Facts) -> str:
    many = len(facts.runs("student")) + len(facts.runs("alone")) > MOST_PANELS
    stops = "; crosses mark early stops" if facts.stopped_early(facts.runs()) else ""
    only = " that repeats a run of the thesis" if many else ""
    return (
        f"Test accuracy of all runs by epoch, with one panel per student{only}. A panel shows the student in colour, "
        "its teacher in black or grey, and all other runs pale behind them; the last panel shows their teachers alone. "
        f"Dots mark the selected epochs, with their accuracy in per cent beside the names{stops}."
    )


def reference(facts: Facts) -> str:
    return "[fig:fig3_accuracy_all] shows the test accuracy of all runs by epoch."


def draw(data: RunData) -> Figure:
    groups = _groups(data)
    columns = min(COLUMNS, len(groups))
    rows = ceil(len(groups) / columns)
    figure, panels = style.panels(
        style.FULL_IN, 0.35 + 1.6 * rows, rows, columns, pads_in=(0.06, 0.03), sharex=True, sharey=True
    )
    for index, (axes, group) in enumerate(zip(panels, groups, strict=False)):
        _draw_panel(axes, data, group)
        style.epoch_axis(axes, data.last_epoch(data.runs))
        axes.set_ylabel(style.ACCURACY_LABEL if index % columns == 0 else "")
        axes.set_xlabel("Epoch" if index + columns >= len(groups) else "")
        axes.tick_params(labelbottom=index + columns >= len(groups))
    for axes in panels[len(groups) :]:
        axes.set_axis_off()
    return figure


def _groups(data: RunData) -> list[tuple[str, ...]]:
    """Return what each panel shows: a student after its teacher, in the order of their labels; last, the teachers."""
    teachers = tuple(run for run in data.runs if run in set(data.summary.loc[data.summary["role"] == "teacher", "run"]))
    others = sorted((run for run in data.runs if run not in teachers), key=data.label)
    if len(others) > MOST_PANELS:
        others = [run for run in others if data.spec(run).thesis_id] or others[:MOST_PANELS]
    pairs = [tuple(name for name in (data.spec(run).teacher, run) if name in data.runs) for run in others]
    shown = tuple(run for run in teachers if any(run in pair for pair in pairs)) or teachers
    return pairs + ([shown] if shown else [])


def _draw_panel(axes: Axes, data: RunData, group: Sequence[str]) -> None:
    """Draw the runs of a panel, and the others pale behind them, with a key in the free corner."""
    for run in data.runs:
        if run not in group:
            curves.draw_curve(axes, data, run, COLUMN, look=PALE, linewidth=0.6)
    texts = [f"{data.label(run)}  {data.mean(run, 'accuracy_pct'):.2f}" for run in group]
    left = max(0.02, min(0.31, 0.87 - 0.026 * max(map(len, texts))))
    for row, (run, text) in enumerate(zip(group, texts, strict=True)):
        end = curves.draw_curve(axes, data, run, COLUMN)
        curves.draw_marks(axes, data, run, COLUMN)
        key: dict[str, Any] = {"transform": axes.transAxes, "zorder": 6}
        y = 0.08 + 0.12 * (len(group) - 1 - row)
        axes.plot([left, left + 0.09], [y, y], color=end.colour, linestyle=data.look(run).dash, **key)
        axes.text(left + 0.11, y, text, color=style.text_colour(end.colour), va="center", **key)
