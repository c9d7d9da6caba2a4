"""What a claim can be about: the vocabulary of `paper/claims.yaml`, and how each word is computed from the records.

To add a kind of measure, write one subclass of `Measure` and name it in `MEASURES`.
"""

from __future__ import annotations

import functools
import operator
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator
from scipy import stats

from crossres.base import CrossresError, Strict, nearest
from crossres.records.record import Epoch, Record
from crossres.records.summary import TEXT_COLUMNS
from crossres.suites.spec import Spec

PROPORTIONS = ("accuracy_pct", "last_accuracy_pct")
"""Columns that are shares of the test images."""
WITHOUT_CHANCE = ("parameters", "parameters_millions", "compression")
"""Columns that follow from the networks alone, with no training in between."""
MINUTES = "train_minutes"


class Runs:
    """The records of a suite as measures read them: by run and seed."""

    def __init__(self, records: Iterable[Record], summary: pd.DataFrame) -> None:
        self.records = {(record.name, record.spec.seed): record for record in records}
        self.specs: dict[str, Spec] = {}
        """Of each run, that of its first seed."""
        for record in self.records.values():
            self.specs.setdefault(record.name, record.spec)
        self.published = all(record.is_published for record in self.records.values())
        table = summary.assign(parameters_millions=summary["parameters"] / 1e6)
        self.cells: dict[Any, dict[Any, Any]] = table.set_index(["run", "seed"]).to_dict("index")
        self.columns = set(table.columns) - {*TEXT_COLUMNS, "seed"}

    def seeds(self, runs: Iterable[str]) -> list[int]:
        """Return the seeds that all of these runs have."""
        of_each = [{seed for name, seed in self.records if name == run} for run in runs]
        return sorted(set.intersection(*of_each)) if of_each else []

    def cell(self, run: str, seed: int, column: str) -> float | None:
        """Return a number of the summary, or None where the run has none.

        Raises:
            CrossresError: When there is no such column, naming the nearest.
        """
        if column not in self.columns:
            raise CrossresError(f"claims: no column '{column}' in the summary{nearest(column, self.columns)}")
        value = self.cells[run, seed][column]
        return None if pd.isna(value) else float(value)

    def with_stored_logits(self, names: Iterable[str]) -> list[str]:
        """Return those runs that read logits of their teacher from disk, so that its pass is not in their minutes."""
        read = {run for (run, _), record in self.records.items() if record.cost.stored_epochs}
        return [name for name in names if name in read]

    def test_images(self, run: str) -> int:
        dataset = self.specs[run].dataset
        return dataset.test_images or dataset.info.test_images

    def correct(self, run: str, seeds: Sequence[int]) -> NDArray[np.bool_] | None:
        """Tell which test images a run has right, `[seeds, images]`; None where its records do not say."""
        rows = [self.records[run, seed].correct_images() for seed in seeds]
        return None if any(row is None for row in rows) else np.array(rows, dtype=bool)


class Measure(Strict):
    """Base of the measures: one number a seed."""

    kind: str

    @property
    @abstractmethod
    def needs(self) -> tuple[str, ...]:
        """The runs without which there is no number."""

    @abstractmethod
    def of(self, runs: Runs, seed: int) -> float | None:
        """Return the number of one seed, or None where the records do not hold it."""

    @property
    def without_chance(self) -> bool:
        """Whether the number follows from the specs, so that it must come out exactly."""
        return False

    by_training: ClassVar[bool] = True
    """Whether the number comes from training at all, rather than from what was set."""

    @property
    def own(self) -> str | None:
        """Why the number says nothing of other networks and images than the thesis's; None where it does."""
        return None


