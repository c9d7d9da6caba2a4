"""Measures: how the number of a claim is computed from the records. Each has a `kind` in `paper/claims.yaml`.

To add a kind, write one subclass of `Measure` here, or import it.
"""

from __future__ import annotations

import functools
import math
import operator
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator
from scipy import stats

from crossres.base import at_path, nearest
from crossres.claims.epochs import EpochStatistic as EpochStatistic
from crossres.claims.measure import Measure, weighted
from crossres.claims.runs import Runs
from crossres.suites.spec import Spec

PROPORTIONS = ("accuracy_pct", "last_accuracy_pct")
"""Columns that are shares of the test images."""
EXACT = ("parameters", "parameters_millions", "compression")
"""Columns that follow from the networks alone."""
MINUTES = "train_minutes"


class Contrast(Measure):
    """A column of the summary, summed over runs, each with its weight."""

    kind: Literal["contrast"] = "contrast"
    column: str
    runs: dict[str, float] = {}
    """The weight of each run; empty in a claim that reports a figure per run."""
    until_end_of: str | None = None
    """For `accuracy_pct`: the best accuracy up to the epoch at which this run ended."""
    until_rate_of: str | None = None
    """For `accuracy_pct`: the best accuracy before the learning rate falls below the one at which this run ended."""

    @model_validator(mode="after")
    def _until_is_of_accuracy(self) -> Contrast:
        if self.until and self.column != "accuracy_pct":
            raise ValueError("until_end_of and until_rate_of: have a use with column accuracy_pct alone")
        if self.until_end_of and self.until_rate_of:
            raise ValueError("give one of until_end_of and until_rate_of")
        return self

    @property
    def until(self) -> str | None:
        """The run whose end cuts the others."""
        return self.until_end_of or self.until_rate_of

    @property
    def needs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.runs, *([self.until] if self.until else []))))

    def of(self, runs: Runs, seed: int) -> float | None:
        return weighted([(weight, self.term(runs, run, seed)) for run, weight in self.runs.items()])

    def term(self, runs: Runs, run: str, seed: int) -> float | None:
        """Return the number of one of the runs."""
        if self.until is None:
            return runs.cell(run, seed, self.column)
        history, last = runs.records[run, seed].history, runs.records[self.until, seed].history[-1]
        end = last.epoch
        if self.until_rate_of:
            end = max(epoch.epoch for epoch in history if epoch.learning_rate >= last.learning_rate)
        return max(epoch.test_accuracy_pct for epoch in history if epoch.epoch <= end)

    @property
    def pair(self) -> tuple[str, str] | None:
        """The subtracted and the added run, where it is the difference of two."""
        by_weight = {weight: run for run, weight in self.runs.items()}
        return (by_weight[-1], by_weight[1]) if len(self.runs) == 2 and set(by_weight) == {1, -1} else None

    @property
    def is_exact(self) -> bool:
        return self.column in EXACT

    @property
    def limits(self) -> tuple[float, float]:
        return (0, 100) if self.column in PROPORTIONS and len(self.runs) == 1 else super().limits


class Ratio(Measure):
    """A column of the summary, summed over some runs, divided by its sum over others: `Σ plus / Σ over`."""

    kind: Literal["ratio"] = "ratio"
    column: str
    plus: tuple[str, ...]
    over: tuple[str, ...]

    @property
    def needs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.plus, *self.over)))

    def of(self, runs: Runs, seed: int) -> float | None:
        above, below = (runs.cells(side, seed, self.column) for side in (self.plus, self.over))
        if above is None or below is None or sum(below) == 0:
            return None
        return sum(above) / sum(below)

    def missing(self, runs: Runs) -> str | None:
        partial = runs.with_stored_logits(self.needs) if self.column == MINUTES else []
        if partial and all(run in runs.specs for run in self.needs):
            names = ", ".join(partial)
            return f"the minutes of {names} leave out a teacher's pass, since its logits were stored and shared"
        return super().missing(runs)

    @property
    def is_exact(self) -> bool:
        return self.column in EXACT

    @property
    def local(self) -> str | None:
        return "minutes depend on the networks, the images and the machine" if self.column == MINUTES else None

    @property
    def is_ratio(self) -> bool:
        return True

    @property
    def limits(self) -> tuple[float, float]:
        return 0, math.inf


class SettingsCount(Measure):
    """How many settings of some runs differ from `value`, or from those of the first run."""

    kind: Literal["settings"] = "settings"
    runs: tuple[str, ...]
    paths: tuple[str, ...]
    """Dotted paths in a spec: `augmentation.auto_augment`."""
    value: str | float | None = None

    is_trained: ClassVar[bool] = False

    @field_validator("paths")
    @classmethod
    def _are_paths(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        for path in paths:
            name = path.split(".")[0]
            if name not in Spec.model_fields:
                raise ValueError(f"a spec has no '{name}'{nearest(name, Spec.model_fields)}")
        return paths

    @property
    def needs(self) -> tuple[str, ...]:
        return self.runs

    def of(self, runs: Runs, seed: int) -> float | None:
        found = [[at_path(runs.records[run, seed].spec, path) for path in self.paths] for run in self.runs]
        expected = found[0] if self.value is None else [self.value] * len(self.paths)
        return float(sum(one != other for row in found for one, other in zip(row, expected, strict=True)))

    @property
    def local(self) -> str | None:
        return "the settings here are not those of the thesis"


class RankCorrelation(Measure):
    """Spearman's rank correlation of a column with accuracy, over runs."""

    kind: Literal["rank"] = "rank"
    column: str
    runs: tuple[str, ...] = Field(min_length=3)

    @property
    def needs(self) -> tuple[str, ...]:
        return self.runs

    def of(self, runs: Runs, seed: int) -> float | None:
        x, y = (runs.cells(self.runs, seed, name) for name in (self.column, "accuracy_pct"))
        return float(stats.spearmanr(x, y)[0]) if x and y and len(set(x)) > 1 and len(set(y)) > 1 else None

    @property
    def limits(self) -> tuple[float, float]:
        return -1, 1


class Documented(Measure):
    """A number that no record holds and that the documentation of what these runs use gives."""

    kind: Literal["documented"] = "documented"
    value: float
    source: str
    """The document."""
    runs: tuple[str, ...] = Field(min_length=1)
    """Runs that use what is documented."""

    is_trained: ClassVar[bool] = False

    @property
    def needs(self) -> tuple[str, ...]:
        return self.runs

    def of(self, runs: Runs, seed: int) -> float | None:
        return self.value

    @property
    def is_exact(self) -> bool:
        return True


if TYPE_CHECKING:
    AnyMeasure = Measure
else:
    AnyMeasure = Annotated[functools.reduce(operator.or_, Measure.__subclasses__()), Field(discriminator="kind")]
