"""Gradient norm before clipping, and the share of clipped steps, by epoch and method."""

from __future__ import annotations

from collections.abc import Sequence

from crossres.records.record import Record
from crossres.report.drawing import choice, curves, labels, style
from crossres.report.types import Facts, Figure, RunData
from crossres.suites.names import method_name
from crossres.suites.suite import Suite

RUNS = ()
SECTION = "audit"
ORDER = 4


def applies(suite: Suite) -> bool:
    return suite.records == "computed" and any(run.teacher for run in suite.runs.values())


def has_data(records: Sequence[Record]) -> bool:
    return bool(_shown(records))


def _shown(records: Sequence[Record]) -> list[str]:
    logged = {record.name for record in records if any(epoch.grad_norm is not None for epoch in record.history)}
    return [run for run in choice.by_method(records) if run in logged]


def caption(facts: Facts) -> str:
    seeds = ", as means over seeds with the range of the seeds" if facts.several_seeds else ""
    shown = _shown(facts.records)
    named = f" ({facts.named(shown)})" if shown else ""
    return (
        "Left: mean norm of the gradients before clipping, by epoch, on a logarithmic scale; the dotted line marks the "
        f"norm to which they are clipped. Right: share of the steps whose gradients were clipped{seeds}. One run per "
        f"method{named}, of the same networks, augmentation and teacher."
    )


def reference(facts: Facts) -> str:
    return (
        "[fig:fig11_gradient_norms] shows how large the gradients are with each method, and how often they are clipped."
    )


def draw(data: RunData) -> Figure:
    figure, (norm, share) = style.panels(style.FULL_IN, 2.4, columns=2, pads_in=(0.06, 0.03))
    runs = _shown(data.records)
    for axes, column in ((norm, "grad_norm"), (share, "clipped_share")):
        ends = [curves.draw_curve(axes, data, run, column)._replace(text=method_name(data.spec(run))) for run in runs]
        style.epoch_axis(axes, data.last_epoch(runs))
        if column == "grad_norm":
            for clip in {data.spec(run).optimisation.grad_clip_norm for run in runs}:
                if clip is not None:
                    axes.axhline(clip, **style.RULE)
            style.log_axis(axes, "Gradient norm")
        else:
            axes.set(ylabel="Share of clipped steps", ylim=(-0.03, 1.03))
        labels.label_ends(axes, ends)
    return figure
