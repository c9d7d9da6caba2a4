"""Do DKD's terms pull apart on mixed images?  Their gradients at the student's logits, by epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from crossres.report import drawing

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from crossres.records.record import Probed, Record
    from crossres.report.facts import Facts

RUNS = ("dkd_beta8",)
PROBED = ("dkd_beta8",)
SECTION = "audit"
ORDER = 3
LOOKS = {
    "clean": drawing.Look("#000000", "-"),
    "mixup": drawing.Look("#0072B2", (0, (4.0, 1.2))),
    "cutmix": drawing.Look("#D55E00", (0, (1.4, 0.9))),
}
TERMS = {"ce": "#000000", "tckd": "#0072B2", "nckd": "#D55E00"}


def caption(facts: Facts) -> str:
    return (
        f"{facts.label('dkd_beta8')} on a fixed batch of training images: unmixed, under Mixup and under CutMix. Left "
        "and middle: cosine between the gradients of two loss terms at the student's logits, mean over the images; "
        "below the dashed line they pull apart. Right: norms of the weighted terms' gradients under Mixup."
    )


def reference(facts: Facts) -> str:
    return (
        f"[fig:fig9_gradients] shows whether the terms of {facts.label('dkd_beta8')} really pull apart on mixed "
        "images, and how strongly each of them pulls."
    )


def draw(summary: pd.DataFrame, records: Sequence[Record]) -> Figure:
    """Draw the figure."""
    (run,) = RUNS
    figure, (first, second, norms) = drawing.panels(drawing.FULL_IN, 2.4, columns=3, pads_in=(0.06, 0.03))
    for axes, field, name in ((first, "cos_ce_nckd", "CE and NCKD"), (second, "cos_tckd_nckd", "TCKD and NCKD")):
        ends = [_line(axes, records, run, kind, _weighted(field)) for kind in LOOKS]
        axes.axhline(0, color=drawing.MUTED, linewidth=0.6, linestyle=(0, (2, 2)), zorder=1)
        axes.set_ylabel(f"Cosine, {name}")
        drawing.epoch_axis(axes, drawing.last_epoch(records, RUNS))
        drawing.label_ends(axes, ends)
    _draw_norms(norms, records, run)
    return figure


def _draw_norms(axes: Axes, records: Sequence[Record], run: str) -> None:
    objective = drawing.of_run(records, run)[0].spec.objective
    ends = []
    for term, colour in TERMS.items():
        weight = getattr(objective, f"{term}_weight", 1.0)
        value = _weighted(f"{term}_norm", weight)
        end = _line(axes, records, run, "mixup", value, drawing.Look(colour, "-"))
        ends.append(end._replace(text=term.upper()))
    drawing.epoch_axis(axes, drawing.last_epoch(records, RUNS))
    drawing.log_axis(axes, "Gradient norm")
    drawing.label_ends(axes, ends)


def _weighted(field: str, weight: float = 1.0) -> Callable[[Probed], float]:
    return lambda entry: weight * getattr(entry, field)


def _line(
    axes: Axes,
    records: Sequence[Record],
    run: str,
    kind: str,
    value: Callable[[Probed], float],
    look: drawing.Look | None = None,
) -> drawing.End:
    """Draw one measurement's mean over the seeds by epoch, up to the end of the shortest training."""
    look = look or LOOKS[kind]
    rows = [[value(epoch.probe[kind]) for epoch in record.history] for record in drawing.of_run(records, run)]  # type: ignore[index]
    shortest = min(map(len, rows))
    means = np.mean([row[:shortest] for row in rows], axis=0)
    axes.plot(range(1, shortest + 1), means, color=look.colour, linestyle=look.dash)
    return drawing.End(float(shortest), float(means[-1]), kind, look.colour)
