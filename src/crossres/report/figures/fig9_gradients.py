"""Gradients of DKD's terms at the student's logits and parameters by epoch: do they pull apart on mixed images?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from crossres.records.record import Record
from crossres.report.drawing import labels, style
from crossres.report.types import Axes, Facts, Figure, RunData
from crossres.suites.suite import Suite

RUNS = ("dkd_beta8",)
SECTION = "audit"
ORDER = 3
Kind = Literal["clean", "mixup", "cutmix"]
LOOKS: dict[Kind, style.Look] = {
    "clean": style.Look("#000000"),
    "mixup": style.Look("#0072B2", (0, (4.0, 1.2))),
    "cutmix": style.Look("#D55E00", (0, (1.4, 0.9))),
}
TERMS = {"ce": "#000000", "tckd": "#0072B2", "nckd": "#D55E00"}


def applies(suite: Suite) -> bool:
    return suite.runs[RUNS[0]].probe_images > 0


def caption(facts: Facts) -> str:
    parameters = (
        " Below: the same at the network's parameters, of the mean loss over each batch of the probe."
        if _at_parameters(facts.records)
        else ""
    )
    return (
        f"Gradients of the loss terms of {facts.label('dkd_beta8')} at the student's logits by epoch, on a fixed batch "
        "of training images: unmixed (clean), with Mixup and with CutMix. Left and middle: cosine between two terms, "
        "as mean over the images; below the dotted line the terms pull apart. Right: gradient norms of the weighted "
        f"terms with Mixup.{parameters}"
    )


def reference(facts: Facts) -> str:
    return (
        f"[fig:fig9_gradients] shows whether the terms of {facts.label('dkd_beta8')} pull apart on mixed images, and "
        "how strongly each of them pulls."
    )


def _at_parameters(records: Sequence[Record]) -> bool:
    """Return whether all the records of the run have the gradients at the network's parameters."""
    probes = [probe for r in records if r.name in RUNS for epoch in r.history for probe in epoch.probe.values()]
    return all(probe.parameter_gradients for probe in probes)


def draw(data: RunData) -> Figure:
    places = ("logits", "parameters") if _at_parameters(data.records) else ("logits",)
    figure, panels = style.panels(
        style.FULL_IN, 0.2 + 2.2 * len(places), len(places), columns=3, pads_in=(0.06, 0.03), sharex=True
    )
    for row, place in enumerate(places):
        first, second, norms = panels[3 * row : 3 * row + 3]
        where = f" at the {place}" if len(places) > 1 else ""
        for axes, field, name in ((first, "cos_ce_nckd", "CE and NCKD"), (second, "cos_tckd_nckd", "TCKD and NCKD")):
            ends = [_draw_mean(axes, data, place, kind, field, look) for kind, look in LOOKS.items()]
            axes.axhline(0, **style.RULE)
            axes.set_ylabel(f"Cosine{where},\n{name}")
            style.epoch_axis(axes, data.last_epoch(RUNS))
            labels.label_ends(axes, [end._replace(text=kind) for end, kind in zip(ends, LOOKS, strict=True)])
        _draw_norms(norms, data, place)
    return figure


def _draw_norms(axes: Axes, data: RunData, place: str) -> None:
    ends = []
    for term, colour in TERMS.items():
        weight = getattr(data.spec(RUNS[0]).objective, f"{term}_weight", 1.0)
        end = _draw_mean(axes, data, place, "mixup", f"{term}_norm", style.Look(colour), weight)
        ends.append(end._replace(text=term.upper()))
    style.epoch_axis(axes, data.last_epoch(RUNS))
    style.log_axis(axes, "Gradient norm")
    labels.label_ends(axes, ends)


def _draw_mean(
    axes: Axes, data: RunData, place: str, kind: Kind, field: str, look: style.Look, weight: float = 1.0
) -> labels.End:
    """Draw a weighted measurement's mean over the seeds by epoch, up to the end of the shortest training."""
    probes = [[epoch.probe[kind] for epoch in record.history if epoch.probe] for record in data.seeds(RUNS[0])]
    shortest = min(map(len, probes))
    at = [[probe.parameter_gradients if place == "parameters" else probe for probe in seed] for seed in probes]
    values = [[weight * getattr(probe, field) for probe in seed[:shortest]] for seed in at]
    means = np.mean(values, axis=0)
    axes.plot(range(1, shortest + 1), means, color=look.colour, linestyle=look.dash)
    return labels.End(float(shortest), float(means[-1]), "", look.colour)
