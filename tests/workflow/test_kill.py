"""Training loses no work: `snakemake` killed at random moments ends with the bits of an uninterrupted run."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.project import copy_of_the_project, outcome, trainers

pytestmark = pytest.mark.workflow
KILLS = 24
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
SETTINGS = {"epochs": 60, "batch_size": 32, "warmup_epochs": 2, "patience_epochs": None, "precision": "fp32"}
SUITE: dict[str, Any] = {
    "suite": "small",
    "title": "A suite to be killed",
    "dataset": {"name": "shapes", "train_images": 256, "test_images": 100},
    "seeds": [1],
    "runs": {
        "teacher_32": {
            "model": {"name": "crossres/tiny_student"},
            "objective": {"method": "ce"},
            "optimisation": {**SETTINGS, "epochs": 20},
        },
        "kd_32": {
            "model": {"name": "crossres/tiny_student"},
            "teacher": "teacher_32",
            "teacher_view": {"resolution_px": 32},
            "objective": {"method": "kd"},
            "augmentation": {"auto_augment": "cifar10", "erase_prob": 0.25},
            "optimisation": SETTINGS,
        },
    },
}
RECORDS = [f"results/small/{run}/seed1/record.json" for run in SUITE["runs"]]


def project(folder: Path) -> Path:
    copy_of_the_project(folder)
    (folder / "workflow/suites/small.yaml").write_text(yaml.safe_dump(SUITE))
    return folder


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--quiet", "all", "--config", "suite=small", *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


def await_trainer(process: subprocess.Popen[str], folder: Path) -> int | None:
    """Wait until a run is in training, and return its process; None when Snakemake ends first."""
    while process.poll() is None:
        for trainer, working in trainers().items():
            if working == folder.resolve():
                return trainer
        time.sleep(0.005)
    return None


def await_new_state(process: subprocess.Popen[str], folder: Path) -> None:
    """Wait until some run has written its state once more, so that kills are spaced by epochs on any machine."""

    def states() -> dict[Path, int]:
        found = {}
        for path in folder.glob("results/small/*/seed1/state/*/state-*.pt"):
            with contextlib.suppress(FileNotFoundError):
                found[path] = path.stat().st_mtime_ns
        return found

    before = states()
    while process.poll() is None and not states().items() - before.items():
        time.sleep(0.005)


def kill(process: subprocess.Popen[str], folder: Path, number: int, draw: random.Random) -> str | None:
    """Send a signal to the job or to the whole group, at a random moment: in start-up, in an epoch, or in a write."""
    if await_trainer(process, folder) is None:
        return None
    epochs = draw.randrange(5)
    if epochs == 0:
        time.sleep(draw.uniform(0, 3))
    for _ in range(epochs):
        await_new_state(process, folder)
    time.sleep(draw.uniform(0, 0.15))
    chosen, target = SIGNALS[number % len(SIGNALS)], ("job", "group")[number // len(SIGNALS) % 2]
    while (trainer := await_trainer(process, folder)) is not None:  # by now it may be another run's
        with contextlib.suppress(ProcessLookupError):
            if target == "group":
                os.killpg(process.pid, chosen)
            else:
                os.kill(trainer, chosen)
            return f"{chosen.name} to the {target}"
    return None


def settle(process: subprocess.Popen[str], folder: Path) -> None:
    """Wait for the end, and unlock the folder where Snakemake was killed before it could."""
    _, said = process.communicate(timeout=120)
    if (folder / ".snakemake/locks").is_dir() and any((folder / ".snakemake/locks").iterdir()):
        unlocked = start(folder, "--unlock")
        unlocked.communicate(timeout=60)
    assert "Traceback" not in said, said


def finish(folder: Path) -> None:
    process = start(folder, "--", *RECORDS)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said


def test_killed_runs_end_as_if_nothing_had_happened(tmp_path: Path) -> None:
    whole, killed = project(tmp_path / "whole"), project(tmp_path / "killed")
    finish(whole)
    draw = random.Random(20260)
    kills: list[str] = []
    while len(kills) < KILLS:
        process = start(killed, "--", *RECORDS)
        sent = kill(process, killed, len(kills), draw)
        settle(process, killed)
        if sent is not None:
            kills.append(sent)
        if all((killed / path).is_file() for path in RECORDS):
            break
    finish(killed)

    resumed = [json.loads((killed / path).read_text())["cost"]["resumptions"] for path in RECORDS]
    print(f"{len(kills)} kills, {resumed} resumptions")
    assert outcome(killed, RECORDS) == outcome(whole, RECORDS)
    assert len(kills) >= 20, f"the runs ended after {len(kills)} kills: make them longer"
    assert not list(killed.glob("results/small/*/seed1/state"))
