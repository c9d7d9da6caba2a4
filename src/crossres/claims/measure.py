"""The base of every measure."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from crossres.base import Strict
from crossres.claims.runs import Runs


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

    def units(self, runs: Runs, seeds: Sequence[int]) -> int:
        """Return how many trainings the numbers of some seeds are of."""
        return len(seeds)

    @property
    def is_ratio(self) -> bool:
        """Whether it is a ratio, whose mean and interval are taken of its logarithm."""
        return False

    @property
    def limits(self) -> tuple[float, float]:
        """The least and the largest possible number."""
        return -math.inf, math.inf


def weighted(terms: Sequence[tuple[float, float | None]]) -> float | None:
    """Return the weighted sum of some numbers, or None as soon as one is missing."""
    found = [weight * value for weight, value in terms if value is not None]
    return float(sum(found)) if len(found) == len(terms) else None
