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


# Vascular grafts: yield at four extrusion pressures, one row each, with six batches of resin as blocks. The error's
# mean square is 7.33, with 15 degrees of freedom. Montgomery, *Design and analysis of experiments* (5th edition, 2001),
# example 4-1.
GRAFTS = (
    (90.3, 89.2, 98.2, 93.9, 87.4, 97.9),
    (92.5, 89.5, 90.6, 94.7, 87.0, 95.8),
    (85.5, 90.8, 89.6, 86.2, 88.0, 93.4),
    (82.5, 89.5, 85.6, 87.4, 78.9, 90.7),
)


def test_blocks_equal_montgomerys_vascular_grafts() -> None:
    found = statistics.block_contrast(np.array(GRAFTS), [1, 0, 0, -1])
    assert found is not None
    width = stats.t.ppf(0.975, 15) * math.sqrt(7.33 * 2 / 6)
    assert found.interval == pytest.approx((found.value - width, found.value + width), abs=2e-3)


def test_blocks_equal_statsmodels_least_squares() -> None:
    import pandas as pd
    import statsmodels.formula.api as smf

    rows = [(f"run{i}", f"seed{j}", value) for i, row in enumerate(GRAFTS) for j, value in enumerate(row)]
    fitted = smf.ols("y ~ C(run) + C(seed)", pd.DataFrame(rows, columns=["run", "seed", "y"])).fit()
    tested = fitted.t_test("C(run)[T.run1] - C(run)[T.run3] = 1")
    found = statistics.block_contrast(np.array(GRAFTS), [0, 1, 0, -1], bound=1)
    assert found is not None
    assert (found.value, found.p) == pytest.approx((float(tested.effect[0]), float(tested.pvalue)))
    assert found.interval == pytest.approx(tuple(tested.conf_int()[0]))


def test_two_blocked_runs_are_the_paired_t() -> None:
    found = statistics.block_contrast(np.array([SLEEP_2, SLEEP_1]), [1, -1])
    assert found is not None
    assert found.p == pytest.approx(0.002833, abs=1e-6)
    assert found.interval == pytest.approx((0.7001142, 2.4598858), abs=1e-6)
    assert statistics.block_contrast(np.ones((3, 4)), [1, -1, 0]) is None


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_equals_newcombes_table(hits: int, trials: int, low: float, high: float) -> None:
    """Newcombe, *Two-sided confidence intervals for the single proportion* (Statistics in Medicine 1998), table I."""
    assert statistics.wilson(hits / trials, trials) == pytest.approx((low, high), abs=1e-4)


def test_a_difference_of_proportions_equals_statsmodels_and_the_textbook_z() -> None:
    from statsmodels.stats.proportion import confint_proportions_2indep, test_proportions_2indep

    found = statistics.proportions_contrast([0.7793], [0.7619], 10_000)
    counts = (7793, 10_000, 7619, 10_000)
    assert found.interval == pytest.approx(confint_proportions_2indep(*counts, method="newcomb"), abs=1e-9)
    assert found.p == pytest.approx(test_proportions_2indep(*counts, method="wald").pvalue, abs=1e-9)


def test_exact_mcnemar_equals_the_vignette_of_exact2x2() -> None:
    """Fay, vignette *Exact McNemar's test and matching confidence intervals* of R's exact2x2: 21, 2, 9, 12."""
    first = np.repeat([True, True, False, False], [21, 9, 2, 12])
    second = np.repeat([True, False, True, False], [21, 9, 2, 12])
    found = statistics.mcnemar(first, second)
    assert found[:2] == (9, 2)
    assert found.p == pytest.approx(0.06543, abs=1e-5)
    assert found.p == pytest.approx(stats.binomtest(2, 11).pvalue)


def test_holm_equals_the_worked_example() -> None:
    """Four hypotheses with p 0.01, 0.04, 0.03 and 0.005: the example of Wikipedia's article *Holm–Bonferroni method*.

    At a level of 0.05 the fourth and the first are rejected, and no other.
    """
    adjusted = statistics.holm([0.01, None, 0.04, 0.03, 0.005])
    assert adjusted == [pytest.approx(0.03), None, pytest.approx(0.06), pytest.approx(0.06), pytest.approx(0.02)]
    assert statistics.holm([None]) == [None]


def test_the_bootstrap_equals_scipys_over_images_and_is_wider_where_seeds_differ() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.random((1, 2000)) < 0.7, generator.random((1, 2000)) < 0.75
    mine = statistics.paired_bootstrap(first, second, np.random.default_rng(1), resamples=4000)
    gains = second[0].astype(float) - first[0]
    theirs = stats.bootstrap((gains,), np.mean, method="percentile", n_resamples=4000, rng=2).confidence_interval
    assert mine == pytest.approx((theirs.low, theirs.high), abs=2e-3)
    assert mine == statistics.paired_bootstrap(first, second, np.random.default_rng(1), resamples=4000)
    apart = np.concatenate([second, first])
    both = statistics.paired_bootstrap(np.concatenate([first, first]), apart, np.random.default_rng(1))
    assert both.high - both.low > mine.high - mine.low


def test_no_spread_gives_no_test() -> None:
    assert statistics.t_test([1.0]) is None
    assert statistics.t_test([5.78, 5.78]) is None
    assert math.isnan(statistics.half_width([1.0, math.nan]))
