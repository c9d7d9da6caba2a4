"""Every network of the suite: accuracy, size and compression, teachers first."""

from __future__ import annotations

import pandas as pd

from crossres.report.tables import Column, per_run

RUNS = ()
SECTION = "results"
ORDER = 1
CAPTION = (
    r"All runs, teachers first\BLOCK{ if runs('alone') }, then those that learn from the labels alone\BLOCK{ endif }. "
    r"Accuracy is top-1 on the test images with the selected weights"
    r"\BLOCK{ if several_seeds }, the mean over seeds with the half-width of its 95\,\% $t$ interval\BLOCK{ endif }; "
    r"compression is the teacher's parameter count over the student's."
)
COLUMNS = (
    Column("thesis_id", r"Thesis", "Thesis"),
    Column("run", r"Run", "Run", mono=True),
    Column("role", r"Role", "Role"),
    Column("model", r"Model", "Model"),
    Column("method", r"Method", "Method"),
    Column("resolution", r"Resolution\\(px)", "Resolution (px)"),
    Column("seeds", r"Seeds", "Seeds", 0),
    Column("accuracy_pct", r"Accuracy\\(\%)", "Accuracy (%)", 2, spread="accuracy_ci95_pct"),
    Column("parameters_millions", r"Parameters\\(millions)", "Parameters (millions)", 1),
    Column("compression", r"Compression\\(times)", "Compression (times)", 2),
)


def build(summary: pd.DataFrame) -> pd.DataFrame:
    """Return one row a run: role, model, method, resolution, accuracy, parameters and compression.

    Args:
        summary: The table of `crossres.records.summary.summarise`.
    """
    table = per_run(summary)
    table["seeds"] = table["seeds"] if table["seeds"].max() > 1 else None
    order = table["role"].map({"teacher": 0, "alone": 1, "student": 2})
    table = table.loc[order.sort_values(kind="stable").index].reset_index(drop=True)
    return table[[column.key for column in COLUMNS] + ["accuracy_ci95_pct"]]
