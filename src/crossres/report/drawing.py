"""What all figures share: the journal style, one look per run, curves over seeds, labels, and files equal to the byte.

A figure is one file in `crossres.report.figures`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from crossres.base import CrossresError
from crossres.files import write_atomic
from crossres.records.record import Record
from crossres.suites.names import recipe_name, resolution_name
from crossres.suites.spec import Spec

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation

COLUMN_IN = 3.35
"""Width of a figure that fills one column (85 mm)."""
FULL_IN = 6.9
"""Width of a figure that fills the page."""
DPI = 200
"""Resolution of the PNG files."""
METADATA: dict[str, Any] = {"pdf": {"CreationDate": None}, "png": {"Software": None}, "svg": {"Date": None}}
"""What Matplotlib is to leave out of a file."""
SMALL_PT = 7.0
"""Size of the smallest text, at final size."""
INK = "#222222"
MUTED = "#6b6b6b"
"""Colour of notes and rules that belong to no run."""

ACCURACY_LABEL = "Test accuracy (%)"
LOSS_LABEL = "Test loss (nats)"


class Look(NamedTuple):
    """How a run's line is drawn, in every figure."""

    colour: str
    dash: Any
    """Matplotlib line style, so that lines differ in greyscale too."""


class End(NamedTuple):
    """The right end of a line, where its label stands, in data coordinates."""

    x: float
    y: float
    text: str
    colour: str


LOOKS = {
    "teacher_32": Look("#808080", (0, (4.0, 1.2))),
    "teacher_64": Look("#000000", "-"),
    "kd_32_basic": Look("#56B4E9", (0, (1.4, 0.9))),
    "kd_32": Look("#0072B2", "-"),
    "dkd_beta8": Look("#D55E00", (0, (2.6, 0.8))),
    "dkd_beta2": Look("#E69F00", "-"),
    "kd_64_to_32": Look("#009E73", (0, (5.0, 1.0))),
}
"""Looks of the thesis's runs, in Okabe and Ito's colours."""
SPARE_COLOURS = ("#CC79A7", "#882255", "#999933", "#332288", "#44AA99", "#AA4499")
SPARE_DASHES = ((0, (3.0, 1.0, 1.0, 1.0, 1.0, 1.0)), "-", (0, (2.0, 1.0)))
"""Looks of other runs: Okabe and Ito's purple, then colours of Tol's muted set."""


@contextmanager
def style() -> Iterator[None]:
    """Draw and save figures inside this context: journal style, whatever the reader's own matplotlibrc says."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        settings: Any = _rc()
        matplotlib.rcParams.update(settings)
        yield


def _rc() -> dict[str, Any]:
    return {
        **{"backend": "agg", "pdf.fonttype": 42, "svg.hashsalt": "crossres", "savefig.dpi": DPI, "figure.dpi": DPI},
        **{"font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "mathtext.fontset": "dejavusans"},
        **{"font.size": 7.5, "axes.labelsize": 7.5, "xtick.labelsize": SMALL_PT, "ytick.labelsize": SMALL_PT},
        **{"text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK},
        **{"axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": INK, "axes.linewidth": 0.6},
        **{"axes.grid": True, "axes.axisbelow": True, "grid.color": "#e4e4e4", "grid.linewidth": 0.5},
        **{"xtick.major.width": 0.6, "ytick.major.width": 0.6, "xtick.major.size": 2.5, "ytick.major.size": 2.5},
        **{"lines.solid_capstyle": "round", "patch.edgecolor": "w", "patch.force_edgecolor": True},
        **{"lines.linewidth": 1.1, "lines.dash_capstyle": "butt", "axes.labelpad": 3.0},
    }


def panels(
    width_in: float,
    height_in: float,
    rows: int = 1,
    columns: int = 1,
    pads_in: tuple[float, float] = (0.03, 0.03),
    **kwargs: Any,
) -> tuple[Figure, list[Axes]]:
    """Return a figure of exactly this size and its axes, row by row.

    Args:
        width_in: Width in inches; `COLUMN_IN` or `FULL_IN`.
        height_in: Height in inches.
        rows: Rows of axes.
        columns: Columns of axes.
        pads_in: Space around each axes, horizontal and vertical, in inches.
        **kwargs: Passed to `Figure.subplots`.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=pads_in[0], h_pad=pads_in[1])
    figure = Figure(figsize=(width_in, height_in), layout=layout)
    return figure, list(figure.subplots(rows, columns, squeeze=False, **kwargs).flat)


