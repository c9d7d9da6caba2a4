"""Test accuracy of three KD students over the last epochs: the selected epoch and the mean of the last ten."""

from __future__ import annotations

from crossres.report.drawing import curves, labels, style
from crossres.report.types import Axes, Facts, Figure, RunData

RUNS = ("kd_32_basic", "kd_32", "kd_64_to_32")
SECTION = "results"
ORDER = 7
SHOWN_EPOCHS = 50
"""Epochs shown of a long schedule; of one less than twice as long, the last quarter is shown."""
LAST_EPOCHS = 10
"""Epochs in the summary's `last_ten_mean_pct`."""


def caption(facts: Facts) -> str:
    last = max(len(record.history) for run in RUNS for record in facts.by_run[run])
    shows_mean = last - _first_shown(last) >= LAST_EPOCHS
    bars = (
        "; pale bars mark the mean of the last ten. The difference is what selecting the epoch adds"
        if shows_mean
        else ""
    )
    return (
        f"Test accuracy of {facts.label('kd_32_basic')}, {facts.label('kd_32')} and {facts.label('kd_64_to_32')} over "
        f"the last epochs. Dots mark the selected epochs, with their accuracy in per cent beside the lines{bars}."
    )


def reference(facts: Facts) -> str:
    return "[fig:fig5_zoomed_convergence] shows the last epochs of the KD students."


def draw(data: RunData) -> Figure:
    figure, (axes,) = style.panels(style.COLUMN_IN, 2.5)
    last = data.last_epoch(RUNS)
    first = _first_shown(last)
    ends = [_draw_run(axes, data, run, first) for run in RUNS]
    style.epoch_axis(axes, last, first=first)
    axes.set_ylabel(style.ACCURACY_LABEL)
    labels.label_ends(axes, ends)
    return figure


def _first_shown(last: int) -> int:
    return max(1, last - (SHOWN_EPOCHS if last >= 2 * SHOWN_EPOCHS else max(2, last // 4)))


def _draw_run(axes: Axes, data: RunData, run: str, first: int) -> labels.End:
    """Draw the shown part of a run and return its end, labelled with both figures."""
    end = curves.draw_curve(axes, data, run, "test_accuracy_pct", first=first)
    curves.draw_marks(axes, data, run, "test_accuracy_pct", first=first)
    best, late = (data.mean(run, column) for column in ("accuracy_pct", "last_ten_mean_pct"))
    text = f"{end.text}\nbest: {best:.2f}"
    if end.x - LAST_EPOCHS >= first:
        text += f"\nlast {LAST_EPOCHS}: {late:.2f}"
        span = [end.x - LAST_EPOCHS + 1, end.x]
        axes.plot(span, [late, late], color=end.colour, linewidth=4, alpha=0.35, solid_capstyle="butt", zorder=1.5)
    return end._replace(text=text)
