"""Printing a table as CSV, LaTeX, Markdown and HTML, with the same digits in each."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from crossres.report.latex import escape
from crossres.report.types import DataFrame

MISSING = "—"
SPREAD_UNITS = ("pct", "minutes")
"""Units of the columns that get a half-width."""


class Column(NamedTuple):
    """How one column of a table is printed."""

    key: str
    """Name in the data frame and in the CSV file."""
    head: str
    """Header; LaTeX breaks its line at `\\n`, where it may end in a hyphen."""
    digits: int | None = None
    """Decimals of a number; None for text."""
    spread: bool = False
    """Whether the half-width is printed after the number, where there is one."""
    mono: bool = False
    """Set in a typewriter face."""

    @property
    def spread_key(self) -> str:
        """Name of the column with the half-width."""
        return spread_key(self.key)

    @property
    def head_on_one_line(self) -> str:
        return self.head.replace("-\n", "").replace("\n", " ")

    @property
    def alignment(self) -> str:
        """Text stands left, numbers right."""
        return "left" if self.digits is None else "right"


def spread_key(key: str) -> str:
    """Name the column with the half-widths of another one: `gap_ci95_pct`."""
    stem, _, unit = key.rpartition("_")
    return f"{stem}_ci95_{unit}"


def per_run(summary: DataFrame) -> DataFrame:
    """Return one row per run, in the summary's order: means over seeds, `seeds` and half-widths of 95 % t intervals.

    `X_pct` and `train_minutes` get their half-width in `X_ci95_pct` and `train_ci95_minutes`, NaN for one seed; the
    parameters are there in millions too. A flag such as `stopped_early` is the share of the seeds it holds for; text
    must be the same for all of them.
    """
    import pandas as pd

    from crossres.claims.statistics import half_width
    from crossres.records.summary import TEXT_COLUMNS

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
            if name.rpartition("_")[2] in SPREAD_UNITS:
                row[spread_key(name)] = half_width(numbers)
        rows.append({**row, "parameters_millions": row["parameters"] / 1e6})
    return pd.DataFrame(rows)


class Table:
    """A table and the columns that it is printed with: those that hold anything, or all of them where it has no row."""

    def __init__(self, frame: DataFrame, columns: Sequence[Column]) -> None:
        self.frame = frame
        self.columns = [column for column in columns if frame.empty or frame[column.key].notna().any()]
        self.rows: list[dict[Any, Any]] = frame.to_dict("records")

    def to_csv(self) -> str:
        """Print it as CSV, each half-width in a column of its own."""
        keys = []
        for column in self.columns:
            keys.append((column.key, column.digits))
            if column.spread and self.frame[column.spread_key].notna().any():
                keys.append((column.spread_key, column.digits))
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([key for key, _ in keys])
        writer.writerows([printed(row[key], digits) for key, digits in keys] for row in self.rows)
        return out.getvalue()

    def to_latex(self) -> str:
        """Print it as a booktabs `tabular`."""
        heads = [_latex_head(column) for column in self.columns]
        lines = [[_latex_cell(row, column) for column in self.columns] for row in self.rows]
        first, *rest = (" & ".join(line) + r" \\" for line in (heads, *lines))
        alignment = "".join(column.alignment[0] for column in self.columns)
        begin = [rf"\begin{{tabular}}{{@{{}}{alignment}@{{}}}}", r"\toprule"]
        return "\n".join([*begin, first, r"\midrule", *rest, r"\bottomrule", r"\end{tabular}"]) + "\n"

    def to_markdown(self) -> str:
        """Print it in Markdown's pipe form."""
        return self._tabulated("pipe", lambda text: text.replace("|", "\\|"))

    def to_html(self) -> str:
        """Print it as an HTML table, escaped."""
        return self._tabulated("html", str)

    def _tabulated(self, form: str, escaped: Callable[[str], str]) -> str:
        from tabulate import tabulate

        rows = [[escaped(_cell(row, column)) for column in self.columns] for row in self.rows]
        heads = [column.head_on_one_line for column in self.columns]
        align = [column.alignment for column in self.columns]
        return f"{tabulate(rows, heads, tablefmt=form, colalign=align, disable_numparse=True)}\n"


def printed(value: Any, digits: int | None) -> str:
    """Print one value: a number with fixed decimals, text as it is, nothing for what is missing."""
    import pandas as pd

    if pd.isna(value):
        return ""
    return str(value) if digits is None else f"{float(value):.{digits}f}"


def _cell(row: dict[Any, Any], column: Column) -> str:
    text = printed(row[column.key], column.digits)
    text = text if column.digits is None else text.replace("-", "−")
    spread = printed(row[column.spread_key], column.digits) if column.spread else ""
    return (f"{text} ± {spread}" if text and spread else text) or MISSING


def _latex_cell(row: dict[Any, Any], column: Column) -> str:
    text = escape(_cell(row, column))
    return f"\\texttt{{{text}}}" if column.mono else text


def _latex_head(column: Column) -> str:
    head = r"\\".join(escape(line) for line in column.head.split("\n"))
    return f"\\shortstack[{column.alignment[0]}]{{{head}}}" if "\n" in column.head else head
