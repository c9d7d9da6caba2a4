"""The workflow on a real Slurm of one node, through profiles/slurm: `make test-slurm`."""

from __future__ import annotations

import copy
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
import yaml

from crossres.files import suite_file
from crossres.gpus import cuda_devices
from crossres.suites.suite import load_suite
from tests.project import copy_of_the_project, outcome, snakemake, trainers
from tests.slurm import Slurm, told
from tests.workflow.test_kill import SUITE

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.workflow,
    pytest.mark.skipif(cuda_devices() > 0, reason="the GPUs of this Slurm are make-believe, and a real one is here"),
]
# As users start it, but for a Slurm that keeps no accounts, and asked oftener.
PROFILE = (
    *("--workflow-profile", "profiles/slurm"),
    *("--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "2"),
)
DEMO_RECORDS = [f"results/demo/{run}/seed1/record.json" for run in load_suite(suite_file("demo")).runs]
# Asks for a GPU, and is content with a CPU where there is none.
SMALL = copy.deepcopy(SUITE) | {"device": "cuda"}
for run, epochs in {"teacher_32": 3, "kd_32": 20}.items():
    SMALL["runs"][run]["optimisation"]["epochs"] = epochs
SMALL_RECORDS = [f"results/small/{run}/seed1/record.json" for run in SMALL["runs"]]


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    with Slurm() as started:
        yield started


def demo(folder: Path) -> Path:
    """A copy of the project whose demonstration has one seed."""
    suite = copy_of_the_project(folder) / suite_file("demo")
    suite.write_text(re.sub(r"(?m)^seeds: .*$", "seeds: [1]", suite.read_text()))
    return folder


def asked_for(job: dict[str, str]) -> tuple[str, int, int]:
    """Return the rule of a job, its memory in MB and its time limit in minutes."""
    hours, minutes, seconds = job["TimeLimit"].replace("-", ":").split(":")[-3:]
    assert seconds == "00"
    rule = job["Comment"].removeprefix("rule_").split("_wildcards_")[0]
    return rule, int(job["MinMemoryNode"].removesuffix("M")), 60 * int(hours) + int(minutes)


def test_demo_ends_with_the_same_records_as_locally(slurm: Slurm, tmp_path: Path) -> None:
    local, cluster = demo(tmp_path / "local"), demo(tmp_path / "cluster")
    targets = ("--config", "suite=demo", "device=cpu", "--", "results/demo/summary.csv", "export")
    done = snakemake(cluster, *PROFILE, *targets)
    assert done.returncode == 0, done.stderr
    jobs = [asked_for(job) for job in slurm.jobs(cluster)]
    done = snakemake(local, "--cores", "2", *targets)
    assert done.returncode == 0, done.stderr
    assert outcome(cluster, DEMO_RECORDS) == outcome(local, DEMO_RECORDS)
    exported = [onnx.load(folder / "results/demo/export/model.onnx") for folder in (cluster, local)]
    for model in exported:
        del model.metadata_props[:]  # they name the record's digest, and a record its times
    assert exported[0] == exported[1]

    wanted = yaml.safe_load((cluster / "profiles/slurm/config.yaml").read_text())["set-resources"]
    assert {rule: {"mem_mb": memory, "runtime": minutes} for rule, memory, minutes in jobs} == wanted
    counts = Counter(rule for rule, _, _ in jobs)
    assert counts["train"] == counts["evaluate"] == len(DEMO_RECORDS)


def hold(started: subprocess.Popen[str], folder: Path, run: str, epochs: int) -> int:
    """Wait until a run has done some epochs, stop its process within the next, and return how many it has done."""
    deadline = time.monotonic() + 1200
    while started.poll() is None and time.monotonic() < deadline:
        (standing,) = list(folder.glob(f"results/small/{run}/seed1/state/*/checkpoint.json")) or [None]
        process = next((number for number, working in trainers().items() if working == folder), None)
        if standing and process:
            os.kill(process, signal.SIGSTOP)
            done = json.loads(standing.read_text())["epoch"]
            if done >= epochs:
                return done
            os.kill(process, signal.SIGCONT)
        time.sleep(0.02)
    started.kill()
    raise AssertionError(f"{run} did not come to epoch {epochs}: {started.communicate()}")


def test_cancelled_preempted_and_timed_out_jobs_go_on(slurm: Slurm, tmp_path: Path) -> None:
    whole, folder = copy_of_the_project(tmp_path / "whole"), copy_of_the_project(tmp_path / "cluster")
    for place in (whole, folder):
        (place / "workflow/suites/small.yaml").write_text(yaml.safe_dump(SMALL))
    done = snakemake(whole, "--cores", "1", "--config", "suite=small", "device=cpu", "--", *SMALL_RECORDS)
    assert done.returncode == 0, done.stderr

    command = [sys.executable, "-m", "snakemake", *PROFILE, "--config", "suite=small", "--", *SMALL_RECORDS]
    started = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    cancelled_at = hold(started, folder, "kd_32", 3)
    told("scancel", slurm.running(folder, "train"))
    preempted_at = hold(started, folder, "kd_32", cancelled_at + 3)
    told("sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap=true")
    hold(started, folder, "kd_32", preempted_at + 3)
    told("scontrol", "update", f"JobId={slurm.running(folder, 'train')}", "TimeLimit=1")  # minutes, since its start
    said, _ = started.communicate(timeout=1200)
    assert started.returncode == 0, said

    trained = [job for job in slurm.jobs(folder) if job["Comment"] == "rule_train_wildcards_kd_32_1"]
    ends = [(job["JobState"], job["Restarts"]) for job in trained]
    assert ends[0] == ("CANCELLED", "0") and ends[1] == ("TIMEOUT", "1") and ends[-1][0] == "COMPLETED", ends
    record = json.loads((folder / SMALL_RECORDS[1]).read_text())
    log = (folder / SMALL_RECORDS[1]).with_name("train.log").read_text()
    assert record["cost"]["resumptions"] >= 3
    assert log.startswith("kd_32 seed 1: resumed after epoch"), log  # Snakemake keeps the last attempt's log alone
    through_snakemake = [job for job in slurm.jobs(folder) if job["Comment"].startswith("rule_")]
    assert {job["TresPerJob"] for job in through_snakemake} == {"gres:gpu:1"}
    assert outcome(folder, SMALL_RECORDS) == outcome(whole, SMALL_RECORDS)
    assert folder not in trainers().values()


def test_a_job_without_its_gpu_says_so(slurm: Slurm, tmp_path: Path) -> None:
    folder = copy_of_the_project(tmp_path)
    weights = "results/demo/teacher_32/seed1/weights.safetensors"
    done = snakemake(folder, *PROFILE, "--retries", "0", "--config", "suite=demo", "device=cuda", "--", weights)
    assert done.returncode != 0
    (job,) = slurm.jobs(folder)
    assert job["JobState"] == "FAILED"
    assert "no CUDA device can be used" in (folder / weights).with_name("train.log").read_text()
