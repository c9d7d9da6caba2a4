"""Grids: the runs that they stand for, and their factors. Seeds of the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crossres import files
from crossres.base import CrossresError
from crossres.suites.config import chosen_suite, read_config
from crossres.suites.suite import load_suite
from tests.suites.test_spec import SMALL, suite_from

BY_HAND = {"objective": {"method": "kd", "temperature": 2.0, "kd_weight": 0.5}}
TWO = {"title": "Weight and temperature", "over": {"objective.kd_weight": [0.5, 1], "objective.temperature": [2, 4, 8]}}


def grid(**changes: Any) -> dict[str, Any]:
    return {**SMALL["runs"]["kd"], **TWO, **changes}


def test_a_grid_is_the_runs_that_one_would_write(tmp_path: Path) -> None:
    suite = suite_from(tmp_path, grids={"soft": grid()}, runs={"by_hand": {**SMALL["runs"]["kd"], **BY_HAND}})
    names = [name for name in suite.runs if name.startswith("soft")]
    assert names == ["soft_0p5_2", "soft_0p5_4", "soft_0p5_8", "soft_1_2", "soft_1_4", "soft_1_8"]
    assert suite.runs["soft_0p5_2"] == suite.runs["by_hand"]


def test_each_setting_of_a_grid_is_a_factor_beside_the_first_values_of_the_others(tmp_path: Path) -> None:
    suite = suite_from(tmp_path, grids={"soft": grid()})
    assert list(suite.factors["soft_kd_weight"].levels.values()) == ["soft_0p5_2", "soft_1_2"]
    assert list(suite.factors["soft_temperature"].levels.values()) == ["soft_0p5_2", "soft_0p5_4", "soft_0p5_8"]
    one = suite_from(tmp_path, grids={"soft": grid(over={"objective.temperature": [2, 4]})})
    assert list(one.factors["soft"].levels.values()) == ["soft_2", "soft_4"]


def test_the_sweep_of_controls_is_what_it_was_by_hand() -> None:
    suite = load_suite(files.suite_file("controls"))
    weights = {"dkd_beta_0p5": 0.5, "dkd_beta_1": 1, "dkd_beta_2": 2, "dkd_beta_4": 4, "dkd_beta_8": 8}
    joint = suite.runs["dkd_joint"]  # written by hand; only its target and its weight differ
    for name, weight in weights.items():
        objective = joint.objective.model_copy(update={"nckd_weight": weight, "mixed_target": "interpolate"})
        assert suite.runs[name] == joint.model_copy(update={"objective": objective})
    assert list(suite.factors["dkd_beta"].levels.values()) == list(weights)


@pytest.mark.parametrize(
    ("grids", "message"),
    [
        ({"soft": grid(over={})}, r"grids\.soft: over: .* at least 1 item"),
        ({"soft": grid(over={"objective.kd_weight": []})}, r"grids\.soft: over.* at least 1 item"),
        ({"soft": grid(over={"objective.kd_wieght": [1]})}, r"runs\.soft_1\..*kd_wieght: unknown key"),
        ({"soft": 3}, r"grids\.soft: title: "),
        (["soft"], r"grids: expected a mapping"),
    ],
)
def test_a_mistake_in_a_grid_is_named(tmp_path: Path, grids: Any, message: str) -> None:
    with pytest.raises(CrossresError, match=message):
        suite_from(tmp_path, grids=grids)


def test_a_grid_takes_no_name_of_a_run(tmp_path: Path) -> None:
    with pytest.raises(CrossresError, match="the run 'soft_2' is there already"):
        suite_from(
            tmp_path,
            grids={"soft": grid(over={"objective.temperature": [2]})},
            runs={"soft_2": SMALL["runs"]["kd"]},
        )


def test_seeds_of_the_configuration_replace_those_of_the_suite(tmp_path: Path) -> None:
    suite_from(tmp_path, seeds=[1, 2], runs={"kd": {"seeds": [1]}})
    suite = chosen_suite(read_config({"suite": str(tmp_path / "small.yaml"), "seeds": [1, 5, 6]}))
    assert suite.jobs() == [("big", 1), ("big", 5), ("big", 6), ("kd", 1)]
    with pytest.raises(CrossresError, match="seed 1 of its teacher 'big' is none of the suite's runs"):
        chosen_suite(read_config({"suite": str(tmp_path / "small.yaml"), "seeds": [5]}))
