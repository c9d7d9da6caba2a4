"""Every run but the teachers: its accuracy, and the accuracy set against its teacher's."""

from __future__ import annotations

import pandas as pd

from crossres.report.tables import Column, per_run

RUNS = ()
SECTION = "results"
ORDER = 2
CAPTION = (
    r"All students\BLOCK{ if runs('alone') } and the runs that learn from the labels alone\BLOCK{ endif }. Gap is the "
    r"teacher's accuracy minus the student's, in points; retention is the student's as a share of its own teacher's, "
    r"and so comparable only between students of one teacher. Best is the epoch whose weights are reported; minutes "
    r"are wall-clock and leave out the teacher"
    r"\BLOCK{ if several_seeds }. Means over seeds, with half-widths of 95\,\% $t$ intervals\BLOCK{ endif }."
)
COLUMNS = (
    Column("thesis_id", r"Thesis", "Thesis"),
    Column("run", r"Run", "Run", mono=True),
    Column("method", r"Method", "Method"),
    Column("recipe", r"Augmen-\\tation", "Augmentation"),
    Column("resolution", r"Resolution\\(px)", "Resolution (px)"),
    Column("seeds", r"Seeds", "Seeds", 0),
    Column("accuracy_pct", r"Accuracy\\(\%)", "Accuracy (%)", 2, spread="accuracy_ci95_pct"),
    Column("gap_pct", r"Gap\\(points)", "Gap (points)", 2, spread="gap_ci95_pct"),
    Column("retention_pct", r"Retention\\(\%)", "Retention (%)", 2, spread="retention_ci95_pct"),
    Column("best_epoch", r"Best\\epoch", "Best epoch", 0),
    Column("epochs", r"Epochs\\trained", "Epochs trained", 0),
    Column("planned_epochs", r"Epochs\\planned", "Epochs planned", 0),
    Column("train_minutes", r"Minutes", "Minutes", 1),
)


def build(summary: pd.DataFrame) -> pd.DataFrame:
    """Return one row a run that teaches no other: how it was trained, how accurate it is, and what it took.

    Args:
        summary: The table of `crossres.records.summary.summarise`.
    """
    table = per_run(summary)
    table["seeds"] = table["seeds"] if table["seeds"].max() > 1 else None
    table = table[table["role"] != "teacher"].reset_index(drop=True)
    spreads = [column.spread for column in COLUMNS if column.spread]
    return table[[column.key for column in COLUMNS] + spreads]
