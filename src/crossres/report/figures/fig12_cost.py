"""Test accuracy of every run against the multiply-accumulates of its network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crossres.records.record import Record
from crossres.report.drawing import choice, style
from crossres.report.types import Facts, Figure, RunData
from crossres.suites.names import model_name
from crossres.suites.spec import Spec
from crossres.suites.suite import Suite

PREFIX = "EfficientNet"
RUNS = ()
SECTION = "results"
ORDER = 9
MARKS = {"teacher": ("D", style.INK), "student": ("o", "#0072B2"), "labels alone": ("s", "#E69F00")}


def applies(suite: Suite) -> bool:
    return suite.records == "computed"


def has_data(records: Sequence[Record]) -> bool:
    """The networks differ in cost."""
    return len({record.cost.gmacs for record in records if record.cost.gmacs}) > 1


def caption(facts: Facts) -> str:
    specs = facts.specs.values()
    seeds = "; means over seeds" if facts.several_seeds else ""
    without = ", without the prefix EfficientNet" if any(PREFIX in model_name(spec) for spec in specs) else ""
    stride = " and a changed first stride" if any(spec.model.stem_stride for spec in specs) else ""
    return (
        "Test accuracy of each run against the multiply-accumulates (MACs) of a forward pass of one image, on a "
        f"logarithmic scale{seeds}. The names above the marks are those of the networks{without}, with the side of "
        f"their input{stride}."
    )


def reference(facts: Facts) -> str:
    return "[fig:fig12_cost] sets accuracy against the cost of inference."


def draw(data: RunData) -> Figure:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    figure, (axes,) = style.panels(style.COLUMN_IN, 2.6)
    columns: dict[str, tuple[float, float, set[str]]] = {}
    for run in data.runs:
        record, accuracy = data.seeds(run)[0], data.mean(run, "accuracy_pct")
        if not (gmacs := record.cost.gmacs):
            continue
        role = "student" if record.spec.teacher else "labels alone"
        role = "teacher" if run in choice.teachers(data.records) else role
        mark, colour = MARKS[role]
        axes.plot(gmacs, accuracy, marker=mark, ms=4.4, mfc="none", mec=colour, mew=0.9, linestyle="none", label=role)
        _, top, names = columns.get(f"{gmacs:.1g}", (gmacs, 0.0, set()))
        columns[f"{gmacs:.1g}"] = (gmacs, max(top, accuracy), names | {_network(record.spec)})
    for gmacs, top, names in columns.values():
        above: dict[str, Any] = {"xytext": (0, 5), "textcoords": "offset points", "ha": "center", "va": "bottom"}
        axes.annotate("\n".join(sorted(names)), xy=(gmacs, top), **above)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.25, y=0.22)
    axes.set(xlabel="MACs per image (10⁹, log scale)", ylabel=style.ACCURACY_LABEL)
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    axes.legend(handles.values(), handles.keys(), loc="lower right", frameon=False, handletextpad=0.2)
    return figure


def _network(spec: Spec) -> str:
    """Name a network, its resolution and the first stride where it is not the usual one."""
    stride = "" if spec.model.stem_stride is None else f", stride {spec.model.stem_stride}"
    return f"{model_name(spec).removeprefix(PREFIX).lstrip('-')}, {spec.view.resolution_px} px{stride}"
