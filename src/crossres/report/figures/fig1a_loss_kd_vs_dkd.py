"""Test loss of KD and of DKD with the larger β by epoch, with their learning rates."""

from __future__ import annotations

from crossres.report.drawing import curves, labels, style
from crossres.report.types import Facts, Figure, RunData

RUNS = ("kd_32", "dkd_beta8")
SECTION = "results"
ORDER = 3


def caption(facts: Facts) -> str:
    stops = ""
    if facts.stopped_early(RUNS):
        stops = ", crosses early stops. The learning rate at a cross shows how much of the schedule was left"
    return (
        f"Test loss of {facts.label('kd_32')} and {facts.label('dkd_beta8')} by epoch (top), and their learning rates "
        f"in per cent of the peak (bottom). Dots mark the selected epochs{stops}."
    )


def reference(facts: Facts) -> str:
    return "[fig:fig1a_loss_kd_vs_dkd] shows the test loss of KD and of DKD with the larger β."


def draw(data: RunData) -> Figure:
    figure, (loss, rate) = style.panels(
        style.COLUMN_IN, 2.9, rows=2, sharex=True, gridspec_kw={"height_ratios": [3, 1]}
    )
    loss.set_yscale("log")
    for run in RUNS:
        end = curves.draw_rate(rate, data, run)
        if data.longest(run).stopped_early:
            text = f"{end.y:.0f} % at the stop"
            labels.label_inside(rate, end._replace(text=text), above=True, shift_pt=(4, -1))
    style.epoch_axis(rate, data.last_epoch(RUNS))
    rate.set(ylim=(0, 105), ylabel="Learning rate\n(% of peak)")
    curves.draw_lines(loss, data, RUNS, "test_loss")
    style.log_axis(loss, style.LOSS_LABEL)
    return figure
