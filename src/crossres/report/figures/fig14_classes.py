"""Superclass confusion and accuracy by class of two students that differ in the method alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crossres.records.record import Record
from crossres.report.drawing import choice, style
from crossres.report.types import Axes, Facts, Figure, RunData
from crossres.suites.suite import Suite

RUNS = ()
SECTION = "results"
ORDER = 11


def applies(suite: Suite) -> bool:
    return suite.records == "computed" and bool(suite.dataset.info.superclass_names)


def has_data(records: Sequence[Record]) -> bool:
    runs = choice.pair(records)
    return runs is not None and all(r.superclass_confusion and r.best.per_class_pct for r in records if r.name in runs)


def caption(facts: Facts) -> str:
    first, second = (facts.label(run) for run in choice.pair(facts.records) or ("", ""))
    seeds = ", with the range of the seeds" if facts.several_seeds else ""
    return (
        f"{second} minus {first}, two students with the same network, augmentation and teacher, in points. Left: "
        "share of the test images of each superclass (row) that are predicted to be of each superclass (column, in the "
        f"same order). Right: test accuracy of each class, the classes in the order of the difference{seeds}."
    )


def reference(facts: Facts) -> str:
    return "[fig:fig14_classes] shows in which classes two students of one teacher differ."


def draw(data: RunData) -> Figure:
    runs = choice.pair(data.records)
    assert runs is not None
    seeds = [{record.spec.seed: record for record in data.seeds(run)} for run in runs]
    both = sorted(seeds[0].keys() & seeds[1].keys())
    confusion, classes = [], []
    for seed in both:
        first, second = (of[seed] for of in seeds)
        confusion.append(_shares(second) - _shares(first))
        classes.append(np.subtract(second.best.per_class_pct or [], first.best.per_class_pct or []))
    figure, (left, right) = style.panels(style.FULL_IN, 3.3, columns=2, pads_in=(0.06, 0.03))
    _draw_confusion(figure, left, np.mean(confusion, axis=0), data.spec(runs[0]).dataset.info.superclass_names)
    _draw_classes(right, np.array(classes))
    return figure


def _shares(record: Record) -> np.ndarray:
    """Return the predictions of each superclass, in per cent of its images."""
    counts = np.array(record.superclass_confusion, dtype=float)
    return 100 * counts / counts.sum(axis=1, keepdims=True).clip(1)


def _draw_confusion(figure: Figure, axes: Axes, points: np.ndarray, names: Sequence[str]) -> None:
    most = np.abs(points).max() or 1.0
    image = axes.imshow(points, cmap="PuOr_r", vmin=-most, vmax=most, aspect="auto")
    axes.set_yticks(range(len(names)), names)
    axes.set_xticks(range(4, len(names), 5), [str(number) for number in range(5, len(names) + 1, 5)])
    axes.tick_params(axis="y", length=0)
    axes.grid(False)
    axes.set(xlabel="Predicted superclass (number of the row)", ylabel="Superclass")
    bar = figure.colorbar(image, ax=axes, fraction=0.05, pad=0.02)
    bar.set_label("Difference (points)")
    bar.outline.set_visible(False)


def _draw_classes(axes: Axes, points: np.ndarray) -> None:
    mean = points.mean(axis=0)
    order = np.argsort(mean, kind="stable")
    axes.bar(range(len(order)), mean[order], width=1.0, color="#9bb8d3", linewidth=0)
    if len(points) > 1:
        axes.vlines(range(len(order)), points.min(axis=0)[order], points.max(axis=0)[order], color=style.INK, lw=0.5)
    axes.axhline(0, color=style.INK, linewidth=0.6)
    axes.grid(False, axis="x")
    axes.set(xlim=(-1, len(order)), xlabel="Classes, by their difference", ylabel="Difference in accuracy (points)")
