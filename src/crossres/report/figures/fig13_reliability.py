"""Accuracy by confidence of the teacher and of one run per method."""

from __future__ import annotations

from collections.abc import Sequence

from crossres.records.record import Record
from crossres.report.drawing import choice, labels, style
from crossres.report.types import Axes, Facts, Figure, RunData
from crossres.suites.names import method_name
from crossres.suites.suite import Suite

RUNS = ()
SECTION = "results"
ORDER = 10
FEWEST_IMAGES = 20
"""A bin with fewer images, all seeds together, is left out."""


def applies(suite: Suite) -> bool:
    return suite.records == "computed"


def has_data(records: Sequence[Record]) -> bool:
    return any(record.best.reliability for record in records)


def _shown(records: Sequence[Record]) -> list[str]:
    measured = {record.name for record in records if record.best.reliability}
    teachers = sorted(choice.teachers(records) & measured)
    return teachers + [run for run in choice.by_method(records) if run in measured] or sorted(measured)


def caption(facts: Facts) -> str:
    seeds = ", all seeds together," if facts.several_seeds else ""
    return (
        "Reliability: share of the test images that are classified correctly, by the probability of the predicted "
        "class, in 15 bins [cite:guo2017calibration]. Left: teachers. Right: one run per method, of the same "
        "networks, augmentation and teacher. On the dotted line confidence equals accuracy; below it a network is "
        f"overconfident. Bins with fewer than {FEWEST_IMAGES} images{seeds} are left out."
    )


def reference(facts: Facts) -> str:
    return "[fig:fig13_reliability] shows how far the confidence of the networks can be trusted."


def draw(data: RunData) -> Figure:
    figure, panels = style.panels(style.FULL_IN, 2.7, columns=2, pads_in=(0.06, 0.03), sharey=True)
    shown = _shown(data.records)
    teachers = [run for run in shown if run in choice.teachers(data.records)]
    for axes, runs in zip(panels, (teachers, [run for run in shown if run not in teachers]), strict=True):
        axes.plot([0, 1], [0, 1], **style.RULE)
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="Confidence")
        names = {run: data.label(run) if run in teachers else method_name(data.spec(run)) for run in runs}
        labels.label_ends(axes, [_draw_run(axes, data, run)._replace(text=names[run]) for run in runs])
    panels[0].set_ylabel("Accuracy")
    return figure


def _draw_run(axes: Axes, data: RunData, run: str) -> labels.End:
    """Draw the bins of a run over its seeds, and return the end of the line."""
    bins: dict[int, list[tuple[int, float, float]]] = {}
    for record in data.seeds(run):
        found = record.best.reliability
        for index, row in enumerate(zip(found.images, found.confidence, found.accuracy, strict=True) if found else ()):
            bins.setdefault(index, []).append((row[0], row[1] or 0.0, row[2] or 0.0))
    points = []
    for _, rows in sorted(bins.items()):
        if (total := sum(images for images, _, _ in rows)) >= FEWEST_IMAGES:
            points.append(tuple(sum(row[0] * row[column] for row in rows) / total for column in (1, 2)))
    look = data.look(run)
    x, y = zip(*points, strict=True)
    axes.plot(x, y, color=look.colour, linestyle=look.dash, marker="o", ms=2)
    return labels.End(x[-1], y[-1], "", look.colour)
