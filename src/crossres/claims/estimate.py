"""The number of a measure with its uncertainty: which interval and which test apply."""

from __future__ import annotations

import zlib
from typing import NamedTuple

import numpy as np

from crossres.claims import statistics
from crossres.claims.claim import Bound
from crossres.claims.finding import Estimate
from crossres.claims.measures import PROPORTIONS, AnyMeasure, Contrast
from crossres.claims.runs import Runs


class Chance(NamedTuple):
    """An interval and a test, each with its method; None where there is none."""

    low: float | None = None
    high: float | None = None
    interval: str | None = None
    test: str | None = None
    p: float | None = None


class ImagePairs(NamedTuple):
    """Two runs compared image by image."""

    bootstrap: statistics.Interval
    """In points."""
    tests: list[statistics.McNemar]
    """One per seed."""


def estimate(measure: AnyMeasure, runs: Runs, bound: Bound | None) -> Estimate | None:
    """Return a measure's mean over seeds with its interval and, given a bound, its test.

    With several seeds, chance is the spread over seeds. With one, it is the sample of test images.
    """
    seeds = runs.seeds(measure.needs)
    found = [measure.of(runs, seed) for seed in seeds]
    values = [value for value in found if value is not None]
    if len(values) < len(found):
        return None
    chance, pairs = Chance(), None
    if len(seeds) > 1 and measure.is_trained and not measure.is_exact:
        chance = _over_blocks(measure, runs, seeds, bound) or _over_seeds(values, bound)
    elif isinstance(measure, Contrast) and measure.column in PROPORTIONS:
        chance = _over_images(measure, runs, seeds[0], bound)
    if isinstance(measure, Contrast) and (pairs := _image_pairs(measure, runs, seeds)) and len(seeds) == 1:
        low, high = pairs.bootstrap
        chance = chance._replace(low=low, high=high, interval="paired bootstrap over images")
        if bound is not None and bound.at == 0:
            chance = chance._replace(test="exact McNemar", p=pairs.tests[0].p)
    return Estimate(
        value=float(np.mean(values)),
        seeds=len(seeds),
        low=chance.low,
        high=chance.high,
        interval=chance.interval,
        test=chance.test,
        p=chance.p,
        bootstrap=pairs.bootstrap if pairs else None,
        mcnemar=[(seed, *test) for seed, test in zip(seeds, pairs.tests, strict=True)] if pairs else [],
    )


def _over_seeds(values: list[float], bound: Bound | None) -> Chance:
    width, mean = statistics.half_width(values), float(np.mean(values))
    if width <= 1e-9 * abs(mean):
        return Chance()
    method = f"t over {len(values)} seeds"
    p = None if bound is None else statistics.t_test(values, bound.at)
    return Chance(mean - width, mean + width, method, None if p is None else method, p)


def _over_blocks(measure: AnyMeasure, runs: Runs, seeds: list[int], bound: Bound | None) -> Chance | None:
    """Contrast runs paired by seed, with the spread of all runs of the same networks; None where that cannot be."""
    if not isinstance(measure, Contrast) or not measure.minus:
        return None
    networks = {runs.specs[run].model.name for run in (*measure.plus, *measure.minus)}
    like = [run for run, spec in runs.specs.items() if spec.model.name in networks]
    like = [run for run in like if set(seeds) <= set(runs.seeds([run]))]
    table = {run: [measure.term(runs, run, seed) for seed in seeds] for run in like}
    pool = {run: values for run, values in table.items() if None not in values}
    weights = [measure.plus.count(run) - measure.minus.count(run) for run in pool]
    values = np.array(list(pool.values()), dtype=float)
    found = statistics.block_contrast(values, weights, bound.at if bound else 0.0)
    if found is None:
        return None
    method = f"t over {len(seeds)} seeds, spread of {len(pool)} runs"
    test, p = (method, found.p) if bound else (None, None)
    return Chance(*found.interval, method, test, p)


def _over_images(measure: Contrast, runs: Runs, seed: int, bound: Bound | None) -> Chance:
    """Take the test images as the only source of chance: a single seed shows no other."""
    images = runs.test_images(measure.plus[0])
    plus, minus = (
        [(measure.term(runs, run, seed) or 0.0) / 100 for run in side] for side in (measure.plus, measure.minus)
    )
    if not minus and len(plus) == 1:
        low, high = statistics.wilson(plus[0], images)
        return Chance(100 * low, 100 * high, f"Wilson, {images:,} images")
    found = statistics.proportions_contrast(plus, minus, images, (bound.at if bound else 0.0) / 100)
    low, high = found.interval
    test, p = ("z of independent proportions", found.p) if bound else (None, None)
    return Chance(100 * low, 100 * high, f"Newcombe, {images:,} images, unpaired", test, p)


def _image_pairs(measure: Contrast, runs: Runs, seeds: list[int]) -> ImagePairs | None:
    """Compare two runs image by image; None where the records do not hold which images they classify correctly."""
    if measure.column != "accuracy_pct" or measure.until_end_of or not measure.pair:
        return None
    first, second = (runs.correct(run, seeds) for run in measure.pair)
    if first is None or second is None or first.shape != second.shape:
        return None
    generator = np.random.default_rng(zlib.crc32(repr((measure.minus, measure.plus, seeds)).encode()))
    low, high = statistics.paired_bootstrap(first, second, generator)
    tests = [statistics.mcnemar(one, other) for one, other in zip(first, second, strict=True)]
    return ImagePairs(statistics.Interval(100 * low, 100 * high), tests)
