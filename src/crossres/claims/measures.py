"""Measures: how the number of a claim is computed from the records. Each has a `kind` in `paper/claims.yaml`.

To add a kind, write one subclass of `Measure` here.
"""

from __future__ import annotations

import functools
import operator
from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator
from scipy import stats

from crossres.base import Strict, at_path, nearest
from crossres.claims.runs import Runs
from crossres.records.record import Epoch
from crossres.suites.spec import Spec

PROPORTIONS = ("accuracy_pct", "last_accuracy_pct")
"""Columns that are shares of the test images."""
EXACT = ("parameters", "parameters_millions", "compression")
"""Columns that follow from the networks alone."""
MINUTES = "train_minutes"


class Measure(Strict):
    """One number per seed."""

    kind: str

    is_trained: ClassVar[bool] = True
    """Whether the number results from training, rather than from settings."""

    @property
    @abstractmethod
    def needs(self) -> tuple[str, ...]:
        """The runs without which there is no number."""

    @abstractmethod
    def of(self, runs: Runs, seed: int) -> float | None:
        """Return the number of one seed, or None where the records do not hold it."""

    def missing(self, runs: Runs) -> str | None:
        """Say what the records lack for this number, or nothing."""
        if absent := [run for run in self.needs if run not in runs.specs]:
            return f"the suite has no run {', '.join(absent)}"
        return None if runs.seeds(self.needs) else f"no seed is common to {', '.join(self.needs)}"

    @property
    def is_exact(self) -> bool:
        """Whether the number follows from the networks alone, so that every suite has to give the same."""
        return False

    @property
    def local(self) -> str | None:
        """Why the number says nothing about other networks and images than its own; None where it does."""
        return None


class Contrast(Measure):
    """A column of the summary, added over some runs and subtracted over others: `Σ plus − Σ minus`."""

    kind: Literal["contrast"] = "contrast"
    column: str
    plus: tuple[str, ...] = ()
    """Runs that are added; each run in turn, in a claim that reports a figure per run."""
    minus: tuple[str, ...] = ()
    """Runs that are subtracted."""
    until_end_of: str | None = None
    """For `accuracy_pct`: the best accuracy up to the epoch at which this run ended."""

    @model_validator(mode="after")
    def _until_is_of_accuracy(self) -> Contrast:
        if self.until_end_of and self.column != "accuracy_pct":
            raise ValueError("until_end_of: has a use with column accuracy_pct alone")
        return self

    @property
    def needs(self) -> tuple[str, ...]:
        ended = (self.until_end_of,) if self.until_end_of else ()
        return tuple(dict.fromkeys((*self.plus, *self.minus, *ended)))

    def of(self, runs: Runs, seed: int) -> float | None:
        plus, minus = ([self.term(runs, run, seed) for run in side] for side in (self.plus, self.minus))
        terms = [*plus, *(None if value is None else -value for value in minus)]
        return None if None in terms else float(sum(filter(None, terms)))

    def term(self, runs: Runs, run: str, seed: int) -> float | None:
        """Return the number of one of the runs."""
        if self.until_end_of is None:
            return runs.cell(run, seed, self.column)
        end = len(runs.records[self.until_end_of, seed].history)
        return max(epoch.test_accuracy_pct for epoch in runs.records[run, seed].history[:end])

    @property
    def pair(self) -> tuple[str, str] | None:
        """The subtracted and the added run, where there is one of each."""
        return (self.minus[0], self.plus[0]) if len(self.minus) == len(self.plus) == 1 else None

    @property
    def is_exact(self) -> bool:
        return self.column in EXACT


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
        return "minutes are those of its networks, images and machine" if self.column == MINUTES else None


class EpochStatistic(Measure):
    """A number taken from the epochs of one run."""

    kind: Literal["epochs"] = "epochs"
    run: str
    field: str
    """A number of an epoch, such as `test_loss`, or a dotted path within a mapping: `losses.nckd`."""
    take: Literal["last", "mean", "max", "min", "last_over_min", "count_above"]
    threshold: float | None = None
    """For `count_above`."""

    @field_validator("field")
    @classmethod
    def _is_a_field(cls, field: str) -> str:
        name = field.split(".")[0]
        if name not in Epoch.model_fields:
            raise ValueError(f"an epoch has no '{name}'{nearest(name, Epoch.model_fields)}")
        return field

    @model_validator(mode="after")
    def _has_a_threshold(self) -> EpochStatistic:
        if (self.take == "count_above") != (self.threshold is not None):
            raise ValueError("threshold: belongs to take: count_above, and is needed there")
        return self

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.run,)

    def of(self, runs: Runs, seed: int) -> float | None:
        found = [at_path(epoch, self.field) for epoch in runs.records[self.run, seed].history]
        values = [float(value) for value in found if value is not None]
        if not values:
            return None
        match self.take:
            case "last":
                return values[-1]
            case "mean":
                return float(np.mean(values))
            case "max":
                return max(values)
            case "min":
                return min(values)
            case "last_over_min":
                return values[-1] / min(values) if min(values) else None
        assert self.threshold is not None
        # A null among numbers was not finite: it lies above any threshold.
        return float(sum(value is None or value > self.threshold for value in found))


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
        return "what is set here is not what the thesis set"


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


if TYPE_CHECKING:
    AnyMeasure = Measure
else:
    AnyMeasure = Annotated[functools.reduce(operator.or_, Measure.__subclasses__()), Field(discriminator="kind")]