def of_run(records: Sequence[Record], run: str) -> list[Record]:
    """Return the records of a run, by seed.

    Raises:
        CrossresError: When there is none.
    """
    found = sorted((record for record in records if record.name == run), key=lambda record: record.spec.seed)
    if not found:
        raise CrossresError(f"figures: the suite has no record of run '{run}'; add the run or leave the figure out")
    return found


def label(spec: Spec) -> str:
    """Return the short name of a run: `v3 · DKD β=8`, `teacher 64 px`, or its own name if the thesis has none."""
    if spec.thesis_id is None:
        return spec.run
    if spec.teacher is None:
        return f"teacher {spec.view.resolution_px} px"
    words = [spec.objective.title]
    if spec.objective.variant:
        words.append(spec.objective.variant.replace(" ", ""))
    if "→" in resolution_name(spec):
        words.append(resolution_name(spec))
    if recipe_name(spec) != "strong":
        words.append(f"({recipe_name(spec)})")
    return f"{spec.thesis_id} · {' '.join(words)}"


def label_of(records: Sequence[Record], run: str) -> str:
    """Return the short name of a run among the records."""
    return label(of_run(records, run)[0].spec)


def looks(records: Sequence[Record]) -> dict[str, Look]:
    """Return each run's look. It depends on the suite's runs alone, so a run looks the same in all figures."""
    runs = {record.name for record in records}
    found = {run: look for run, look in LOOKS.items() if run in runs}
    for index, run in enumerate(sorted(runs - set(found))):
        found[run] = Look(SPARE_COLOURS[index % len(SPARE_COLOURS)], SPARE_DASHES[index % len(SPARE_DASHES)])
    return found


def text_colour(colour: str) -> str:
    """Darken a line's colour until text in it stands out from white by 4.5 to 1."""
    from matplotlib.colors import to_hex, to_rgb

    rgb = np.array(to_rgb(colour))
    while np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722) > 0.183:
        rgb = rgb * 0.95
    return to_hex((rgb[0], rgb[1], rgb[2]))


def mean_of(summary: pd.DataFrame, run: str, column: str) -> float:
    """Return a column of the summary for a run, averaged over seeds."""
    return float(summary.loc[summary["run"] == run, column].mean())


def curve(records: Sequence[Record], run: str, column: str) -> pd.DataFrame:
    """Return a run's history over its seeds.

    Args:
        records: All records of the suite.
        run: The run.
        column: A field of `Epoch`, such as `test_loss`.

    Returns:
        One row an epoch: `epoch`, `mean`, `low` and `high` (least and greatest), and `seeds`, the number of seeds that
        reached it; early stopping may end some before others.
    """
    rows = [(e.epoch, getattr(e, column)) for record in of_run(records, run) for e in record.history]
    by_epoch = pd.DataFrame(rows, columns=["epoch", "value"]).dropna().groupby("epoch")["value"]
    return by_epoch.agg(mean="mean", low="min", high="max", seeds="count").reset_index()


def last_epoch(records: Sequence[Record], runs: Sequence[str]) -> int:
    """Return the last epoch that any of the runs reached."""
    return max(record.history[-1].epoch for run in runs for record in of_run(records, run))


