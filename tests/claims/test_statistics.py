"""Statistics: equal to worked examples of textbooks, papers and the libraries' own documentation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from crossres.claims import statistics

# Extra hours of sleep of ten patients under two drugs: Student, *The probable error of a mean* (Biometrika 1908), the
# example of R's documentation of t.test: mean difference 1.58, interval 0.7001 to 2.4599, p = 0.002833.
SLEEP_1 = (0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0)
SLEEP_2 = (1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4)


def test_paired_t_equals_students_sleep_data() -> None:
    gains = [after - before for before, after in zip(SLEEP_1, SLEEP_2, strict=True)]
    width = statistics.half_width(gains)
    assert (1.58 - width, 1.58 + width) == pytest.approx((0.7001142, 2.4598858), abs=1e-6)
    assert statistics.t_test(gains) == pytest.approx(0.002833, abs=1e-6)


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_equals_newcombes_table(hits: int, trials: int, low: float, high: float) -> None:
    """Newcombe, *Two-sided confidence intervals for the single proportion* (Statistics in Medicine 1998), table I."""
    assert statistics.wilson(hits / trials, trials) == pytest.approx((low, high), abs=1e-4)


def test_a_difference_of_shares_equals_newcombes_table() -> None:
    """Newcombe, *Interval estimation for the difference between independent proportions*, table II, method 10, (b)."""
    assert statistics.newcombe(9 / 10, 3 / 10, 10) == pytest.approx((0.1705, 0.8090), abs=1e-4)
    assert statistics.newcombe(0.3, 0.9, 10) == pytest.approx((-0.8090, -0.1705), abs=1e-4)


def test_holm_equals_the_worked_example() -> None:
    """Four hypotheses with p 0.01, 0.04, 0.03 and 0.005: the example of Wikipedia's article *Holm–Bonferroni method*.

    At a level of 0.05 the fourth and the first are rejected, and no other.
    """
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_power_equals_the_example_of_gpower() -> None:
    """G*Power's manual, matched pairs: 34 pairs find half a standard deviation with a power of 0.8078 at 0.05."""
    assert statistics.power(0.5, 1.0, 34, 0.05) == pytest.approx(0.807778, abs=1e-5)
    for seeds, alpha in ((3, 0.0125), (5, 0.05), (5, 0.0125), (8, 0.05)):
        effect = statistics.detectable(0.7, seeds, alpha)
        assert statistics.power(effect, 0.7, seeds, alpha) == pytest.approx(0.8, abs=1e-3)


def test_an_equivalence_has_the_intervals_of_students_sleep_data() -> None:
    """R's documentation of t.test: Welch's interval 0.2054832 to −3.3654832, paired as above."""
    paired = statistics.equivalence(SLEEP_1, SLEEP_2, 3.0, paired=True, level=0.95)
    assert paired.interval == pytest.approx((0.7001142, 2.4598858), abs=1e-6)
    assert paired.p == pytest.approx(stats.t.sf((3 - 1.58) / 0.3889587, 9), abs=1e-6)
    welch = statistics.equivalence(SLEEP_1, SLEEP_2, 3.0, paired=False, level=0.95)
    assert welch.interval == pytest.approx((-0.2054832, 3.3654832), abs=1e-6)


def test_one_value_is_compared_by_the_spread_of_the_others() -> None:
    """Crawford and Howell, *Comparing an individual's test score against norms* (Clinical Neuropsychologist 1998)."""
    found = statistics.equivalence([10.0, 12.0, 14.0], [15.0], 1.0, paired=False)
    width = stats.t.ppf(0.95, 2) * 2.0 * math.sqrt(4 / 3)
    assert found.interval == pytest.approx((3 - width, 3 + width))
    assert found.spread == pytest.approx(2.0 * math.sqrt(2))


@pytest.mark.parametrize("value", [0.0, 0.3, -0.6, 1.8])
def test_the_seeds_that_decide_do_so_with_the_wanted_probability(value: float) -> None:
    seeds = statistics.seeds_to_decide(value, 0.8, 1.0)
    draws = np.random.default_rng(7).normal(value, 0.8, (20_000, seeds))
    width = stats.t.ppf(0.95, seeds - 1) * draws.std(axis=1, ddof=1) / math.sqrt(seeds)
    low, high = draws.mean(axis=1) - width, draws.mean(axis=1) + width
    decided = (low > 1) if value > 1 else (low > -1) & (high < 1)
    assert 0.79 < decided.mean() < 0.87
    assert statistics.seeds_to_decide(0.999, 0.8, 1.0) == statistics.MOST_SEEDS


def test_mcnemar_is_the_sign_test_of_the_images_that_changed() -> None:
    """Three images lost and nine gained: twice the probability of at most three heads in twelve throws, 299 / 2048."""
    first, second = [True] * 3 + [False] * 9 + [True, False], [False] * 3 + [True] * 9 + [True, False]
    assert statistics.mcnemar(first, second) == pytest.approx(299 / 2048)


def test_without_a_spread_the_mean_decides() -> None:
    assert (statistics.t_test([5.78, 5.78]), statistics.t_test([0.0, 0.0])) == (0.0, 1.0)
    assert math.isnan(statistics.half_width([1.0, math.nan]))
