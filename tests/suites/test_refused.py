"""Suites that are refused when they are read, each in one line that names the key."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from crossres.base import CrossresError
from crossres.suites.suite import load_suite

NETWORK = {"model": {"name": "crossres/tiny_student"}, "optimisation": {"epochs": 1, "warmup_epochs": 1}}
SUITE: dict[str, Any] = {
    "suite": "own",
    "title": "An own suite",
    "dataset": {"name": "shapes"},
    "seeds": [1, 2],
    "runs": {
        "teacher": {**NETWORK, "objective": {"method": "ce"}},
        "kd": {
            **NETWORK,
            "teacher": "teacher",
            "teacher_view": {"resolution_px": 32},
            "objective": {"method": "kd"},
        },
    },
}


def refusal(folder: Path, text: str) -> str:
    path = folder / "own.yaml"
    path.write_text(text)
    with pytest.raises(CrossresError) as caught:
        load_suite(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def changed(**changes: Any) -> str:
    document = copy.deepcopy(SUITE)
    for path, value in changes.items():
        *folders, key = path.split("__")
        place = document
        for name in folders:
            place = place[name]
        place[key] = value
    return yaml.safe_dump(document, sort_keys=False)


def test_the_suite_itself_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(changed())
    assert len(load_suite(path).jobs()) == 4


@pytest.mark.parametrize("seed", [-1, 2**32, 2**64 - 1, 2**64])
@pytest.mark.parametrize("key", ["seeds", "runs__kd__seeds", "runs__kd__stream_seed", "runs__kd__teacher_seed"])
def test_a_seed_out_of_range(tmp_path: Path, key: str, seed: int) -> None:
    said = refusal(tmp_path, changed(**{key: [seed] if key.endswith("seeds") else seed}))
    assert key.rpartition("__")[2] in said
    assert str(seed) in said and str(2**32 - 1) in said


@pytest.mark.parametrize("changes", [{"runs__teacher__seeds": [1]}, {"runs__kd__teacher_seed": 3}])
def test_a_seed_that_the_teacher_does_not_have(tmp_path: Path, changes: dict[str, Any]) -> None:
    said = refusal(tmp_path, changed(**changes))
    assert "runs.kd" in said and "teacher_seed" in said


def test_a_seed_that_all_students_share(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(changed(runs__teacher__seeds=[1], runs__kd__teacher_seed=1))
    assert len(load_suite(path).jobs()) == 3


def test_two_runs_under_one_name(tmp_path: Path) -> None:
    text = changed()
    again = text[text.index("  kd:") :]
    said = refusal(tmp_path, text + again)
    assert "'kd'" in said and f"line {text.count(chr(10)) + 1}" in said


def test_a_merged_key_may_be_given_again(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(
        "presets:\n  base: &base {objective: {method: ce}}\n  other: {<<: *base, objective: {method: kd}}\n"
    )
    path.write_text(path.read_text() + changed())
    assert len(load_suite(path).jobs()) == 4


def test_the_folder_of_a_suite_under_a_budget(tmp_path: Path) -> None:
    assert "demo-truncated" in refusal(tmp_path, changed(suite="demo-truncated"))
