"""Planned contrasts: which answer an interval gives, how often it is wrong, and how often an effect is found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from crossres import files
from crossres.__main__ import main
from crossres.base import CrossresError
from crossres.claims.contrasts import decide
from crossres.claims.power import powers
from crossres.suites.contrasts import PlannedContrast
from crossres.suites.suite import Suite, load_suite

AUDITS = 1000
AT_MOST = 0.025 + 3 * (0.025 * 0.975 / AUDITS) ** 0.5
"""Half of the level, and three standard errors: one side of an interval can be wrong."""
AT_THE_BOUNDS = {
    **{"teacher_32": 70.0, "teacher_64": 75.0, "ce_32": 60.0, "kd_32": 63.0, "kd_64_to_32": 63.0},
    **{"dkd_beta8": 61.5, "kd_crop": 63.0, "dkd_crop": 61.5},
}
"""Accuracies with which each primary contrast lies exactly at the bound of its claim."""


@pytest.fixture(scope="module")
def suite() -> Suite:
    loaded = load_suite(files.suite_file("lite"))
    primary = {name: one for name, one in loaded.contrasts.items() if one.family}
    return loaded.model_copy(update={"contrasts": primary})


@pytest.fixture(autouse=True)
def without_collecting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the simulations the collection of garbage that statsmodels makes with every correction."""
    monkeypatch.setattr("gc.collect", lambda *_: 0)


def planned(**changes: Any) -> PlannedContrast:
    document = {"title": "a", "runs": {"one": 1, "other": -1}, "supported_if": {"below": 0}, **changes}
    return PlannedContrast.parse(document, "contrast")


def answers(suite: Suite, means: dict[str, float], spread: float) -> list[dict[str, str]]:
    """Return the answers of simulated audits, whose accuracies vary over seeds run by run."""
    noise, given = np.random.default_rng(11), []
    for _ in range(AUDITS):
        accuracy = {run: mean + noise.normal(0, spread, len(suite.seeds)) for run, mean in means.items()}

        def share(run: str, of: dict[str, Any] = accuracy) -> Any:
            teacher = {"kd_64_to_32": "teacher_64", "kd_32": "teacher_32"}[run]
            return 100 * (of[run] - of["ce_32"]) / (of[teacher] - of["ce_32"])

        values = {}
        for name, one in suite.contrasts.items():
            column = accuracy.__getitem__ if one.column == "accuracy_pct" else share
            values[name] = list(sum(weight * column(run) for run, weight in one.runs.items()))
        given.append({name: found.answer for name, found in decide(suite.contrasts, values).items()})
    return given


# Four contrasts at the edge of what they may claim: the share of audits with any false answer.


@pytest.mark.slow
def test_at_the_bounds_few_audits_support_anything(suite: Suite) -> None:
    found = answers(suite, AT_THE_BOUNDS, 0.5)
    assert sum("supported" in one.values() for one in found) / AUDITS <= AT_MOST


@pytest.mark.slow
def test_at_the_smallest_effects_few_audits_contradict_anything(suite: Suite) -> None:
    shift = {"dkd_beta8": -1.0, "kd_64_to_32": 1.0}
    means = {run: mean + shift.get(run, 0.0) for run, mean in AT_THE_BOUNDS.items()}
    found = answers(suite, means, 0.5)
    effects = [{name: said for name, said in one.items() if name != "share_of_gap"} for one in found]
    assert sum("contradicted" in one.values() for one in effects) / AUDITS <= AT_MOST


@pytest.mark.slow
def test_an_effect_of_interest_is_found_as_often_as_the_plan_says(suite: Suite) -> None:
    """The spread of each run is half of the spread that the suite assumes for the contrast of four."""
    power = next(one for one in powers(suite) if one.contrast == "conflict")
    means = {**AT_THE_BOUNDS, "dkd_crop": AT_THE_BOUNDS["dkd_crop"] + power.effect}
    alone = suite.contrasts["conflict"].model_copy(update={"family": None})
    for contrasts, expected in (({"conflict": alone}, power.power), (suite.contrasts, power.power_first)):
        found = answers(suite.model_copy(update={"contrasts": contrasts}), means, power.seed_sd / 2)
        share = sum(one["conflict"] == "supported" for one in found) / AUDITS
        error = 3 * (expected * (1 - expected) / AUDITS) ** 0.5
        assert expected - error <= share <= expected + error + (0.03 if len(contrasts) > 1 else 0)


# One contrast


@pytest.mark.parametrize(
    ("values", "changes", "wanted"),
    [
        ([-3.0, -3.1, -2.9], {}, "supported"),
        ([3.0, 3.1, 2.9], {}, "contradicted"),
        ([-3.0, 3.0, 0.0], {}, "undecided"),
        ([-0.3, 0.3, 0.0], {"smallest_effect": 1}, "contradicted"),
        ([-0.3, 0.3, 0.0], {"smallest_effect": 0.5}, "undecided"),
        ([-0.5, -0.5, -0.51], {"smallest_effect": 1}, "supported"),
        ([-4.0, 2.0, 1.0], {"supported_if": {"above": -10}}, "supported"),
    ],
)
def test_an_interval_decides_by_the_side_on_which_it_lies(
    values: list[float], changes: dict[str, Any], wanted: str
) -> None:
    assert decide({"it": planned(**changes)}, {"it": values})["it"].answer == wanted


def test_a_family_corrects_and_counts_what_is_missing() -> None:
    values = [-1.0, -1.6, -0.6, -1.1]
    one, member = planned(), planned(family="primary")
    (found,) = decide({"it": one}, {"it": values}).values()
    assert found.answer == "supported" and found.estimate.p_holm is None
    family = dict.fromkeys(("it", "second", "third", "fourth"), member)
    (found,) = decide(family, {name: values if name == "it" else None for name in family}).values()
    assert found.answer == "undecided"
    assert found.estimate.p is not None and found.estimate.p_holm == pytest.approx(4 * found.estimate.p)


def test_plan_prints_the_power_of_contrasts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--suite", "controls", "--power"]) == 0
    printed = capsys.readouterr().out
    names = {name for name, one in load_suite(files.suite_file("controls")).contrasts.items() if one.seed_sd}
    assert {line.split()[0] for line in printed.splitlines()} > names
    assert main(["plan", "--suite", "paper", "--power"]) == 1


@pytest.mark.parametrize(
    ("contrast", "message"),
    [
        ({"runs": {"kd_23": 1}}, r"contrasts\.it\.runs: no run 'kd_23'; did you mean 'kd_32'"),
        ({"claim": "dkd_collapse"}, r"contrasts\.it\.claim: collapse judges 'dkd_collapse'"),
    ],
)
def test_a_mistake_in_a_contrast_is_one_line(suite: Suite, contrast: dict[str, Any], message: str) -> None:
    document = suite.model_dump(mode="json", exclude_none=True, round_trip=True)
    document["contrasts"]["it"] = {"title": "a", "runs": {"kd_32": 1}, "supported_if": {"above": 0}, **contrast}
    with pytest.raises(CrossresError, match=message):
        Suite.parse(document, "suite")
