"""The journal style: sizes, colours, axes, and files that are equal to the byte."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from crossres.files import write_atomic
from crossres.report.types import Axes, Figure

if TYPE_CHECKING:
    from matplotlib.ticker import Locator

COLUMN_IN = 3.35
"""Width of a figure that fills one column (85 mm)."""
FULL_IN = 6.9
"""Width of a figure that fills the page."""
SMALL_PT = 7.0
"""Size of the smallest text, at final size."""
INK = "#222222"
MUTED = "#6b6b6b"
"""Colour of notes and rules that belong to no run."""
RULE: dict[str, Any] = {"color": MUTED, "linewidth": 0.6, "linestyle": (0, (2, 2)), "zorder": 1}
"""How a dotted rule is drawn."""

SEED: dict[str, Any] = {"color": INK, "marker": "|", "linestyle": "none", "ms": 5, "mew": 0.8, "zorder": 5}
"""How the value of one seed is marked."""

ACCURACY_LABEL = "Test accuracy (%)"
LOSS_LABEL = "Test loss (nats)"


class Look(NamedTuple):
    """How a run's line is drawn, in every figure."""

    colour: str
    dash: Any = "-"
    """Matplotlib line style, so that lines differ in greyscale too."""


LOOKS = {
    "teacher_32": Look("#808080", (0, (4.0, 1.2))),
    "teacher_64": Look("#000000"),
    "kd_32_basic": Look("#56B4E9", (0, (1.4, 0.9))),
    "kd_32": Look("#0072B2"),
    "dkd_beta8": Look("#D55E00", (0, (2.6, 0.8))),
    "dkd_beta2": Look("#E69F00"),
    "kd_64_to_32": Look("#009E73", (0, (5.0, 1.0))),
}
"""Looks of the thesis's runs, in Okabe and Ito's colours."""
SPARE_COLOURS = ("#CC79A7", "#882255", "#999933", "#332288", "#44AA99", "#AA4499")
SPARE_DASHES = ((0, (3.0, 1.0, 1.0, 1.0, 1.0, 1.0)), "-", (0, (2.0, 1.0)))
"""Looks of other runs: Okabe and Ito's purple, then colours of Tol's muted set."""


def journal() -> AbstractContextManager[None]:
    """Return the context in which figures are drawn and saved, whatever the reader's own settings say."""
    os.environ["MPLBACKEND"] = "agg"  # matplotlib cannot be imported where the reader's backend is missing
    from matplotlib import style

    return style.context(Path(__file__).with_name("journal.mplstyle"), after_reset=True)


def panels(
    width_in: float,
    height_in: float,
    rows: int = 1,
    columns: int = 1,
    pads_in: tuple[float, float] = (0.03, 0.03),
    **subplots: Any,
) -> tuple[Figure, list[Axes]]:
    """Return a figure of exactly this size and its axes, row by row, padded horizontally and vertically."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=pads_in[0], h_pad=pads_in[1])
    figure = Figure(figsize=(width_in, height_in), layout=layout)
    return figure, list(figure.subplots(rows, columns, squeeze=False, **subplots).flat)


def note(text: str) -> Figure:
    """Return a figure that is a line of text."""
    figure, (axes,) = panels(FULL_IN, 0.4)
    axes.set_axis_off()
    axes.text(0, 0.5, text, va="center")
    return figure


def text_colour(colour: str) -> str:
    """Darken a line's colour until text in it stands out from white by 4.5 to 1."""
    from matplotlib.colors import to_hex, to_rgb

    rgb = np.array(to_rgb(colour))
    while np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722) > 0.183:
        rgb = rgb * 0.95
    return to_hex((rgb[0], rgb[1], rgb[2]))


def epoch_axis(axes: Axes, last: int, first: int = 0) -> None:
    """Set up the horizontal axis of a history; its label stands under the last row of axes."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlim(first, last)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    spec = axes.get_subplotspec()
    axes.set_xlabel("Epoch" if spec is None or spec.is_last_row() else "")


def log_axis(axes: Axes, name: str) -> None:
    """Set up a logarithmic vertical axis with plain numbers: decades if it spans several, round values otherwise."""
    from matplotlib.ticker import FuncFormatter, NullLocator

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(_log_locator(low, high))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylim(low, high)
    axes.set_ylabel(f"{name[:-1]}, log scale)" if name.endswith(")") else f"{name} (log scale)")


def _log_locator(low: float, high: float) -> Locator:
    from matplotlib.ticker import LogLocator, MaxNLocator

    if high > 1000 * low:
        return LogLocator()
    return LogLocator(subs=(1, 2, 5)) if high > 30 * low else MaxNLocator(5, steps=[1, 2, 5, 10])


def save(figure: Figure, *paths: Path) -> None:
    """Write a figure as PDF, PNG or SVG by the paths' suffixes. The same figure gives the same bytes: no dates."""
    dated: dict[str, Any] = {"pdf": {"CreationDate": None}, "png": {"Software": None}, "svg": {"Date": None}}
    for path in paths:
        form = path.suffix[1:]
        buffer = BytesIO()
        figure.savefig(buffer, format=form, metadata=dated[form])
        write_atomic(path, buffer.getvalue())