class Contrast(Measure):
    """A column of the summary, added over some runs and subtracted over others: `Σ plus − Σ minus`."""

    kind: Literal["contrast"] = "contrast"
    column: str
    plus: tuple[str, ...] = ()
    """Runs that are added; in a claim that reports a figure for each of several runs, each of these in turn."""
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
        """Return one run's share in the number."""
        if self.until_end_of is None:
            return runs.cell(run, seed, self.column)
        end = len(runs.records[self.until_end_of, seed].history)
        return max(epoch.test_accuracy_pct for epoch in runs.records[run, seed].history[:end])

    @property
    def without_chance(self) -> bool:
        return self.column in WITHOUT_CHANCE


class Ratio(Measure):
    """A column of the summary, added over some runs, as a multiple of its sum over others."""

    kind: Literal["ratio"] = "ratio"
    column: str
    plus: tuple[str, ...]
    over: tuple[str, ...]

    @property
    def needs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.plus, *self.over)))

    def of(self, runs: Runs, seed: int) -> float | None:
        above, below = ([runs.cell(run, seed, self.column) for run in side] for side in (self.plus, self.over))
        if None in above or None in below or not sum(filter(None, below)):
            return None
        return sum(filter(None, above)) / sum(filter(None, below))

    @property
    def without_chance(self) -> bool:
        return self.column in WITHOUT_CHANCE

    @property
    def own(self) -> str | None:
        return "minutes are those of its networks, images and machine" if self.column == MINUTES else None


class Epochs(Measure):
    """A number taken from the epochs of one run's training."""

    kind: Literal["epochs"] = "epochs"
    run: str
    field: str
    """A number of an epoch, such as `test_loss`; dotted where it stands in a mapping: `losses.nckd`."""
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
    def _has_a_threshold(self) -> Epochs:
        if (self.take == "count_above") != (self.threshold is not None):
            raise ValueError("threshold: belongs to take: count_above, and is needed there")
        return self

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.run,)

    def of(self, runs: Runs, seed: int) -> float | None:
        found = [_at(epoch, self.field) for epoch in runs.records[self.run, seed].history]
        values = [float(value) for value in found if value is not None]
        if not values:
            return None
        if self.threshold is not None:
            return float(sum(value > self.threshold for value in values))
        took = {"last": values[-1], "mean": float(np.mean(values)), "max": max(values), "min": min(values)}
        return took[self.take] if self.take in took else values[-1] / min(values)


class Settings(Measure):
    """In how many of some settings runs are other than said: than `value`, or than the first run."""

    kind: Literal["settings"] = "settings"
    runs: tuple[str, ...]
    paths: tuple[str, ...]
    """Where a spec has them, dotted: `augmentation.auto_augment`."""
    value: str | float | None = None

    by_training: ClassVar[bool] = False

    @property
    def own(self) -> str | None:
        return "what is set here is not what the thesis set"

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
        found = [[_at(runs.records[run, seed].spec, path) for path in self.paths] for run in self.runs]
        said = found[0] if self.value is None else [self.value] * len(self.paths)
        return float(sum(one != other for row in found for one, other in zip(row, said, strict=True)))


class Rank(Measure):
    """Spearman's rank correlation, over runs, of their accuracy with another column."""

    kind: Literal["rank"] = "rank"
    column: str
    runs: tuple[str, ...] = Field(min_length=3)

    @property
    def needs(self) -> tuple[str, ...]:
        return self.runs

    def of(self, runs: Runs, seed: int) -> float | None:
        x, y = ([runs.cell(run, seed, name) for run in self.runs] for name in (self.column, "accuracy_pct"))
        return None if None in (*x, *y) or len(set(x)) == 1 or len(set(y)) == 1 else float(stats.spearmanr(x, y)[0])


MEASURES: tuple[type[Measure], ...] = (Contrast, Ratio, Epochs, Settings, Rank)
if TYPE_CHECKING:
    AnyMeasure = Measure
else:
    AnyMeasure = Annotated[functools.reduce(operator.or_, MEASURES), Field(discriminator="kind")]


def _at(document: object, path: str) -> Any:
    """Return what stands at a dotted path of nested documents and mappings, or None."""
    for name in path.split("."):
        document = document.get(name) if isinstance(document, Mapping) else getattr(document, name, None)
    return document
