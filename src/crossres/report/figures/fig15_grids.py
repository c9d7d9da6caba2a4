"""Heat map of every grid of two settings: mean test accuracy of each combination."""

from __future__ import annotations

import numpy as np

from crossres.report.drawing import style
from crossres.report.types import Axes, Facts, Figure, RunData
from crossres.suites.compare import plain
from crossres.suites.grids import Grid, axis_title
from crossres.suites.suite import Suite

RUNS = ()
SECTION = "results"
ORDER = 10


def applies(suite: Suite) -> bool:
    return any(len(grid.axes) == 2 for grid in suite.grids.values())


def caption(facts: Facts) -> str:
    named = "; ".join(grid.title for grid in facts.suite.grids.values() if len(grid.axes) == 2)
    seeds = ", as means over seeds" if facts.several_seeds else ""
    return f"Test accuracy in percent of each combination of two settings{seeds}: {named}."


def reference(facts: Facts) -> str:
    return "[fig:fig15_grids] shows how two settings act together."


def draw(data: RunData) -> Figure:
    grids = {name: grid for name, grid in data.grids.items() if len(grid.axes) == 2}
    if not grids:
        return style.note("The suite has no grid of two settings.")
    figure, panels = style.panels(style.FULL_IN, 2.6, columns=max(2, len(grids)))
    for axes in panels[len(grids) :]:
        axes.set_axis_off()
    for axes, (name, grid) in zip(panels, grids.items(), strict=False):
        _draw_grid(axes, data, name, grid)
    return figure


def _draw_grid(axes: Axes, data: RunData, name: str, grid: Grid) -> None:
    down, across = grid.over.values()
    accuracies = [data.mean(run, "accuracy_pct") for run in grid.cells(name)]
    table = np.array(accuracies).reshape(len(down), len(across))
    axes.imshow(table, cmap="cividis", aspect="auto")
    middle = (table.min() + table.max()) / 2
    for (row, column), accuracy in np.ndenumerate(table):
        colour = "white" if accuracy < middle else "black"
        axes.text(column, row, f"{accuracy:.1f}", ha="center", va="center", color=colour)
    axes.set_yticks(range(len(down)), [plain(value) for value in down])
    axes.set_xticks(range(len(across)), [plain(value) for value in across])
    title_down, title_across = map(axis_title, grid.axes)
    axes.set(xlabel=title_across.capitalize(), ylabel=title_down.capitalize())
    axes.tick_params(length=0)
    axes.grid(visible=False)
