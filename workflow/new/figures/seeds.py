"""Test accuracy of every run, a mark per seed."""

from crossres.report.drawing import style

RUNS = ()
SECTION = "results"
ORDER = 20


def caption(facts):
    return "Test accuracy of each run, a mark per seed."


def reference(facts):
    return "[fig:seeds] shows every seed."


def draw(data):
    figure, (axes,) = style.panels(style.COLUMN_IN, 2.2)
    for place, run in enumerate(data.runs):
        accuracies = [record.best.top1_pct for record in data.seeds(run)]
        axes.plot([place] * len(accuracies), accuracies, marker="o", linestyle="none", mfc="none")
    axes.set_xticks(range(len(data.runs)), data.runs)
    axes.set_xlim(-0.5, len(data.runs) - 0.5)
    axes.set_ylabel(style.ACCURACY_LABEL)
    return figure