def draw_curve(
    axes: Axes,
    records: Sequence[Record],
    run: str,
    column: str,
    first: int = 1,
    look: Look | None = None,
    **line: Any,
) -> End:
    """Draw a run's mean over seeds and the band from least to greatest; return the line's end.

    Where early stopping has ended some of the seeds, the mean of the remaining ones is drawn faintly.

    Args:
        axes: Where to draw.
        records: All records of the suite.
        run: The run.
        column: A field of `Epoch`.
        first: First epoch drawn.
        look: Another look than the run's own.
        **line: Passed to `Axes.plot`.
    """
    look = look or looks(records)[run]
    data = curve(records, run, column)
    data = data[data["epoch"] >= first]
    options: dict[str, Any] = {"color": look.colour, "linestyle": look.dash, **line}
    whole = data[data["seeds"] == data["seeds"].max()]
    rest = data[data["epoch"] >= whole["epoch"].max()]
    axes.plot(whole["epoch"], whole["mean"], **options)
    if len(rest) > 1:
        axes.plot(rest["epoch"], rest["mean"], **{**options, "alpha": 0.45})
    if data["seeds"].max() > 1:
        axes.fill_between(data["epoch"], data["low"], data["high"], color=look.colour, alpha=0.18, linewidth=0)
    return End(float(data["epoch"].iloc[-1]), float(data["mean"].iloc[-1]), label_of(records, run), look.colour)


def draw_marks(axes: Axes, records: Sequence[Record], run: str, column: str, first: int = 1) -> None:
    """Mark each seed's selected epoch with a dot and its early stop, if any, with a cross, from a first epoch on."""
    colour = looks(records)[run].colour
    shared: dict[str, Any] = {
        "color": colour,
        "markeredgecolor": "white",
        "linestyle": "none",
        "clip_on": False,
        "zorder": 5,
    }
    for record in of_run(records, run):
        for entry in record.history:
            if entry.epoch == record.best.epoch >= first:
                axes.plot([entry.epoch], [getattr(entry, column)], marker="o", ms=4.6, mew=0.6, **shared)
        last = record.history[-1]
        if record.stopped_early and last.epoch >= first:
            axes.plot([last.epoch], [getattr(last, column)], marker="X", ms=5.6, mew=0.6, **shared)


def stop_note(records: Sequence[Record], run: str) -> str | None:
    """Say where early stopping ended a run, or nothing if it did not."""
    found = of_run(records, run)
    stopped = [record for record in found if record.stopped_early]
    if not stopped:
        return None
    epochs = sorted({record.history[-1].epoch for record in stopped})
    where = f"{epochs[0]}" if len(epochs) == 1 else f"{epochs[0]}–{epochs[-1]}"
    note = f"stopped: epoch {where} of {stopped[0].spec.optimisation.epochs}"
    return note if len(stopped) == len(found) else f"{note} ({len(stopped)} of {len(found)} seeds)"


def epoch_axis(axes: Axes, last: int, first: int = 0) -> None:
    """Set up the horizontal axis of a history; its label stands under the last row of axes."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlim(first, last)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    spec = axes.get_subplotspec()
    axes.set_xlabel("Epoch" if spec is None or spec.is_last_row() else "")


def log_axis(axes: Axes, name: str) -> None:
    """Set up a logarithmic vertical axis with plain numbers: decades if it spans several, round values otherwise."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator() if high > 30 * low else MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylim(low, high)
    axes.set_ylabel(f"{name[:-1]}, log scale)" if name.endswith(")") else f"{name} (log scale)")


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
    offsets = np.cumsum(heights) - np.array(heights) / 2
    blocks: list[tuple[float, int]] = []
    for value in np.array(wanted) - offsets:
        mean, count = float(value), 1
        while blocks and blocks[-1][0] > mean:
            before, size = blocks.pop()
            mean, count = (before * size + mean * count) / (size + count), size + count
        blocks.append((mean, count))
    starts = np.repeat([mean for mean, _ in blocks], [count for _, count in blocks])
    return list(np.clip(starts, low, max(low, high - sum(heights))) + offsets)


