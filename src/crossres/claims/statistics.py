"""Intervals, tests and power over seeds, and intervals over test images.

The numerics are SciPy's and statsmodels'; this module fixes the method for each purpose. Shares are in [0, 1]; `level`
is the coverage of an interval; every p is two-sided, but for that of an equivalence.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import optimize, stats

LEVEL = 0.95
TOST_LEVEL = 0.9
"""Of the interval that two one-sided tests at 5 % each judge."""
MOST_SEEDS = 1000


class Interval(NamedTuple):
    low: float
    high: float


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


def t_test(values: Sequence[float], bound: float = 0.0) -> float:
    """Return the p of a mean over seeds. Given the differences of two runs per seed, this is the paired t test.

    Without a spread it is 1 where the mean is the bound, and else 0.
    """
    if np.ptp(values) <= 1e-9 * max(abs(value) for value in values):
        return float(math.isclose(values[0], bound))
    return float(stats.ttest_1samp(values, bound).pvalue)


def power(effect: float, spread: float, seeds: int, alpha: float) -> float:
    """Return the probability that the two-sided t test over seeds finds an effect, on its side.

    Args:
        spread: Standard deviation over seeds.
        alpha: Level of the test.

    Source: Cohen, *Statistical power analysis for the behavioral sciences* (2nd edition, 1988), chapter 2.
    """
    critical = stats.t.isf(alpha / 2, seeds - 1)
    return float(stats.nct.sf(critical, seeds - 1, effect / spread * math.sqrt(seeds)))


def detectable(spread: float, seeds: int, alpha: float, wanted: float = 0.8) -> float:
    """Return the effect that the same test finds with a wanted probability."""
    return spread * float(optimize.brentq(lambda effect: power(effect, 1.0, seeds, alpha) - wanted, 0.0, 100.0))


class Equivalence(NamedTuple):
    """The difference of two means over seeds, second minus first, and where it lies to a margin."""

    value: float
    interval: Interval
    """Of both one-sided tests: it lies within the margin if p is below their level, beyond it if 1 − p is."""
    p: float
    """p of the hypothesis that the means differ by the margin or more."""
    spread: float
    """Standard deviation of the difference of one seed on each side."""


def equivalence(
    first: Sequence[float], second: Sequence[float], margin: float, paired: bool, level: float = TOST_LEVEL
) -> Equivalence:
    """Return two one-sided t tests (TOST) of the difference of two means.

    Paired values stand in the same order. Otherwise the tests are Welch's; where one side has a single value, it is
    taken to have the spread of the other.

    Source: Schuirmann, *A comparison of the two one-sided tests procedure and the power approach* (Journal of
    Pharmacokinetics and Biopharmaceutics 1987).
    """
    from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

    ours, theirs = DescrStatsW(first, ddof=1), DescrStatsW(second, ddof=1)
    value = float(theirs.mean - ours.mean)
    if paired:
        gains = DescrStatsW(np.subtract(second, first), ddof=1)
        spread = gains.std
    else:
        spread = math.sqrt(2 * np.mean([side.var for side in (ours, theirs) if side.nobs > 1]))
    if spread < 1e-9:
        return Equivalence(value, Interval(value, value), float(abs(value) >= margin), 0.0)
    if paired:
        p, ends = gains.ttost_mean(-margin, margin)[0], gains.tconfint_mean(1 - level)
    else:
        means, kind = CompareMeans(theirs, ours), "unequal" if min(ours.nobs, theirs.nobs) > 1 else "pooled"
        p, ends = means.ttost_ind(-margin, margin, kind)[0], means.tconfint_diff(1 - level, usevar=kind)
    return Equivalence(value, Interval(*map(float, ends)), float(p), float(spread))


def seeds_to_decide(value: float, spread: float, margin: float, level: float = TOST_LEVEL, wanted: float = 0.8) -> int:
    """Return how many seeds show with a wanted probability whether a difference lies within a margin or beyond it.

    The difference is taken to be the true one. `MOST_SEEDS` stands for that many or more.
    """
    near, far = abs(margin - abs(value)), margin + abs(value)
    for seeds in range(2, MOST_SEEDS):
        found = power(near, spread, seeds, 1 - level)
        if abs(value) < margin:  # both one-sided tests have to succeed
            found += power(far, spread, seeds, 1 - level) - 1
        if found >= wanted:
            return seeds
    return MOST_SEEDS


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> float:
    """Return the exact p of two networks being right on equally many of the same images.

    Source: McNemar, *Note on the sampling error of the difference between correlated proportions* (Psychometrika 1947).
    """
    from statsmodels.stats.contingency_tables import mcnemar as test

    one, other = np.array(first), np.array(second)
    table = [[sum(one & other), sum(one & ~other)], [sum(~one & other), sum(~one & ~other)]]
    return float(test(table, exact=True).pvalue)


def wilson(share: float, trials: int, level: float = LEVEL) -> Interval:
    """Return the score interval of a share of successes in independent trials.

    Source: Wilson, *Probable inference, the law of succession, and statistical inference* (JASA 1927).
    """
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(share * trials, trials, alpha=1 - level, method="wilson")
    return Interval(float(low), float(high))


def newcombe(first: float, second: float, trials: int, level: float = LEVEL) -> Interval:
    """Return the interval of the difference of two shares, first minus second, of as many independent trials each.

    It is conservative for two networks that are tested on the same images, since they agree on most of them.

    Source: Newcombe, *Interval estimation for the difference between independent proportions* (Statistics in Medicine
    1998), method 10.
    """
    from statsmodels.stats.proportion import confint_proportions_2indep

    counts = (first * trials, trials, second * trials, trials)
    low, high = confint_proportions_2indep(*counts, method="newcomb", alpha=1 - level)
    return Interval(float(low), float(high))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values so that the probability of any false rejection among them keeps its level.

    Source: Holm, *A simple sequentially rejective multiple test procedure* (Scandinavian Journal of Statistics 1979).
    """
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(p_values, method="holm")[1]]
