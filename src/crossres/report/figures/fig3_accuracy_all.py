"""Accuracy of every run by epoch: a panel a student, with its teacher, in front of all other runs."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

from crossres.report import drawing

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from crossres.records.record import Record
    from crossres.report.facts import Facts

RUNS = ()
SECTION = "results"
ORDER = 1
COLUMNS = 3
MOST_PANELS = 18
"""Students that fit on a page; of more, those that repeat one of the thesis are shown."""
COLUMN = "test_accuracy_pct"
PALE = drawing.Look("#dcdcdc", "-")


def caption(facts: Facts) -> str:
    return (
        "Test accuracy by epoch, a panel for each student (where they are many, for each that repeats one of the "
        "thesis): the student in colour, its teacher in black or grey, all other runs pale behind them; the last "
        "panel shows the teachers alone. Dots mark the selected epochs, whose accuracy in per cent stands beside the "
        "names; a cross marks an early stop."
    )


def reference(facts: Facts) -> str:
    return "[fig:fig3_accuracy_all] shows the accuracy of all runs by epoch."


def draw(summary: pd.DataFrame, records: Sequence[Record]) -> Figure:
    """Draw the figure."""
    groups = _groups(summary, records)
    columns = min(COLUMNS, len(groups))
    rows = ceil(len(groups) / columns)
    figure, panels = drawing.panels(
        drawing.FULL_IN, 0.35 + 1.6 * rows, rows, columns, pads_in=(0.06, 0.03), sharex=True, sharey=True
    )
    runs = {record.name for record in records}
    for index, (axes, group) in enumerate(zip(panels, groups, strict=False)):
        _draw_panel(axes, summary, records, group, behind=sorted(runs - set(group)))
        drawing.epoch_axis(axes, drawing.last_epoch(records, sorted(runs)))
        axes.set_ylabel(drawing.ACCURACY_LABEL if index % columns == 0 else "")
        axes.set_xlabel("Epoch" if index + columns >= len(groups) else "")
        axes.tick_params(labelbottom=index + columns >= len(groups))
    for axes in panels[len(groups) :]:
        axes.set_axis_off()
    return figure


def _groups(summary: pd.DataFrame, records: Sequence[Record]) -> list[tuple[str, ...]]:
    """Return what each panel shows: a student after its teacher, in the order of their labels; last, the teachers."""
    teacher_of = {record.name: record.spec.teacher for record in records}
    teachers = tuple(sorted(summary.loc[summary["role"] == "teacher", "run"].unique()))
    others = sorted(set(teacher_of) - set(teachers), key=lambda run: drawing.label_of(records, run))
    if len(others) > MOST_PANELS:
        repeated = set(summary.loc[summary["thesis_id"].notna(), "run"])
        others = [run for run in others if run in repeated] or others[:MOST_PANELS]
    pairs = [tuple(name for name in (teacher_of[run], run) if name in teacher_of) for run in others]
    return pairs + ([teachers] if teachers else [])


def _draw_panel(
    axes: Axes, summary: pd.DataFrame, records: Sequence[Record], group: Sequence[str], behind: Sequence[str]
) -> None:
    """Draw the runs of a panel, and the others pale behind them, with a key in the free corner."""
    for run in behind:
        drawing.draw_curve(axes, records, run, COLUMN, look=PALE, linewidth=0.6)
    texts = [f"{drawing.label_of(records, run)}  {drawing.mean_of(summary, run, 'accuracy_pct'):.2f}" for run in group]
    left = max(0.02, min(0.31, 0.87 - 0.026 * max(map(len, texts))))
    for row, (run, text) in enumerate(zip(group, texts, strict=True)):
        end = drawing.draw_curve(axes, records, run, COLUMN)
        drawing.draw_marks(axes, records, run, COLUMN)
        key: dict[str, Any] = {"transform": axes.transAxes, "zorder": 6}
        y = 0.08 + 0.12 * (len(group) - 1 - row)
        axes.plot([left, left + 0.09], [y, y], color=end.colour, linestyle=drawing.looks(records)[run].dash, **key)
        axes.text(
            left + 0.11, y, text, color=drawing.text_colour(end.colour), fontsize=drawing.SMALL_PT, va="center", **key
        )
