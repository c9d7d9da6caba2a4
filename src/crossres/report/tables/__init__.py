"""Tables: one file a table, `build(summary)` and the columns it is printed with.

To add a table, write one file here with `RUNS`, `SECTION`, `ORDER`, `CAPTION`, `COLUMNS` and `build`; the workflow
and the report find it by its name. Each is written as CSV, LaTeX and Markdown, and all three print the same digits.
"""

from __future__ import annotations

import csv
import importlib
import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from tabulate import tabulate

from crossres.base import CrossresError
from crossres.claims.statistics import half_width
from crossres.files import write_atomic
from crossres.records.summary import TEXT_COLUMNS
from crossres.report.latex import escape

MISSING = "—"
SPREAD_UNITS = ("pct", "minutes")
"""Units of the columns that get a half-width."""


class Column(NamedTuple):
    """How one column of a table is printed."""

    key: str
    """Name in the data frame and in the CSV file."""
    latex: str
    """Header in LaTeX; `\\\\` breaks the line."""
    markdown: str
    digits: int | None = None
    """Decimals of a number; None for text."""
    spread: str | None = None
    """Column with the half-width printed after the number, where there is one."""
    mono: bool = False
    """Set in a typewriter face."""


def per_run(summary: pd.DataFrame) -> pd.DataFrame:
    """Return one row a run, in the summary's order: means over seeds, `seeds` and half-widths of 95 % t intervals.

    `X_pct` and `train_minutes` get their half-width in `X_ci95_pct` and `train_ci95_minutes`, NaN for one seed; the
    parameters are there in millions too. A flag such as `stopped_early` is the share of the seeds it holds for; text
    must be the same for all of them.

    Args:
        summary: The table of `crossres.records.summary.summarise`.
    """
    rows = []
    for _, group in summary.groupby("run", sort=False):
        row: dict[str, Any] = {"seeds": len(group)}
        for name in summary.columns.drop("seed"):
            if name in TEXT_COLUMNS:
                first = group[name].iloc[0]
                row[name] = None if pd.isna(first) else str(first)
                continue
            numbers = pd.to_numeric(group[name]).astype(float)
            row[name] = numbers.mean()
            stem, _, unit = str(name).rpartition("_")
            if unit in SPREAD_UNITS:
                row[f"{stem}_ci95_{unit}"] = half_width(numbers)
        rows.append({**row, "parameters_millions": row["parameters"] / 1e6})
    return pd.DataFrame(rows)


def write(name: str, summary: pd.DataFrame, directory: Path) -> list[Path]:
    """Build a table and write it as `NAME.csv`, `NAME.tex` and `NAME.md`, each atomically.

    Args:
        name: A file of this folder.
        summary: The table of `crossres.records.summary.summarise`.
        directory: Where the files go.

    Returns:
        The three files.

    Raises:
        CrossresError: When there is no such table.
    """
    frame, columns = load(name, summary)
    texts = {"csv": to_csv(frame, columns), "tex": to_latex(frame, columns), "md": to_markdown(frame, columns)}
    files = [directory / f"{name}.{suffix}" for suffix in texts]
    for file, text in zip(files, texts.values(), strict=True):
        write_atomic(file, text)
    return files


def load(name: str, summary: pd.DataFrame) -> tuple[pd.DataFrame, tuple[Column, ...]]:
    """Build a table by name and return it with the columns to print: those that hold anything."""
    try:
        module = importlib.import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}.{name}":
            raise
        raise CrossresError(f"there is no table '{name}': {Path(__file__).parent / name}.py does not exist") from None
    frame = module.build(summary)
    return frame, tuple(column for column in module.COLUMNS if frame[column.key].notna().any())


def cell(value: object, digits: int | None) -> str:
    """Print one value: a number with fixed decimals, text as it is, nothing for what is missing."""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(value) if digits is None else f"{float(value):.{digits}f}"  # type: ignore[arg-type]


def to_csv(frame: pd.DataFrame, columns: Sequence[Column]) -> str:
    """Return a table as CSV, its numbers as printed and each half-width in a column of its own."""
    keys = [(column.key, column.digits) for column in columns]
    for column in columns:
        if column.spread and frame[column.spread].notna().any():
            keys.insert([key for key, _ in keys].index(column.key) + 1, (column.spread, column.digits))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([key for key, _ in keys])
    for row in frame.to_dict("records"):
        writer.writerow([cell(row[key], digits) for key, digits in keys])
    return out.getvalue()


def to_latex(frame: pd.DataFrame, columns: Sequence[Column]) -> str:
    """Return a table as a booktabs `tabular`: text left, numbers right."""
    heads = [column.latex for column in columns]
    heads = [
        f"\\shortstack[{'l' if column.digits is None else 'r'}]{{{head}}}" if r"\\" in head else head
        for head, column in zip(heads, columns, strict=True)
    ]
    lines = [" & ".join(_latex_cell(row, column) for column in columns) for row in frame.to_dict("records")]
    alignment = "".join("l" if column.digits is None else "r" for column in columns)
    body = [" & ".join(heads) + r" \\", r"\midrule", *(f"{line} \\\\" for line in lines)]
    head = [rf"\begin{{tabular}}{{@{{}}{alignment}@{{}}}}", r"\toprule"]
    return "\n".join([*head, *body, r"\bottomrule", r"\end{tabular}"]) + "\n"


def to_markdown(frame: pd.DataFrame, columns: Sequence[Column]) -> str:
    """Return a table in Markdown's pipe form."""
    return _tabulated(frame, columns, "pipe", lambda text: text.replace("|", "\\|"))


def to_html(frame: pd.DataFrame, columns: Sequence[Column]) -> str:
    """Return a table as HTML, escaped."""
    return _tabulated(frame, columns, "html", str)


def _tabulated(frame: pd.DataFrame, columns: Sequence[Column], form: str, escaped: Callable[[str], str]) -> str:
    rows = [[escaped(_joined(row, column, " ± ")) or MISSING for column in columns] for row in frame.to_dict("records")]
    align = ["left" if column.digits is None else "right" for column in columns]
    heads = [column.markdown for column in columns]
    return f"{tabulate(rows, heads, tablefmt=form, colalign=align, disable_numparse=True)}\n"


def _latex_cell(row: dict[Any, Any], column: Column) -> str:
    text = escape(_joined(row, column, " ± ") or MISSING)
    return f"\\texttt{{{text}}}" if column.mono else text


def _joined(row: dict[Any, Any], column: Column, plus_minus: str) -> str:
    text = cell(row[column.key], column.digits)
    spread = cell(row[column.spread], column.digits) if column.spread else ""
    return text + plus_minus + spread if text and spread else text
