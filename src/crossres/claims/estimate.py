"""The number of a measure with its uncertainty, and on which side of a bound it lies."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from crossres.claims import statistics
from crossres.claims.finding import Estimate
from crossres.claims.measures import PROPORTIONS, AnyMeasure, Contrast
from crossres.claims.runs import Runs
from crossres.suites.contrasts import Bound

Answer = Literal["supported", "undecided", "contradicted"]


def estimate(measure: AnyMeasure, runs: Runs, exact: bool = False) -> Estimate | None:
    """Return a measure's mean over seeds with its interval; None where the records do not hold it.

    With several seeds, the interval is over seeds. With one, it is over test images. That decides nothing, and neither
    do several while a planned one is missing.

    Args:
        exact: Whether the number describes these very runs, so that it has no uncertainty.
    """
    seeds = runs.seeds(measure.needs)
    values = [value for seed in seeds if (value := measure.of(runs, seed)) is not None]
    if len(values) < len(seeds):
        return None
    if exact or measure.is_exact or not measure.is_trained:
        return Estimate(value=float(np.mean(values)), seeds=len(seeds), chance="none")
    planned = runs.planned_seeds(measure.needs)
    missing = {"planned": planned} if planned > len(seeds) else {}
    if measure.units(runs, seeds) > 1:
        return over_seeds(values, measure.is_ratio, measure.limits).model_copy(update=missing)
    interval = _over_images(measure, runs, seeds[0])
    of_images = {"chance": "image", **interval._asdict()} if interval else {}
    return Estimate(value=values[0], seeds=1).model_copy(update={**of_images, **missing})


def over_seeds(
    values: list[float], ratio: bool = False, limits: tuple[float, float] = (-math.inf, math.inf)
) -> Estimate:
    """Return the mean of one number per seed with its t interval, which ends at the limits of the number.

    Args:
        ratio: Whether both are taken of the logarithm.
        limits: The least and the largest possible number.
    """
    numbers = np.log(values) if ratio and min(values) > 0 else np.array(values)
    ends = np.array([-1, 0, 1]) * statistics.half_width(numbers) + numbers.mean()
    low, mean, high = (np.exp(ends) if ratio and min(values) > 0 else ends).tolist()
    low, high = max(low, limits[0]), min(high, limits[1])
    return Estimate(value=mean, seeds=len(values), low=low, high=high, chance="seed")


def answer(found: Estimate, bound: Bound) -> Answer:
    """Return whether a number lies on a side: only an interval over all planned seeds decides, or an exact number."""
    if found.chance == "none":
        return "supported" if bound.holds(found.value, found.value) else "contradicted"
    if found.chance != "seed" or found.planned or found.low is None or found.high is None:
        return "undecided"
    if bound.holds(found.low, found.high):
        return "supported"
    return "contradicted" if bound.other_side().holds(found.low, found.high) else "undecided"


def _over_images(measure: AnyMeasure, runs: Runs, seed: int) -> statistics.Interval | None:
    """Return the interval that the choice of test images gives an accuracy, or a difference of two."""
    if not isinstance(measure, Contrast) or measure.column not in PROPORTIONS:
        return None
    shares = {run: (measure.term(runs, run, seed) or 0.0) / 100 for run in measure.runs}
    images = runs.test_images(next(iter(shares)))
    if measure.pair:
        low, high = statistics.newcombe(shares[measure.pair[1]], shares[measure.pair[0]], images)
    elif list(measure.runs.values()) == [1]:
        low, high = statistics.wilson(next(iter(shares.values())), images)
    else:
        return None
    return statistics.Interval(100 * low, 100 * high)
