"""Measures of the course of a training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from crossres.base import at_path, nearest
from crossres.claims.measure import Measure, weighted
from crossres.claims.runs import Runs
from crossres.records.record import Epoch

OF_THE_TEACHER = (
    *("teacher_entropy", "teacher_mass_a", "teacher_mass_b"),
    *("order_violation_share", "off_label_share", "superposition_error"),
)
"""Measurements of the probe on the teacher alone: students of one training of it have the same numbers."""


class EpochStatistic(Measure):
    """A number taken from the epochs of runs, summed over these, each with its weight."""

    kind: Literal["epochs"] = "epochs"
    runs: dict[str, float] = Field(min_length=1)
    """The weight of each run."""
    field: str
    """A number of an epoch, such as `test_loss`, or a dotted path within a mapping: `losses.nckd`."""
    take: Literal["last", "mean", "max", "min", "last_over_min", "count_above", "median_step"]
    """`median_step`: the median absolute change from one epoch to the next."""
    threshold: float | None = None
    """For `count_above`."""
    from_epoch: int = 1
    to_epoch: int | None = None
    """First and last epoch that count."""

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
        return tuple(self.runs)

    def of(self, runs: Runs, seed: int) -> float | None:
        return weighted([(weight, self._of_run(runs, run, seed)) for run, weight in self.runs.items()])

    def _of_run(self, runs: Runs, run: str, seed: int) -> float | None:
        history, last = runs.records[run, seed].history, self.to_epoch or math.inf
        found = [at_path(epoch, self.field) for epoch in history if self.from_epoch <= epoch.epoch <= last]
        if self.field == "test_loss":  # null where it was not finite
            found = [math.inf if value is None else value for value in found]
        values = [float(value) for value in found if value is not None]
        if self.take == "count_above" and values:
            assert self.threshold is not None
            return float(sum(value > self.threshold for value in values))
        values = [value for value in values if math.isfinite(value)]
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
            case "median_step":
                return float(np.median(np.abs(np.diff(values)))) if len(values) > 1 else None
        raise AssertionError(self.take)

    def units(self, runs: Runs, seeds: Sequence[int]) -> int:
        if self.field.rpartition(".")[2] not in OF_THE_TEACHER:
            return super().units(runs, seeds)
        return len({runs.records[run, seed].spec.teacher_seed for run in self.runs for seed in seeds})

    @property
    def is_ratio(self) -> bool:
        return self.take == "last_over_min" and len(self.runs) == 1

    @property
    def limits(self) -> tuple[float, float]:
        if len(self.runs) > 1:
            return super().limits
        if ".cos_" in self.field:
            return -1, 1
        return (1 if self.is_ratio else 0), math.inf
