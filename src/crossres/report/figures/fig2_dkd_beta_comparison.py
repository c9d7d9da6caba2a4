"""Test accuracy of the two DKD students by epoch, compared at equal epochs where one was stopped early."""

from __future__ import annotations

from crossres.report.drawing import curves, style
from crossres.report.types import Axes, Facts, Figure, RunData

RUNS = ("dkd_beta8", "dkd_beta2")
SECTION = "results"
ORDER = 4


def caption(facts: Facts) -> str:
    stops = "; crosses mark early stops" if facts.stopped_early(RUNS) else ""
    if facts.stopped_early(RUNS[:1]):
        stops += (
            ". A ring marks the best epoch of the second run up to the stop of the first, so that the two can be "
            "compared after the same number of epochs"
        )
    return (
        f"Test accuracy of {facts.label('dkd_beta8')} and {facts.label('dkd_beta2')} by epoch. Dots mark the selected "
        f"epochs, with their accuracy in per cent beside the names{stops}."
    )


def reference(facts: Facts) -> str:
    return "[fig:fig2_dkd_beta_comparison] compares the two values of β."


def draw(data: RunData) -> Figure:
    figure, (axes,) = style.panels(style.COLUMN_IN, 2.5)
    axes.set_ylabel(style.ACCURACY_LABEL)
    _compare_at_stop(axes, data)
    accuracy = {run: f"{data.mean(run, 'accuracy_pct'):.2f}" for run in RUNS}
    curves.draw_lines(axes, data, RUNS, "test_accuracy_pct", values=accuracy)
    return figure


def _compare_at_stop(axes: Axes, data: RunData) -> None:
    """Mark the best of the second run up to the epoch at which the first was stopped, seed by seed."""
    colour = data.look(RUNS[1]).colour
    others = {record.spec.seed: record for record in data.seeds(RUNS[1])}
    bests: list[tuple[int, float]] = []
    for record in data.seeds(RUNS[0]):
        stop = record.history[-1].epoch
        if not record.stopped_early or record.spec.seed not in others:
            continue
        so_far = [epoch for epoch in others[record.spec.seed].history if epoch.epoch <= stop]
        best = max(so_far, key=lambda epoch: epoch.test_accuracy_pct)
        axes.axvline(stop, **style.RULE)
        axes.plot(best.epoch, best.test_accuracy_pct, marker="o", ms=5, mfc="white", mec=colour, mew=1.1, zorder=6)
        bests.append((best.epoch, best.test_accuracy_pct))
    if bests:
        epoch, accuracy = (sum(values) / len(bests) for values in zip(*bests, strict=True))
        axes.annotate(
            f"{accuracy:.2f}",
            xy=(epoch, accuracy),
            xytext=(-4, 5),
            textcoords="offset points",
            color=style.text_colour(colour),
            ha="right",
            va="bottom",
        )
