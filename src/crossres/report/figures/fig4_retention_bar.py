"""Retention of each student, and the two accuracies behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crossres.records.record import Record
from crossres.report.drawing import style
from crossres.report.types import Axes, DataFrame, Facts, Figure, RunData

RUNS = ()
SECTION = "results"
ORDER = 2
PLATE = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
TEXT: dict[str, Any] = {"va": "center_baseline", "bbox": PLATE, "zorder": 1.5}
"""How text is set: on white, above rules and below bars and marks."""
BESIDE: dict[str, Any] = {"textcoords": "offset points", **TEXT}


def has_data(records: Sequence[Record]) -> bool:
    """Some student has a teacher above 0 %."""
    accurate = {record.name for record in records if record.best.top1_pct > 0}
    return any(record.spec.teacher in accurate for record in records)


def caption(facts: Facts) -> str:
    seeds = " Bars and dots are means over seeds; ticks mark the seeds." if facts.several_seeds else ""
    return (
        "Left: retention, the test accuracy of each student in per cent of its teacher's. Right: the two accuracies "
        f"behind it, of the student (dot) and of the teacher (diamond).{seeds} Retention compares students of one "
        "teacher only, since it divides by that teacher's accuracy."
    )


def reference(facts: Facts) -> str:
    return "[fig:fig4_retention_bar] shows retention and the two accuracies behind it."


def draw(data: RunData) -> Figure:
    students = data.summary[data.summary["retention_pct"].notna()]
    rows = _rows(students)
    height = 0.62 + 0.21 * (max(rows.values()) + 1)
    column = max(100, students["retention_pct"].max())
    figure, (bars, pairs) = style.panels(style.FULL_IN, height, columns=2, sharey=True)
    ticks = {}
    for run, y in rows.items():
        if run in set(students["run"]):
            _draw_student(bars, pairs, students[students["run"] == run], y, data.look(run).colour)
            mean = data.mean(run, "retention_pct")
            bars.annotate(f"{mean:.2f} %", xy=(column, y), xytext=(5, 0), **BESIDE)
            ticks[y] = data.label(run)
        else:
            _draw_teacher(bars, pairs, data.mean(run, "accuracy_pct"), y, data.label(run))
    _finish(bars, pairs, ticks)
    return figure


def _rows(students: DataFrame) -> dict[str, float]:
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


def _draw_student(bars: Axes, pairs: Axes, seeds: DataFrame, y: float, colour: str) -> None:
    retention, accuracy, teacher = (seeds[c].mean() for c in ("retention_pct", "accuracy_pct", "teacher_accuracy_pct"))
    bars.barh(y, retention, height=0.62, color=colour, zorder=2)
    pairs.plot([accuracy, teacher], [y, y], color=style.MUTED, linewidth=0.9, zorder=2)
    pairs.plot(teacher, y, marker="D", ms=4.4, mfc="white", mec=style.INK, mew=0.9, zorder=3)
    pairs.plot(accuracy, y, marker="o", ms=5, color=colour, zorder=4)
    if len(seeds) > 1:
        bars.plot(seeds["retention_pct"], [y] * len(seeds), **style.SEED)
        pairs.plot(seeds["accuracy_pct"], [y] * len(seeds), **style.SEED)
    text = f"{accuracy:.2f}"
    if accuracy > teacher:
        pairs.annotate(text, xy=(seeds["accuracy_pct"].max(), y), xytext=(5, 0), ha="left", **BESIDE)
    else:
        pairs.annotate(text, xy=(seeds["accuracy_pct"].min(), y), xytext=(-5, 0), ha="right", **BESIDE)


def _draw_teacher(bars: Axes, pairs: Axes, accuracy: float, y: float, name: str) -> None:
    bars.text(1, y + 0.12, f"Students of {name} ({accuracy:.2f} %)", fontweight="bold", **TEXT)
    pairs.text(accuracy, y + 0.12, f"{name}: {accuracy:.2f}", ha="center", **TEXT)


def _finish(bars: Axes, pairs: Axes, ticks: dict[float, str]) -> None:
    from matplotlib.ticker import MaxNLocator

    bars.set_yticks(list(ticks), list(ticks.values()))
    bars.axvline(100, **style.RULE)
    bars.set(ylim=(max(ticks) + 0.5, -0.4), ylabel="Student")
    bars.set(xlim=(0, 1.2 * max(100, bars.dataLim.x1)), xlabel="Retention (% of its teacher's accuracy)")
    bars.set_xticks(range(0, 101, 20))
    for axes in (bars, pairs):
        axes.tick_params(axis="y", length=0)
        axes.grid(False, axis="y")
    low, high = pairs.dataLim.intervalx
    room = 0.3 * (high - low)
    pairs.set(xlim=(low - room, high + room), xlabel=style.ACCURACY_LABEL)
    pairs.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    pairs.spines["left"].set_visible(False)
