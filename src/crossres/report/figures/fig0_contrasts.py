"""Forest plot of the suite's planned contrasts: value, interval, bound, the thesis's value and the verdict."""

from __future__ import annotations

import re
import textwrap
from typing import Any

from crossres.claims.finding import ContrastFinding, number_text
from crossres.report.drawing import style
from crossres.report.types import Axes, Facts, Figure, RunData
from crossres.suites.suite import Suite

RUNS = ()
SECTION = "verdicts"
ORDER = 0
CLAIMS = True
LETTERS = 38
"""Letters in a line of a contrast's name."""
COLOURS = {"supported": "#0072B2", "contradicted": "#D55E00"}


def applies(suite: Suite) -> bool:
    return bool(suite.contrasts)


def caption(facts: Facts) -> str:
    family = any(contrast.family for contrast in facts.suite.contrasts.values())
    corrected = " Grey names are of contrasts whose *p* is not corrected for their number." if family else ""
    of_thesis = any(run.thesis_id for run in facts.suite.runs.values())
    compared = of_thesis and any(contrast.claim for contrast in facts.suite.contrasts.values())
    reported = "; a diamond marks the value that the thesis reports" if compared else ""
    return (
        "Planned contrasts: mean over seeds (dot) with its 95\u202f% *t* interval, and the answer for the claim (blue: "
        "supported, orange: contradicted, grey: undecided). A triangle stands at the bound of the claim and points to "
        f"where the claim puts the value{reported}.{corrected}"
    )


def reference(facts: Facts) -> str:
    return "[fig:fig0_contrasts] gives the planned contrasts of the suite."


def draw(data: RunData) -> Figure:
    columns: dict[str, list[ContrastFinding]] = {}
    for contrast in data.contrasts:
        columns.setdefault(contrast.column, []).append(contrast)
    rows = [len(found) for found in columns.values()]
    families = any(contrast.family for contrast in data.contrasts)
    figure, panels = style.panels(
        style.FULL_IN,
        0.5 * len(rows) + 0.28 * sum(rows),
        rows=len(rows),
        gridspec_kw={"height_ratios": rows},
    )
    for axes, (column, found) in zip(panels, columns.items(), strict=True):
        for y, contrast in enumerate(found):
            _draw_row(axes, y, contrast)
        axes.axvline(0, color=style.INK, linewidth=0.6, zorder=1)
        axes.set_yticks(range(len(found)), [textwrap.fill(contrast.title, LETTERS) for contrast in found])
        for label, contrast in zip(axes.get_yticklabels(), found, strict=True):
            label.set(linespacing=1.0, color=style.INK if contrast.family or not families else style.MUTED)
        stem, _, unit = column.rpartition("_")
        name = stem.replace("_", " ") if unit == "pct" else column.replace("_", " ")
        axes.set(
            ylim=(len(found) - 0.4, -0.6),
            ylabel="Contrast",
            xlabel=f"{name.capitalize()}{' (points)' if unit == 'pct' else ''}",
        )
        axes.tick_params(axis="y", length=0)
        axes.grid(False, axis="y")
    return figure


def _draw_row(axes: Axes, y: int, contrast: ContrastFinding) -> None:
    side, bound = contrast.condition.split()
    mark = ">" if side == "above" else "<"
    axes.plot(_number(bound), y - 0.3, marker=mark, ms=4, color=style.MUTED, mew=0)
    colour, found, text = COLOURS.get(contrast.verdict, style.MUTED), contrast.estimate, str(contrast.verdict)
    if found:
        if found.low is not None and found.high is not None:
            axes.plot([found.low, found.high], [y, y], color=colour, linewidth=1.4)
        axes.plot(found.value, y, marker="o", ms=4.6, color=colour)
        text = f"{number_text(found)}\n{text}"
    if contrast.reported:
        axes.plot(_number(contrast.reported), y, marker="D", ms=4.4, mfc="white", mec=style.INK, mew=0.9)
    beside: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "va": "center", "linespacing": 1.0}
    axes.text(1.02, y, text, color=style.text_colour(colour), **beside)


def _number(text: str) -> float:
    found = re.search(r"[-+]?\d+(\.\d+)?", text.replace("−", "-"))
    return float(found[0]) if found else float("nan")
