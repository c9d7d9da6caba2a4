"""The runs of a suite: what they are called, and the figures of each.

What one section of the report says beyond that is computed in a module of its subject: `setup`, `execution`,
`comparisons`, `findings` and `evidence`. All of it is plain text and numbers; `crossres.report.tex` sets it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from crossres.base import CrossresError
from crossres.records.record import Record, records_by_run
from crossres.records.summary import Role
from crossres.report.numbers import Number, counted, digits_of, listing, portion
from crossres.report.tabular import per_run
from crossres.suites.names import run_name
from crossres.suites.spec import Spec
from crossres.suites.suite import Suite

MAX_NAMES = 7
"""Runs that a sentence names one by one."""


class Facts:
    """The runs of a suite with their names and figures."""

    def __init__(self, suite: Suite, records: Iterable[Record], summary: pd.DataFrame) -> None:
        self.suite = suite
        self.by_run = records_by_run(suite, records)
        self.records = [record for found in self.by_run.values() for record in found]
        self.specs = {run: found[0].spec for run, found in self.by_run.items()}
        self.table = per_run(summary).set_index("run", drop=False).loc[list(self.by_run)]
        self._roles = self.table["role"].to_dict()

    # Runs

    def has(self, *runs: str) -> bool:
        """Tell whether the suite has all of these runs."""
        return all(run in self.by_run for run in runs)

    def record(self, run: str) -> Record:
        """Return a run's record, of its first seed where it has several."""
        self.suite.run(run)  # names the nearest when there is none
        return self.by_run[run][0]

    def spec(self, run: str) -> Spec:
        """Return a run's resolved spec, of its first seed."""
        return self.record(run).spec

    def runs(self, role: Role | None = None) -> list[str]:
        """Return the names of all runs, or of those with one role, in the suite's order."""
        return [run for run in self.by_run if role in (None, self._roles[run])]

    def taught_by(self, teacher: str) -> list[str]:
        """Return the students of a teacher."""
        return [run for run, spec in self.specs.items() if spec.teacher == teacher]

    @property
    def shared_teachers(self) -> list[str]:
        """The teachers of which one training teaches a student in several seeds."""
        trainings = {run: {record.spec.teacher_seed for record in found} for run, found in self.by_run.items()}
        shared = {self.specs[run].teacher for run, found in self.by_run.items() if len(found) > len(trainings[run])}
        return [run for run in self.by_run if run in shared]

    def with_method(self, method: str) -> list[str]:
        """Return the runs with one method."""
        return [run for run, spec in self.specs.items() if spec.objective.method == method]

    def stopped_early(self, runs: Iterable[str]) -> bool:
        """Tell whether a training of these runs was stopped early."""
        return any(record.stopped_early for run in runs for record in self.by_run[run])

    # Names

    def label(self, run: str) -> str:
        """Name a run as the prose does: `v2`, `teacher 32 px`, or its own name where the thesis has no such run."""
        return run_name(self.spec(run))

    def named(self, runs: Sequence[str]) -> str:
        """Name some runs in a sentence: `v1 and v2`, `9 of the 25 runs` or `all runs`."""
        if set(runs) == set(self.by_run):
            return "all runs"
        return listing(map(self.label, runs)) if len(runs) <= MAX_NAMES else portion(len(runs), len(self.by_run), "run")

    @property
    def cast(self) -> str:
        """The networks by what they learn from: `1 teacher and 2 students that learn from it`."""
        teachers, students, alone = (len(self.runs(role)) for role in ("teacher", "student", "alone"))
        parts = [counted(teachers, "teacher")] if teachers else []
        if students:
            parts.append(
                f"{counted(students, 'student')} that {_learn(students)} from {'it' if teachers == 1 else 'them'}"
            )
        if alone:
            parts.append(f"{counted(alone, 'network')} that {_learn(alone)} from the labels alone")
        return listing(parts)

    # The records as a whole

    @property
    def published(self) -> bool:
        """Whether all figures come from elsewhere."""
        return all(record.provenance.source for record in self.records)

    @property
    def several_seeds(self) -> bool:
        return any(len(found) > 1 for found in self.by_run.values())

    @property
    def seeds(self) -> list[int]:
        return sorted({record.spec.seed for record in self.records})

    @property
    def seed_names(self) -> str:
        """The seeds: `seeds 1 and 2`."""
        return f"{'seeds' if len(self.seeds) > 1 else 'seed'} {listing(self.seeds)}"

    @property
    def missing(self) -> int:
        """How many of the suite's records are not there."""
        return len(self.suite.jobs()) - len(self.records)

    # Figures

    def value(self, run: str, column: str) -> Any:
        """Return a cell of the table of runs: text, or the mean over seeds, which prints with the column's decimals."""
        self.suite.run(run)
        if column not in self.table:
            known = ", ".join(map(str, self.table.columns))
            raise CrossresError(f"no column '{column}' in the summary; known: {known}")
        cell: Any = self.table.at[run, column]
        if pd.isna(cell):
            raise CrossresError(f"run {run} has no {column}")
        return cell if isinstance(cell, str) else Number(float(cell), digits_of(column))

    def accuracy(self, run: str) -> Number:
        """Return the reported test accuracy in per cent, the mean over seeds."""
        number: Number = self.value(run, "accuracy_pct")
        return number

    def gain(self, run: str, over: str) -> Number:
        """Return by how many points a run is more accurate than another."""
        return self.accuracy(run) - self.accuracy(over)

    def ranked(self, role: Role) -> list[str]:
        """Return the runs of a role, the most accurate first."""
        return sorted(self.runs(role), key=lambda run: -self.accuracy(run))

    def selection_gain(self, run: str) -> Number:
        """Return the reported accuracy minus the mean of the last epochs, at most ten."""
        return self.accuracy(run) - self.value(run, "last_ten_mean_pct")


def _learn(number: int) -> str:
    return "learns" if number == 1 else "learn"
