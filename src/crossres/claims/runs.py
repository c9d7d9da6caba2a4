"""The records of a suite as measures read them: by run and seed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crossres.base import CrossresError, nearest
from crossres.records.record import Record, records_by_run
from crossres.records.summary import TEXT_COLUMNS
from crossres.suites.suite import Suite


class Runs:
    """The runs of a suite with their records and their rows of the summary."""

    def __init__(self, suite: Suite, records: Iterable[Record], summary: pd.DataFrame) -> None:
        by_run = records_by_run(suite, records)
        self.suite = suite
        self.specs = {run: found[0].spec for run, found in by_run.items()}
        """Spec of each run, of its first seed."""
        self.records = {(run, record.spec.seed): record for run, found in by_run.items() for record in found}
        self.published = all(record.is_published for record in self.records.values())
        table = summary.assign(parameters_millions=summary["parameters"] / 1e6)
        self._cells: dict[Any, dict[Any, Any]] = table.set_index(["run", "seed"]).to_dict("index")
        self._columns = set(table.columns) - {*TEXT_COLUMNS, "seed"}

    def seeds(self, runs: Iterable[str]) -> list[int]:
        """Return the seeds that all of some runs have."""
        of_each = [{seed for name, seed in self.records if name == run} for run in runs]
        return sorted(set.intersection(*of_each)) if of_each else []

    def planned_seeds(self, runs: Iterable[str]) -> int:
        """Return how many seeds the suite plans for all of some runs."""
        return len(self.suite.common_seeds(runs))

    def cell(self, run: str, seed: int, column: str) -> float | None:
        """Return a number of the summary, or None where the run has none.

        Raises:
            CrossresError: When there is no such column, naming the nearest.
        """
        if column not in self._columns:
            raise CrossresError(f"claims: no column '{column}' in the summary{nearest(column, self._columns)}")
        value = self._cells[run, seed][column]
        return None if pd.isna(value) else float(value)

    def cells(self, runs: Iterable[str], seed: int, column: str) -> list[float] | None:
        """Return the same of several runs; None as soon as one has none."""
        found = [self.cell(run, seed, column) for run in runs]
        numbers = [value for value in found if value is not None]
        return numbers if len(numbers) == len(found) else None

    def with_stored_logits(self, names: Iterable[str]) -> list[str]:
        """Return those of some runs that read their teacher's logits from disk; its pass is not in their minutes."""
        read = {run for (run, _), record in self.records.items() if record.cost.stored_epochs}
        return [name for name in names if name in read]

    def test_images(self, run: str) -> int:
        dataset = self.specs[run].dataset
        return dataset.test_images or dataset.info.test_images

    def correct(self, run: str, seeds: Sequence[int]) -> NDArray[np.bool_] | None:
        """Return which test images a run classifies correctly, `[seeds, images]`; None where that is not recorded."""
        rows = [self.records[run, seed].correct_images() for seed in seeds]
        return None if any(row is None for row in rows) else np.array(rows, dtype=bool)
