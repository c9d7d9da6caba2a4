"""All runs but the teachers: accuracy, and how it compares with the teacher's."""

from __future__ import annotations

from crossres.report.tabular import Column, per_run
from crossres.report.types import DataFrame, Facts

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
    Column("gap_closed_pct", "Gap\nclosed (%)", 1, spread=True),
    Column("best_epoch", "Best\nepoch", 0),
    Column("epochs", "Epochs\ntrained", 0),
    Column("planned_epochs", "Epochs\nplanned", 0),
    Column("train_minutes", "Minutes", 1),
)


def caption(facts: Facts) -> str:
    alone = " and networks that learn from the labels alone" if facts.runs("alone") else ""
    seeds = " Values are means over seeds, with half-widths of 95\u202f% *t* intervals." if facts.several_seeds else ""
    closed = " Gap closed is the share of the gap between the same training without a teacher and the teacher."
    best = "" if _ends_are_best(facts.table) else " Best epoch is the one whose weights are reported."
    return (
        f"All students{alone}. Gap is the teacher's accuracy minus the student's, in points. Retention is the "
        "student's accuracy in per cent of its teacher's; it compares students of one teacher only."
        f"{closed if facts.table['gap_closed_pct'].notna().any() else ''}"
        f"{best} Minutes are wall-clock time, without the training of the teacher.{seeds}"
    )


def reference(facts: Facts) -> str:
    if facts.runs("student"):
        return "[tab:all_experiments] compares each student with its teacher."
    return "[tab:all_experiments] lists the networks that learn from the labels alone."


def build(summary: DataFrame) -> DataFrame:
    """Return one row per run that teaches no other: how it was trained, how accurate it is, and what it took."""
    table = per_run(summary)
    table["seeds"] = table["seeds"] if table["seeds"].max() > 1 else None
    if _ends_are_best(table):
        table[["best_epoch", "planned_epochs"]] = None
    return table[table["role"] != "teacher"].reset_index(drop=True)


def _ends_are_best(table: DataFrame) -> bool:
    """Return whether every run has its last planned epoch reported."""
    return bool((table["best_epoch"] == table["planned_epochs"]).all())
