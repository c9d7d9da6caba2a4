"""The summary: one tidy table of a suite's records, with one row per run and seed.

Every table, figure and sentence of the report that compares runs is made from it.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from pathlib import Path
from typing import Literal

import pandas as pd

from crossres.base import CrossresError
from crossres.files import RESTORE
from crossres.records.record import Record
from crossres.suites.names import method_name, model_name, recipe_name, resolution_name
from crossres.suites.spec import Spec

Role = Literal["teacher", "student", "alone"]
"""A teacher of other runs, a student, or a network that learns from the labels alone."""

TEXT_COLUMNS = ("suite", "run", "thesis_id", "role", "model", "method", "recipe", "resolution", "teacher", "select")
"""Columns of text, even where a CSV reader would see numbers."""
TAUGHT = ("teacher", "teacher_view", "teacher_seed", "objective", "probe_images")
"""What a spec says of its teacher: all in which a student differs from the same training without one."""
NUMBER_COLUMNS = (
    *("seed", "accuracy_pct", "best_epoch", "last_accuracy_pct", "last_ten_mean_pct", "epochs", "planned_epochs"),
    *("stopped_early", "last_test_loss", "max_test_loss", "parameters", "train_minutes", "nonfinite_steps"),
    *("teacher_accuracy_pct", "gap_pct", "retention_pct", "gap_closed_pct", "compression", "truncated"),
)
"""The other columns that a summary has to have."""


def summarise(records: Iterable[Record]) -> pd.DataFrame:
    """Return the tidy table of a suite's records.

    For a student, `gap_pct` is the teacher's accuracy minus its own, in points; `retention_pct` is its accuracy divided
    by the teacher's, undefined if that is 0; `compression` is the teacher's parameter count divided by its own. Other
    runs have none of them, and neither has a student whose teacher has no record here. `gap_closed_pct` is
    (student − alone) / (teacher − alone), where `alone` is the same training without the teacher; it is undefined
    where there is none, or where the teacher is not more accurate.
    """
    by_key = {(record.spec.run, record.spec.seed): record for record in records}
    teachers = {record.spec.teacher for record in by_key.values()}
    return pd.DataFrame([_row(record, by_key, _role(record.spec, teachers)) for record in by_key.values()])


def read_summary(path: Path, records: Iterable[Record] = ()) -> pd.DataFrame:
    """Read a summary; identifiers such as `3.1` stay text.

    Args:
        records: Those that it should have a row of.

    Raises:
        CrossresError: When the file is missing, is not such a table, or lacks a row.
    """
    try:
        text = dict.fromkeys(TEXT_COLUMNS, "object")
        # Only an empty cell is missing: a run may be called NA.
        summary = pd.read_csv(path, dtype=text, compression=None, keep_default_na=False, na_values=[""])
    except FileNotFoundError:
        raise CrossresError(f"{path}: no such file") from None
    except ValueError as error:
        raise CrossresError(f"{path}: not a summary ({' '.join(str(error).split())}); {RESTORE}") from None
    if wrong := _what_is_wrong(summary):
        raise CrossresError(f"{path}: not a summary ({wrong}); {RESTORE}")
    rows = set(zip(summary.run, summary.seed, strict=True))
    if lacking := next((spec for record in records if ((spec := record.spec).run, spec.seed) not in rows), None):
        raise CrossresError(f"{path}: no row of {lacking.run} seed {lacking.seed}, which has a record; {RESTORE}")
    return summary


def _what_is_wrong(summary: pd.DataFrame) -> str:
    """Return why a table is no summary; nothing if it is one."""
    missing = [name for name in (*TEXT_COLUMNS, *NUMBER_COLUMNS) if name not in summary]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        return f"no column {', '.join(missing[:3])}{more}"
    if summary.empty:
        return "no row"
    text = [name for name in NUMBER_COLUMNS if not pd.api.types.is_numeric_dtype(summary[name])]
    return f"{text[0]} holds text" if text else ""


def _role(spec: Spec, teachers: Container[str | None]) -> Role:
    if spec.teacher is not None:
        return "student"
    return "teacher" if spec.run in teachers else "alone"


def _row(record: Record, by_key: dict[tuple[str, int], Record], role: Role) -> dict[str, object]:
    spec, cost = record.spec, record.cost
    teacher = by_key.get((spec.teacher, spec.teacher_seed)) if spec.teacher and spec.teacher_seed is not None else None
    accuracy = record.best.top1_pct
    return {
        "suite": spec.suite,
        "run": spec.run,
        "thesis_id": spec.thesis_id,
        "seed": spec.seed,
        "role": role,
        "model": model_name(spec),
        "method": method_name(spec),
        "recipe": recipe_name(spec),
        "resolution": resolution_name(spec),
        "teacher": spec.teacher,
        "select": spec.optimisation.select,
        "accuracy_pct": accuracy,
        "best_epoch": record.best.epoch,
        "last_accuracy_pct": record.last.top1_pct,
        "last_ten_mean_pct": _mean([epoch.test_accuracy_pct for epoch in record.history[-10:]]),
        "epochs": len(record.history),
        "planned_epochs": spec.optimisation.epochs,
        "stopped_early": record.stopped_early,
        "last_test_loss": record.history[-1].test_loss,
        "max_test_loss": max((loss for epoch in record.history if (loss := epoch.test_loss) is not None), default=None),
        "parameters": cost.parameters,
        "train_minutes": cost.train_minutes,
        "nonfinite_steps": sum(epoch.nonfinite_steps or 0 for epoch in record.history),
        "teacher_accuracy_pct": teacher.best.top1_pct if teacher else None,
        "gap_pct": teacher.best.top1_pct - accuracy if teacher else None,
        "retention_pct": 100 * accuracy / teacher.best.top1_pct if teacher and teacher.best.top1_pct else None,
        "gap_closed_pct": _gap_closed_pct(record, teacher, by_key) if teacher else None,
        "compression": teacher.cost.parameters / cost.parameters if teacher else None,
        "truncated": spec.budget is not None,
    }


def _gap_closed_pct(record: Record, teacher: Record, by_key: dict[tuple[str, int], Record]) -> float | None:
    """Return `100 · (student − alone) / (teacher − alone)`, where `alone` is the same training without the teacher."""
    same = {"run", "thesis_id", *TAUGHT}
    own = record.spec.model_dump(exclude=same)
    for other in by_key.values():
        if other.spec.teacher is None and other.spec.model_dump(exclude=same) == own:
            alone, gap = other.best.top1_pct, teacher.best.top1_pct - other.best.top1_pct
            return 100 * (record.best.top1_pct - alone) / gap if gap > 0 else None
    return None


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
