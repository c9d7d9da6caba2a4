"""What the rules ask of `crossres.workflow`."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from crossres.__main__ import main
from crossres.base import CrossresError
from crossres.workflow import Workflow
from tests.project import snakemake


def workflow(**document: Any) -> Workflow:
    return Workflow.read(document, Path.cwd())


def test_a_full_folder_of_temporary_files_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Snakemake's own scheduler would end there with a traceback."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    workflow(suite="published")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(CrossresError, match=f"^{tmp_path}: full"):
        workflow(suite="published")


def test_no_rule_outputs_a_shipped_run() -> None:
    shipped, computed = workflow(suite="published"), workflow(suite="paper", records=["teacher_32"])
    for run in shipped.suite.runs:
        assert not re.match(shipped.computed_runs, f"{run}/seed42/")
    assert shipped.record("kd_32", 42) == "paper/records/published/kd_32/seed42.json"
    assert re.match(computed.computed_runs, "teacher_32/seed42/")
    assert not re.match(computed.computed_runs, "teacher_64/seed42/")
    assert computed.record("teacher_32", 42) == "results/paper/teacher_32/seed42/record.json"


def test_a_finished_run_does_not_read_stored_logits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flow = workflow(suite="paper", teacher_logits="stored")
    inputs = flow.train_inputs("kd_64_to_32", 42)
    assert inputs["teacher"] == "results/paper/teacher_64/seed42/weights.safetensors"
    assert inputs["logits"].startswith("results/paper/teacher_64/seed42/logits/")
    assert set(flow.train_inputs("teacher_64", 42)) == {"spec", "data", "weights"}
    monkeypatch.setattr(Workflow, "is_pending", lambda *_: False)
    assert "logits" not in flow.train_inputs("kd_64_to_32", 42)


@pytest.mark.parametrize(
    ("device", "visible", "on_cluster", "uses_gpu", "share_pct"),
    [
        ("auto", 0, False, True, 50),
        ("auto", 0, True, True, 0),
        ("cpu", 1, False, False, 0),
        ("cuda", 0, False, True, 50),
    ],
)
def test_the_share_of_a_gpu(
    monkeypatch: pytest.MonkeyPatch, device: str, visible: int, on_cluster: bool, uses_gpu: bool, share_pct: int
) -> None:
    monkeypatch.setattr("crossres.gpus.cuda_devices", lambda: visible)
    flow = workflow(suite="paper", device=device, runs_per_gpu=2)
    assert flow.uses_gpu(on_cluster) == uses_gpu
    assert flow.gpu_share_pct(on_cluster) == share_pct


@pytest.mark.parametrize(
    ("suite", "device", "told"),
    [("paper", "auto", "cuda"), ("paper", "cpu", "cpu"), ("demo", "auto", "auto"), ("demo", "cuda", "cuda")],
)
def test_a_suite_for_cuda_leaves_jobs_no_other_device(suite: str, device: str, told: str) -> None:
    assert f"CROSSRES_DEVICE={told};" in workflow(suite=suite, device=device).shell_prefix().replace(" ", ";")


def test_several_gpus_are_named_to_the_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossres.gpus.cuda_devices", lambda: 3)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert "CUDA_VISIBLE_DEVICES=0,1,2;" in workflow(suite="demo").shell_prefix().replace(" ", ";")
    assert "CUDA_VISIBLE_DEVICES" not in workflow(suite="demo", device="cpu").shell_prefix()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-a, MIG-b")
    assert "CUDA_VISIBLE_DEVICES=MIG-a,MIG-b;" in workflow(suite="demo").shell_prefix().replace(" ", ";")


def test_training_without_a_gpu_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossres.gpus.cuda_devices", lambda: 0)
    with pytest.raises(CrossresError, match=r"training 2 of 7 runs needs a CUDA device.*46.7 GPU-hours"):
        workflow(suite="paper").check_gpu(2, on_cluster=False)
    workflow(suite="paper").check_gpu(2, on_cluster=True)
    workflow(suite="paper").check_gpu(0, on_cluster=False)
    workflow(suite="paper", device="cpu").check_gpu(2, on_cluster=False)


def test_a_network_that_cannot_run_is_one_line_before_the_first_job(tmp_path: Path) -> None:
    suite = tmp_path / "own.yaml"
    demo = Path("workflow/suites/demo.yaml").absolute()
    suite.write_text(
        f"extends: {demo}\nsuite: own\nruns: {{kd_32: {{model: {{name: torchvision/alexnet, pretrained: false}}}}}}\n"
    )
    flow = workflow(suite=str(suite))
    flow.check_networks([("teacher_32", 1)])
    with pytest.raises(CrossresError, match="^run kd_32: torchvision/alexnet cannot be trained"):
        flow.check_networks(flow.computed)
    assert main(["plan", "--suite", str(suite), "--device", "cpu"]) == 1


def test_a_job_s_own_snakemake_leaves_apptainer_s_arguments_alone(tmp_path: Path) -> None:
    flow = workflow(suite="demo", device="cpu", data_dir=str(tmp_path))
    once = flow.apptainer_arguments("--writable-tmpfs")
    assert once.startswith("--writable-tmpfs ") and str(tmp_path) in once
    assert flow.apptainer_arguments(once) == once


@pytest.mark.workflow
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler to make a pretended driver with")
def test_jobs_may_use_every_gpu_of_the_machine(project: Path, tmp_path: Path) -> None:
    source, library = tmp_path / "driver.c", tmp_path / "libcuda.so.1"
    source.write_text("int cuInit(unsigned f) { return 0; } int cuDeviceGetCount(int *n) { *n = 3; return 0; }")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    words = ("--cores", "1", "--config", "suite=demo", "--", "results/demo/kd_32/seed1/spec.json")
    done = snakemake(project, *words, LD_LIBRARY_PATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert re.search(r"gpu_pct\D+300\b", done.stderr)
