"""Each student's accuracy as a share of its own teacher's, and the two accuracies it comes from."""

from __future__ import annotations

from collections.abc import Sequence
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
ORDER = 2
PLATE = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
TEXT: dict[str, Any] = {"va": "center_baseline", "fontsize": drawing.SMALL_PT, "bbox": PLATE, "zorder": 1.5}
"""How text is set: on white, above rules and below bars and marks."""


def caption(facts: Facts) -> str:
    return (
        "Left: retention, each student's test accuracy as a share of its own teacher's. Right: the two accuracies it "
        "is made of, student (dot) and teacher (diamond). Where there are several seeds, bars and dots are means, "
        "ticks the seeds. Retention compares students of one teacher only, since its denominator is another for each "
        "teacher."
    )


def reference(facts: Facts) -> str:
    if not facts.runs("student"):
        return "[fig:fig4_retention_bar] has no retention to show, since no run here has a teacher."
    return "[fig:fig4_retention_bar] sets out retention and what it is made of."


def draw(summary: pd.DataFrame, records: Sequence[Record]) -> Figure:
    """Draw the figure."""
    students = summary[summary["retention_pct"].notna()]
    rows = _rows(students)
    height = 0.62 + 0.21 * (max(rows.values(), default=1) + 1)
    figure, (bars, pairs) = drawing.panels(drawing.FULL_IN, height, columns=2, sharey=True)
    ticks = {}
    for run, y in rows.items():
        if run in set(students["run"]):
            _draw_student(bars, pairs, students[students["run"] == run], y, drawing.looks(records)[run].colour)
            ticks[y] = drawing.label_of(records, run)
        else:
            _draw_teacher(bars, pairs, summary[summary["run"] == run], y, drawing.label_of(records, run))
    if ticks:
        _finish(bars, pairs, ticks)
    else:
        bars.text(0, 0, "No run of this suite has a teacher.", **TEXT)
        bars.set_axis_off()
        pairs.set_axis_off()
    return figure


def _rows(students: pd.DataFrame) -> dict[str, float]:
    """Return the height of each row, from the top: a teacher's heading, then its students, the best retention first."""
    rows: dict[str, float] = {}
    y = 0.0
    for teacher, group in students.groupby("teacher"):
        order = group.groupby("run")["retention_pct"].mean().sort_values(ascending=False).index
        for run in (teacher, *order):
            rows[run] = y
            y += 1
        y += 0.35
    return rows


def _draw_student(bars: Axes, pairs: Axes, seeds: pd.DataFrame, y: float, colour: str) -> None:
    retention, accuracy, teacher = (seeds[c].mean() for c in ("retention_pct", "accuracy_pct", "teacher_accuracy_pct"))
    bars.barh(y, retention, height=0.62, color=colour, zorder=2)
    edge, beside = max(retention, seeds["retention_pct"].max()), {"textcoords": "offset points", **TEXT}
    bars.annotate(f"{retention:.2f} %", xy=(edge, y), xytext=(5, 0), **beside)
    pairs.plot([accuracy, teacher], [y, y], color=drawing.MUTED, linewidth=0.9, zorder=2)
    pairs.plot(teacher, y, marker="D", ms=4.4, mfc="white", mec=drawing.INK, mew=0.9, zorder=3)
    pairs.plot(accuracy, y, marker="o", ms=5, color=colour, zorder=4)
    if len(seeds) > 1:
        spots: dict[str, Any] = {
            "color": drawing.INK,
            "marker": "|",
            "linestyle": "none",
            "ms": 5,
            "mew": 0.8,
            "zorder": 5,
        }
        bars.plot(seeds["retention_pct"], [y] * len(seeds), **spots)
        pairs.plot(seeds["accuracy_pct"], [y] * len(seeds), **spots)
    ahead = accuracy > teacher
    pairs.annotate(
        f"{accuracy:.2f}",
        xy=(seeds["accuracy_pct"].max() if ahead else seeds["accuracy_pct"].min(), y),
        xytext=(5 if ahead else -5, 0),
        ha="left" if ahead else "right",
        **beside,
    )


def _draw_teacher(bars: Axes, pairs: Axes, seeds: pd.DataFrame, y: float, name: str) -> None:
    accuracy = seeds["accuracy_pct"].mean()
    bars.text(1, y + 0.12, f"Students of {name} ({accuracy:.2f} %)", fontweight="bold", **TEXT)
    pairs.text(accuracy, y + 0.12, f"{name}: {accuracy:.2f}", ha="center", **TEXT)


def _finish(bars: Axes, pairs: Axes, ticks: dict[float, str]) -> None:
    import seaborn
    from matplotlib.ticker import MaxNLocator

    seaborn.despine(ax=pairs, left=True)
    bars.set_yticks(list(ticks), list(ticks.values()))
    bars.axvline(100, color=drawing.MUTED, linewidth=0.6, linestyle=(0, (2, 2)), zorder=1)
    bars.set_ylabel("Student")
    bars.set_ylim(max(ticks) + 0.5, -0.4)
    bars.set_xlim(0, 1.2 * max(100, bars.dataLim.x1))
    bars.set(xticks=range(0, 101, 20), xlabel="Retention (% of its teacher's accuracy)")
    for axes in (bars, pairs):
        axes.tick_params(axis="y", length=0)
        axes.grid(False, axis="y")
    low, high = pairs.dataLim.intervalx
    room = 0.3 * (high - low)
    pairs.set(xlim=(low - room, high + room), xlabel=drawing.ACCURACY_LABEL)
    pairs.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
