"""Every run but the teachers: its accuracy, and the accuracy set against its teacher's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossres.report.tabular import Column, per_run

if TYPE_CHECKING:
    import pandas as pd

    from crossres.report.facts import Facts

RUNS = ()
SECTION = "results"
ORDER = 2
COLUMNS = (
    Column("thesis_id", "Thesis"),
    Column("run", "Run", mono=True),
    Column("method", "Method"),
    Column("recipe", "Augmen-\ntation"),
    Column("resolution", "Resolution\n(px)"),
    Column("seeds", "Seeds", 0),
    Column("accuracy_pct", "Accuracy\n(%)", 2, spread=True),
    Column("gap_pct", "Gap\n(points)", 2, spread=True),
    Column("retention_pct", "Retention\n(%)", 2, spread=True),
    Column("best_epoch", "Best\nepoch", 0),
    Column("epochs", "Epochs\ntrained", 0),
    Column("planned_epochs", "Epochs\nplanned", 0),
    Column("train_minutes", "Minutes", 1),
)


def caption(facts: Facts) -> str:
    alone = " and the runs that learn from the labels alone" if facts.runs("alone") else ""
    seeds = ". Means over seeds, with half-widths of 95\u202f% *t* intervals" if facts.several_seeds else ""
    return (
        f"All students{alone}. Gap is the teacher's accuracy minus the student's, in points; retention is the "
        "student's as a share of its own teacher's, and so comparable only between students of one teacher. Best is "
        f"the epoch whose weights are reported; minutes are wall-clock and leave out the teacher{seeds}."
    )


def reference(facts: Facts) -> str:
    return "[tab:all_experiments] sets each student against its teacher." if facts.runs("student") else ""


def build(summary: pd.DataFrame) -> pd.DataFrame:
    """Return one row per run that teaches no other: how it was trained, how accurate it is, and what it took."""
    table = per_run(summary)
    table["seeds"] = table["seeds"] if table["seeds"].max() > 1 else None
    return table[table["role"] != "teacher"].reset_index(drop=True)