def label_ends(axes: Axes, ends: Sequence[End], gap: float = 0.035) -> None:
    """Label lines at the right edge of the axes, moved apart where they would overlap.

    Call it last: it needs the final limits of the axes.

    Args:
        axes: Where the lines are.
        ends: The lines' ends; a text may have several lines.
        gap: Space between the axes and the labels, in widths of the axes.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    ends = sorted(ends, key=lambda end: end.y)
    point = figure.dpi / 72
    box = axes.get_window_extent()
    heights = [(end.text.count("\n") + 1) * SMALL_PT * 1.25 * point for end in ends]
    wanted = [float(axes.transData.transform((end.x, end.y))[1]) for end in ends]
    for end, centre in zip(ends, spread(wanted, heights, box.y0 - 4 * point, box.y1 + 4 * point), strict=True):
        y = axes.transData.inverted().transform((box.x1, centre))[1]
        axes.annotate(
            end.text,
            xy=(end.x, end.y),
            xytext=(1 + gap, y),
            textcoords=axes.get_yaxis_transform(),
            color=text_colour(end.colour),
            fontsize=SMALL_PT,
            ha="left",
            va="center",
            linespacing=1.1,
            annotation_clip=False,
            arrowprops={
                **{"arrowstyle": "-", "color": end.colour, "linewidth": 0.6, "shrinkA": 1, "shrinkB": 3},
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
        fontsize=SMALL_PT,
        ha="left",
        va="bottom" if above else "top",
        linespacing=1.1,
    )
    if not above:
        _make_room(axes, end, text)


def _make_room(axes: Axes, end: End, text: Annotation) -> None:
    """Lower the vertical limit of the axes until a text that hangs from a line's end is inside."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    frame, height = axes.get_window_extent(), float(axes.transData.transform((end.x, end.y))[1])
    needed = height - text.get_window_extent().y0 + figure.dpi / 72 * 2
    lack = needed - (height - frame.y0)
    if lack > 0 and needed < frame.height:
        lowered = frame.y0 - frame.height * lack / (frame.height - needed)
        axes.set_ylim(bottom=float(axes.transData.inverted().transform((frame.x0, lowered))[1]))


def draw_lines(
    axes: Axes, records: Sequence[Record], runs: Sequence[str], column: str, values: Mapping[str, str] | None = None
) -> None:
    """Draw the histories of several runs with their marks and labels.

    A line is labelled at the right edge; one that early stopping ended well before it, at its own end, on the side away
    from the others.

    Args:
        axes: Where to draw; its vertical axis must have its scale.
        records: All records of the suite.
        runs: The runs, in the order they are drawn.
        column: A field of `Epoch`.
        values: What to write under the names of runs, if anything.
    """
    last = last_epoch(records, runs)
    ends = {run: draw_curve(axes, records, run, column) for run in runs}
    for run, value in (values or {}).items():
        ends[run] = ends[run]._replace(text=f"{ends[run].text}\n{value}")
    for run in runs:
        draw_marks(axes, records, run, column)
    epoch_axis(axes, last)
    short = [run for run in runs if ends[run].x < 0.7 * last]
    for run in short:
        others = [curve(records, other, column) for other in runs if other != run]
        level = np.mean([np.interp(ends[run].x, data["epoch"], data["mean"]) for data in others])
        note = stop_note(records, run)
        text = ends[run].text if note is None else f"{ends[run].text}\n{note}"
        label_inside(axes, ends[run]._replace(text=text), above=bool(ends[run].y > level))
    label_ends(axes, [ends[run] for run in runs if run not in short])


def save(figure: Figure, *paths: Path) -> None:
    """Write a figure as PDF, PNG or SVG by the paths' suffixes. The same figure gives the same bytes: no dates."""
    for path in paths:
        kind = path.suffix[1:]
        buffer = BytesIO()
        figure.savefig(buffer, format=kind, dpi=DPI, metadata=METADATA[kind])
        write_atomic(path, buffer.getvalue())
