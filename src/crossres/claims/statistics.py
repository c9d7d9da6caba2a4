"""Intervals and tests for accuracies over seeds and test images.

The numerics are SciPy's and statsmodels'; this module fixes the method for each purpose. Shares and accuracies are in
[0, 1]; `level` is the coverage of an interval; `bound` is the value under the hypothesis; every p is two-sided.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

LEVEL = 0.95


class Interval(NamedTuple):
    low: float
    high: float


class ContrastResult(NamedTuple):
    """A sum and difference of means or proportions."""

    value: float
    interval: Interval
    p: float


class McNemar(NamedTuple):
    """Images on which exactly one of two networks is right."""

    first_only: int
    second_only: int
    p: float


def half_width(values: Iterable[float], level: float = LEVEL) -> float:
    """Return the half-width of the t interval of a mean, `t · s / √n`; NaN below two values.

    A NaN among the values counts as missing.
    """
    kept = [value for value in values if not math.isnan(value)]
    if len(kept) < 2:
        return math.nan
    return float(_t_quantile((1 + level) / 2, len(kept) - 1) * (np.std(kept, ddof=1) / math.sqrt(len(kept))))


@functools.cache
def _t_quantile(probability: float, freedom: int) -> float:
    return float(stats.t.ppf(probability, freedom))


def t_test(values: Sequence[float], bound: float = 0.0) -> float | None:
    """Return the p of a mean over seeds; None without a spread.

    Given the differences of two runs per seed, this is the paired t test.
    """
    if len(values) < 2 or np.ptp(values) <= 1e-9 * max(abs(value) for value in values):
        return None
    return float(stats.ttest_1samp(values, bound).pvalue)


def block_contrast(
    values: NDArray[np.float64], coefficients: Sequence[float], bound: float = 0.0, level: float = LEVEL
) -> ContrastResult | None:
    """Return a contrast of runs that share their seeds, with its t interval and test; None without a spread.

    Seeds are the blocks of a randomised block design, `value = run + seed + error`. The variance of the error is
    estimated from all runs given, with `(runs − 1)(seeds − 1)` degrees of freedom. With two runs this is the paired t
    test. With more, all runs are assumed to have the same variance, which makes up for few seeds.

    Args:
        values: `[runs, seeds]`.
        coefficients: One per run; 0 for a run that contributes to the variance only.

    Source: Montgomery, *Design and analysis of experiments* (5th edition, 2001), sections 3-5.4 and 4-1.
    """
    runs, seeds = values.shape
    residuals = values - values.mean(1, keepdims=True) - values.mean(0, keepdims=True) + values.mean()
    freedom = (runs - 1) * (seeds - 1)
    if not freedom or np.abs(residuals).max() <= 1e-9 * np.abs(values).max():
        return None
    weights = np.asarray(coefficients, dtype=np.float64)
    value = float(weights @ values.mean(1))
    error = math.sqrt(float((residuals**2).sum()) / freedom * float((weights**2).sum()) / seeds)
    width = float(stats.t.ppf((1 + level) / 2, freedom)) * error
    p = 2 * float(stats.t.sf(abs(value - bound) / error, freedom))
    return ContrastResult(value, Interval(value - width, value + width), p)


def wilson(share: float, trials: int, level: float = LEVEL) -> Interval:
    """Return the score interval of a share of successes in independent trials.

    Source: Wilson, *Probable inference, the law of succession, and statistical inference* (JASA 1927).
    """
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(share * trials, trials, alpha=1 - level, method="wilson")
    return Interval(float(low), float(high))


def proportions_contrast(
    plus: Sequence[float], minus: Sequence[float], trials: int, bound: float = 0.0, level: float = LEVEL
) -> ContrastResult:
    """Return a contrast of independent proportions, `Σ plus − Σ minus`, with its interval and test.

    The interval adds the squared distances of the Wilson limits from their proportions (for two: Newcombe's method
    10). The test is the z test with unpooled variance. Both are conservative for networks that are tested on the same
    images, since they agree on most of them. `trials` is the number of trials of each proportion.

    Source: Newcombe, *Interval estimation for the difference between independent proportions* (Statistics in Medicine
    1998); for more than two, Zou, Huang and Zhang, *A note on confidence interval estimation for a linear function of
    binomial proportions* (Computational Statistics and Data Analysis 2009).
    """
    value = sum(plus) - sum(minus)
    added = [(share, wilson(share, trials, level)) for share in plus]
    taken = [(share, wilson(share, trials, level)) for share in minus]
    below = [share - found.low for share, found in added] + [found.high - share for share, found in taken]
    above = [found.high - share for share, found in added] + [share - found.low for share, found in taken]
    error = math.sqrt(sum(share * (1 - share) / trials for share in (*plus, *minus)))
    p = 2 * stats.norm.sf(abs(value - bound) / error) if error else float(value == bound)
    return ContrastResult(value, Interval(value - math.hypot(*below), value + math.hypot(*above)), float(p))


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> McNemar:
    """Test whether two networks are equally accurate, with the exact (binomial) p.

    Args:
        first: Whether the first network classifies each test image correctly, `[images]`.
        second: The same for the second network.

    Source: McNemar, *Note on the sampling error of the difference between correlated proportions* (Psychometrika 1947).
    """
    from statsmodels.stats.contingency_tables import mcnemar as test

    one, other = int((first & ~second).sum()), int((~first & second).sum())
    return McNemar(one, other, float(test([[0, one], [other, 0]], exact=True).pvalue))


def paired_bootstrap(
    first: NDArray[np.bool_],
    second: NDArray[np.bool_],
    generator: np.random.Generator,
    resamples: int = 2000,
    level: float = LEVEL,
) -> Interval:
    """Return the percentile interval of an accuracy difference, second minus first, over seeds and test images.

    Seeds and images are both resampled with replacement; the runs stay paired by seed and image.

    Args:
        first: Whether the first run classifies each test image correctly, `[seeds, images]`.
        second: The same for the second run.

    Source: Efron and Tibshirani, *An introduction to the bootstrap* (1993), chapter 13.
    """
    gains = second.astype(np.float64) - first.astype(np.float64)
    seeds, images = gains.shape
    means = np.empty(resamples)
    for index in range(resamples):
        counts = np.bincount(generator.integers(images, size=images), minlength=images)
        means[index] = gains[generator.integers(seeds, size=seeds)].mean(0) @ counts / images
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust p values so that the probability of any false rejection among them keeps its level; None is no test.

    Source: Holm, *A simple sequentially rejective multiple test procedure* (Scandinavian Journal of Statistics 1979).
    """
    from statsmodels.stats.multitest import multipletests

    made = [p for p in p_values if p is not None]
    adjusted = iter(multipletests(made, method="holm")[1] if made else ())
    return [None if p is None else float(next(adjusted)) for p in p_values]
