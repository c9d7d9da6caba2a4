"""How often each student predicts what its teacher predicts, and how accurate it is."""

from __future__ import annotations

from collections.abc import Sequence

from crossres.records.record import Record
from crossres.report.drawing import style
from crossres.report.types import Facts, Figure, RunData
from crossres.suites.suite import Suite

RUNS = ()
SECTION = "results"
ORDER = 8


def applies(suite: Suite) -> bool:
    return suite.records == "computed" and any(run.teacher for run in suite.runs.values())


def has_data(records: Sequence[Record]) -> bool:
    return any(record.teaching for record in records)


def caption(facts: Facts) -> str:
    seeds = " Dots are means over seeds; ticks mark the seeds." if facts.several_seeds else ""
    return (
        "Left: fidelity, the share of the test images for which student and teacher predict the same class "
        "[cite:stanton2021does]; the teacher sees the images as it does when it teaches. Right: test accuracy of the "
        f"student (dot) and of its teacher in that view (diamond).{seeds}"
    )


def reference(facts: Facts) -> str:
    return "[fig:fig10_fidelity] shows how far each student follows its teacher, beside how accurate it is."


def draw(data: RunData) -> Figure:
    taught = {run: [(r, r.teaching) for r in data.seeds(run) if r.teaching] for run in data.runs}
    points = {
        run: (
            [teaching.agreement_pct for _, teaching in seeds],
            [record.best.top1_pct for record, _ in seeds],
            [teaching.top1_pct for _, teaching in seeds],
        )
        for run, seeds in taught.items()
        if seeds
    }
    rows = sorted(points, key=lambda run: -sum(points[run][0]) / len(points[run][0]))
    figure, (fidelity, accuracy) = style.panels(style.FULL_IN, 0.6 + 0.19 * len(rows), columns=2, sharey=True)
    for y, run in enumerate(rows):
        agreement, own, teacher = points[run]
        accuracy.plot(sum(teacher) / len(teacher), y, marker="D", ms=4.4, mfc="white", mec=style.INK, mew=0.9)
        for axes, values in ((fidelity, agreement), (accuracy, own)):
            axes.plot(sum(values) / len(values), y, marker="o", ms=5, color=data.look(run).colour)
            if len(values) > 1:
                axes.plot(values, [y] * len(values), **style.SEED)
    fidelity.set_yticks(range(len(rows)), [data.label(run) for run in rows])
    fidelity.set(ylim=(len(rows) - 0.5, -0.5), ylabel="Student", xlabel="Fidelity (% of test images)")
    accuracy.set(xlabel=style.ACCURACY_LABEL)
    return figure
