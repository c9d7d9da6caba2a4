"""All runs, teachers first: accuracy, size and compression."""

from __future__ import annotations

from crossres.report.tabular import Column, per_run
from crossres.report.types import DataFrame, Facts

RUNS = ()
SECTION = "results"
ORDER = 1
COLUMNS = (
    Column("thesis_id", "Thesis"),
    Column("run", "Run", mono=True),
    Column("role", "Role"),
    Column("model", "Model"),
    Column("method", "Method"),
    Column("resolution", "Resolution\n(px)"),
    Column("seeds", "Seeds", 0),
    Column("accuracy_pct", "Accuracy\n(%)", 2, spread=True),
    Column("parameters_millions", "Parameters\n(millions)", 1),
    Column("compression", "Compression\n(times)", 2),
)


def caption(facts: Facts) -> str:
    alone = ", networks that learn from the labels alone" if facts.runs("alone") else ""
    seeds = ", as mean over seeds with the half-width of its 95\u202f% *t* interval" if facts.several_seeds else ""
    return (
        f"All runs: teachers{alone} and students. Accuracy is top-1 on the test images with the selected "
        f"weights{seeds}. Compression is the teacher's parameter count divided by the student's."
    )


def reference(facts: Facts) -> str:
    return "[tab:results_summary] lists all runs."


def build(summary: DataFrame) -> DataFrame:
    """Return one row per run: role, model, method, resolution, accuracy, parameters and compression."""
    table = per_run(summary)
    table["seeds"] = table["seeds"] if table["seeds"].max() > 1 else None
    order = table["role"].map({"teacher": 0, "alone": 1, "student": 2})
    return table.loc[order.sort_values(kind="stable").index].reset_index(drop=True)
