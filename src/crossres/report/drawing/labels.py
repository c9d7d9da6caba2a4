"""Labels beside the ends of lines, where they overlap neither each other nor the axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from crossres.report.drawing.style import SMALL_PT, text_colour
from crossres.report.types import Axes

if TYPE_CHECKING:
    from matplotlib.text import Annotation


class End(NamedTuple):
    """The right end of a line, where its label stands, in data coordinates."""

    x: float
    y: float
    text: str
    colour: str


def spread(wanted: Sequence[float], heights: Sequence[float], low: float, high: float) -> list[float]:
    """Move labels apart as little as possible (in squares), keeping their order.

    Args:
        wanted: Centre that each label should have, ascending.
        heights: Height of each label.
        low: Lower bound of the first label's edge.
        high: Upper bound of the last label's edge.

    Returns:
        Centres at which no two labels overlap. Where they cannot all fit, they start at `low`.
    """
    from scipy.optimize import isotonic_regression

    offsets = np.cumsum(heights) - np.array(heights) / 2
    starts = isotonic_regression(np.array(wanted) - offsets).x
    return list(np.clip(starts, low, max(low, high - sum(heights))) + offsets)


def label_ends(axes: Axes, ends: Sequence[End], gap: float = 0.035) -> None:
    """Label lines at the right edge of the axes, moved apart where they would overlap.

    Call it last: it needs the final limits of the axes. The gap to the axes is in widths of the axes.
    """
    point = _points(axes)
    ends = sorted(ends, key=lambda end: end.y)
    box = axes.get_window_extent()
    heights = [(end.text.count("\n") + 1) * SMALL_PT * 1.25 * point for end in ends]
    wanted = [float(axes.transData.transform((end.x, end.y))[1]) for end in ends]
    for end, centre in zip(ends, spread(wanted, heights, box.y0 - 4 * point, box.y1 + 4 * point), strict=True):
        axes.annotate(
            end.text,
            xy=(end.x, end.y),
            xytext=(1 + gap, axes.transData.inverted().transform((box.x1, centre))[1]),
            textcoords=axes.get_yaxis_transform(),
            color=text_colour(end.colour),
            ha="left",
            va="center",
            linespacing=1.1,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": end.colour,
                "linewidth": 0.6,
                "shrinkA": 1,
                "shrinkB": 3,
                "relpos": (0, 0.5),  # to the text's edge: towards its middle it would cross another label
            },
        )


def label_inside(axes: Axes, end: End, above: bool, shift_pt: tuple[float, float] = (4, 5)) -> None:
    """Label a line that ends within the axes, above or below its end; below, the axes make room for it."""
    text = axes.annotate(
        end.text,
        xy=(end.x, end.y),
        xytext=(shift_pt[0], shift_pt[1] if above else -shift_pt[1]),
        textcoords="offset points",
        color=text_colour(end.colour),
        ha="left",
        va="bottom" if above else "top",
        linespacing=1.1,
    )
    if not above:
        _make_room(axes, end, text)


def _make_room(axes: Axes, end: End, text: Annotation) -> None:
    """Lower the vertical limit of the axes until a text that hangs from a line's end is inside."""
    point = _points(axes)
    frame, height = axes.get_window_extent(), float(axes.transData.transform((end.x, end.y))[1])
    needed = height - text.get_window_extent().y0 + 2 * point
    lack = needed - (height - frame.y0)
    if lack > 0 and needed < frame.height:
        lowered = frame.y0 - frame.height * lack / (frame.height - needed)
        axes.set_ylim(bottom=float(axes.transData.inverted().transform((frame.x0, lowered))[1]))


def _points(axes: Axes) -> float:
    """Lay the figure out, and return the pixels of a point."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    return figure.dpi / 72
