"""Training time of every run."""

from crossres.report.tabular import Column, per_run

RUNS = ()
SECTION = "results"
ORDER = 20
COLUMNS = (Column("run", "Run", mono=True), Column("train_minutes", "Minutes", 2))


def caption(facts):
    return "Minutes of training, as means over seeds."


def reference(facts):
    return "[tab:minutes] has the training times."


def build(summary):
    return per_run(summary)
