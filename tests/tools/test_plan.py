"""The plan: counts against known ones, costs against the thesis's own hours, sharing, memory and disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from crossres import files
from crossres.__main__ import main
from crossres.suites.spec import Budget, Model, Spec
from crossres.suites.suite import load_suite
from crossres.tools import plan
from crossres.tools.plan import Machine, Work, count_network, fit_machine, make_plan, memory_gib

PAPER = load_suite(files.suite_file("paper"))
SPECS = [PAPER.resolve(run, seed) for run, seed in PAPER.jobs()]
UNIT = Machine("a device", "nowhere", s_per_flop=1e-12, s_per_launch=0.0)


@pytest.mark.parametrize(
    ("name", "resolution_px", "gmacs", "parameters"),
    [
        ("torchvision/efficientnet_v2_l", 32, 0.271, 117_362_372),
        ("torchvision/efficientnet_v2_l", 64, 1.019, 117_362_372),
        ("torchvision/efficientnet_v2_s", 32, 0.062, 20_305_588),
        ("torchvision/efficientnet_v2_s", 64, 0.236, 20_305_588),
    ],
)
def test_the_counts_are_the_known_ones(name: str, resolution_px: int, gmacs: float, parameters: int) -> None:
    network = count_network(Model(name=name), 100, resolution_px)
    assert network.flops / 2e9 == pytest.approx(gmacs, abs=6e-4)
    assert network.parameters == parameters


def test_saved_activations_are_counted_once_and_without_weights() -> None:
    """conv → batch norm → SiLU in place → mean → linear, by hand, for one image of 8 px."""
    import torch
    from torch import nn

    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.SiLU())
    images = torch.empty(2, 3, 8, 8, device="meta")
    with torch.device("meta"):
        network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.SiLU())
    image, maps, statistics = 2 * 3 * 64, 2 * 4 * 64, 2 * 4
    running = 2 * 4  # batch norm hands its running statistics to the backward pass as well
    expected = 4 * (image + maps + statistics + running + maps)
    assert plan.saved_bytes(network, images) == pytest.approx(expected, abs=4 * running)


def test_the_fit_recovers_what_the_points_were_made_of() -> None:
    works = [Work(1e12, 1e3), Work(3e12, 1e5), Work(5e11, 7e4), Work(8e12, 2e3)]
    found = fit_machine("x", "y", [(work, 2e-12 * work.flops + 5e-6 * work.launches) for work in works])
    assert (found.s_per_flop, found.s_per_launch) == (pytest.approx(2e-12), pytest.approx(5e-6))
    assert fit_machine("x", "y", [(work, 1e-12 * work.flops) for work in works]).s_per_launch == pytest.approx(
        0, abs=1e-12
    )


def test_the_published_hours_are_met() -> None:
    """The two fitted costs give back the thesis's own total, and each run within a quarter."""
    machine = plan.machine_of("a device that nobody measured")
    assert machine.name == "NVIDIA GeForce RTX 5070 Laptop GPU"
    records = [plan.read_record(path) for path in sorted(files.SHIPPED.glob("published/*/*.json"))]
    found = [
        machine.hours(work) * len(record.history)
        for record, (work, _) in zip(records, plan.epochs_of(records), strict=True)
    ]
    assert sum(found) == pytest.approx(46.7, rel=0.05)
    assert found == pytest.approx([record.cost.train_minutes / 60 for record in records], rel=0.25)


def test_storing_saves_what_the_teacher_would_have_repeated() -> None:
    live, auto = (make_plan(SPECS, mode, UNIT, cuda=True) for mode in ("live", "auto"))
    teacher = UNIT.hours(plan.teacher_work(SPECS[3], SPECS[0]))
    assert live.hours == pytest.approx(auto.live_hours)
    assert auto.live_hours - auto.hours == pytest.approx(400 * teacher)
    assert auto.disk_gb == pytest.approx(200 * 390 * 128 * 100 * 2 / 1e9)
    assert live.disk_gb == 0
    assert auto.hours_by_rule["teacher_logits"] == pytest.approx(200 * teacher)


def test_more_students_of_one_stream_cost_no_more_of_the_teacher() -> None:
    def hours(seeds: int) -> tuple[float, float]:
        specs = [PAPER.resolve(run, 42) for run in ("teacher_32", "kd_32")] + [
            PAPER.resolve("kd_32", 42).model_copy(update={"run": f"kd_{index}"}) for index in range(seeds)
        ]
        made = make_plan(specs, "auto", UNIT, cuda=True)
        return made.hours, made.live_hours

    saved = [live - auto for auto, live in map(hours, range(4))]
    assert saved == pytest.approx([index * saved[1] for index in range(4)])


def test_every_run_of_the_thesis_fits_its_gpu() -> None:
    made = make_plan(SPECS, "auto", UNIT, cuda=True)
    assert all(0 < row.memory_gib < 8 for row in made.runs)
    largest = max(made.runs, key=lambda row: row.memory_gib)
    assert largest.run == "teacher_64"
    teacher = next(spec for spec in SPECS if spec.run == "teacher_64")
    assert memory_gib(teacher, None, "fp32") > memory_gib(teacher, None, "fp16")


@pytest.mark.parametrize("suite", ["paper", "demo"])
def test_the_plan_of_a_suite_is_printed(suite: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    output = tmp_path / "plan.json"
    assert main(["plan", "--suite", suite, "--device", "cpu", "--output", str(output)]) == 0
    printed = capsys.readouterr().out
    runs = load_suite(files.suite_file(suite)).runs
    assert all(run in printed for run in runs)
    assert "are computed once for kd_32" in printed
    document: dict[str, Any] = json.loads(output.read_text())
    assert [row["run"] for row in document["runs"]] == list(runs)
    assert document["live_hours"] > sum(document["hours_by_rule"].values())


def test_the_hours_of_the_thesis_s_gpu_can_be_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on a machine that was measured."""
    monkeypatch.setattr(plan, "machine_of", lambda _: UNIT)
    assert main(["plan", "--run", "kd_32", "--device", "cpu"]) == 0
    assert "hours on a device, fitted to nowhere" in capsys.readouterr().out
    assert main(["plan", "--run", "kd_32", "--machine", "thesis"]) == 0
    told = "hours on NVIDIA GeForce RTX 5070 Laptop GPU, fitted to the minutes of the published runs"
    assert told in capsys.readouterr().out


def test_a_budget_and_a_wrong_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--suite", "paper", "--budget", "{epochs: 2}", "--run", "kd_32", "--device", "cpu"]) == 0
    assert " 2 " in capsys.readouterr().out
    assert main(["plan", "--suite", "papr"]) == 1
    assert "did you mean 'paper'?" in capsys.readouterr().err
    assert main(["plan", "--budget", "{epoch: 2}"]) == 1
    assert "did you mean 'epochs'?" in capsys.readouterr().err


def test_a_budget_cuts_hours() -> None:
    def hours(spec: Spec) -> float:
        return make_plan([spec], "live", UNIT, cuda=True).hours

    whole, cut = PAPER.resolve("teacher_32", 42), PAPER.resolve("teacher_32", 42, Budget(epochs=20))
    assert hours(whole) == pytest.approx(10 * hours(cut))
