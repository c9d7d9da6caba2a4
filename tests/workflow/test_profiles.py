"""The profiles name what the workflow has, agree with each other, and hold only options that Snakemake takes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.project import copy_of_the_project, snakemake, trainers
from tests.workflow.test_kill import SUITE, wait_until

PROFILES = sorted(path.parent.name for path in Path("profiles").glob("*/config.yaml"))
RULES = "\n".join(
    path.read_text() for path in [Path("workflow/Snakefile"), *sorted(Path("workflow/rules").glob("*.smk"))]
)


def profile(name: str) -> dict[str, Any]:
    return yaml.safe_load(Path(f"profiles/{name}/config.yaml").read_text())


def job() -> dict[str, Any]:
    return yaml.safe_load(Path("profiles/kubernetes/job.yaml").read_text())


def rules_of_the_cluster() -> set[str]:
    """Every rule that is not said to be local."""
    lists = re.findall(r"^localrules:\n((?:    .*\n)+)", RULES, re.MULTILINE)
    local = {name.strip(" ,") for names in lists for name in names.splitlines()}
    return set(re.findall(r"^rule (\w+):", RULES, re.MULTILINE)) - local


def test_slurm_s_profile_names_each_rule_that_is_not_local_and_no_other() -> None:
    given = profile("slurm")["set-resources"]
    assert set(given) == rules_of_the_cluster()
    assert all({"mem_mb", "runtime"} <= set(resources) for resources in given.values())


@pytest.mark.parametrize("name", PROFILES)
def test_profiles_agree_on_what_is_run_again(name: str) -> None:
    keys = ("rerun-triggers", "rerun-incomplete", "printshellcmds")
    assert {key: profile(name)[key] for key in keys} == {key: profile("default")[key] for key in keys}


@pytest.mark.workflow
@pytest.mark.parametrize(
    ("flag", "name"), [("--workflow-profile", "slurm"), ("--profile", "slurm"), ("--workflow-profile", "kubernetes")]
)
def test_snakemake_takes_the_profile(tmp_path: Path, flag: str, name: str) -> None:
    folder = copy_of_the_project(tmp_path)
    done = snakemake(folder, flag, f"profiles/{name}", "-n", "--config", "suite=demo", "device=cpu")
    assert done.returncode == 0, done.stderr
    trains = re.findall(r"rule train:(?:\n .*)+", done.stdout + done.stderr)
    assert trains
    for resource, value in profile(name).get("set-resources", {}).get("train", {}).items():
        assert all(f"{resource}={value}" in train for train in trains)


def test_kubernetes_job_starts_the_profile_beside_it() -> None:
    (container,) = job()["spec"]["template"]["spec"]["containers"]
    words = container["command"]
    assert words[:3] == ["snakemake", "--workflow-profile", "profiles/kubernetes"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert int(container["resources"]["requests"]["cpu"]) == profile("kubernetes")["cores"]


@pytest.mark.workflow
def test_a_killed_pod_s_successor_goes_on_without_unlocking(tmp_path: Path) -> None:
    folder = copy_of_the_project(tmp_path)
    teacher = SUITE["runs"]["teacher_32"]
    short = teacher | {"optimisation": teacher["optimisation"] | {"epochs": 2, "warmup_epochs": 1}}
    (folder / "workflow/suites/small.yaml").write_text(yaml.safe_dump(SUITE | {"runs": {"teacher_32": short}}))
    target = "results/small/teacher_32/seed1/training.json"
    words = (*job()["spec"]["template"]["spec"]["containers"][0]["command"][1:4], "suite=small", "--", target)
    command, null = [sys.executable, "-m", "snakemake", *words], subprocess.DEVNULL
    pod = subprocess.Popen(command, cwd=folder, stdout=null, stderr=null, text=True, start_new_session=True)
    wait_until(pod, lambda: folder.resolve() in trainers().values())
    os.killpg(pod.pid, signal.SIGKILL)
    pod.wait()
    assert not (folder / target).exists()
    successor = snakemake(folder, *words)
    assert successor.returncode == 0, successor.stderr
    assert (folder / target).exists()
