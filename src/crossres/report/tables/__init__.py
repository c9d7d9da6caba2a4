"""The tables of the report: one file per table.

To add one, write a file here, named after it, with `RUNS`, `SECTION`, `ORDER`, `COLUMNS`, `caption`, `reference` and
`build`. The workflow and the report find it. `crossres.report.tabular` prints it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, cast

from crossres.files import write_atomic
from crossres.report import exhibits, tabular
from crossres.report.types import DataFrame


class TableModule(exhibits.Exhibit, Protocol):
    """The module of a table."""

    COLUMNS: Sequence[tabular.Column]
    """The columns that are printed, where they hold anything."""

    def build(self, summary: DataFrame) -> DataFrame:
        """Return its rows from the suite's summary."""


def load(name: str) -> TableModule:
    """Import a table by name."""
    return cast(TableModule, exhibits.load("tables", name))


def build(name: str, summary: DataFrame) -> tabular.Table:
    """Build a table by name, with those of its columns that hold anything."""
    module = load(name)
    return tabular.Table(module.build(summary), module.COLUMNS)


def write(name: str, summary: DataFrame, directory: Path) -> list[Path]:
    """Build a table by name and write it as `NAME.csv`, `NAME.tex` and `NAME.md`; return these files."""
    table = build(name, summary)
    texts = {".csv": table.to_csv(), ".tex": table.to_latex(), ".md": table.to_markdown()}
    for suffix, text in texts.items():
        write_atomic(directory / f"{name}{suffix}", text)
    return [directory / f"{name}{suffix}" for suffix in texts]
