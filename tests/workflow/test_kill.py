"""Nothing is lost: the workflow, killed at random moments, ends with the bits of an uninterrupted run.

`make test-kill` runs it with more kills, and prints how many there were during which verb.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from crossres.files import PREVIOUS_CHECKPOINT
from tests.project import copy_of_the_project, jobs, outcome

pytestmark = pytest.mark.workflow
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
WHAT = ("job", "snakemake", "all")
SETTINGS = {"epochs": 12, "batch_size": 32, "warmup_epochs": 2, "patience_epochs": None, "precision": "fp32"}
NETWORK = {"name": "crossres/tiny_student"}
STUDENT = {
    "model": NETWORK,
    "teacher": "teacher_32",
    "teacher_view": {"resolution_px": 32},
    "augmentation": {"auto_augment": "cifar10", "erase_prob": 0.25},
    "optimisation": SETTINGS,
}
SUITE: dict[str, Any] = {
    "suite": "small",
    "title": "A suite to be killed",
    "dataset": {"name": "shapes", "train_images": 256, "test_images": 100},
    "seeds": [1],
    "runs": {
        "teacher_32": {"model": NETWORK, "objective": {"method": "ce"}, "optimisation": SETTINGS},
        "kd_32": {**STUDENT, "objective": {"method": "kd"}},
        "dkd_32": {**STUDENT, "objective": {"method": "dkd"}},  # reads the same stored pass
    },
}
RECORDS = [f"results/small/{run}/seed1/record.json" for run in SUITE["runs"]]
TARGETS = [*RECORDS, "results/small/claims.json", "results/small/tables/results_summary.csv"]


@dataclass
class Trial:
    """A copy of the project in which the suite runs, and what was done to it."""

    folder: Path
    kills: Counter[str] = field(default_factory=Counter)
    """By the verb that was running; `snakemake` before and between the jobs."""
    power_losses: int = 0
    false_successes: int = 0

    def start(self) -> subprocess.Popen[bytes]:
        """Start Snakemake in a group of its own. It writes to a file, since an orphan would hold a pipe open."""
        command = [sys.executable, "-m", "snakemake", "--cores", "1", "--quiet", "all", "--config", "suite=small"]
        with open(self.folder / "said.txt", "wb") as said:
            command += ["--", *TARGETS]
            nothing = subprocess.DEVNULL
            return subprocess.Popen(command, cwd=self.folder, stdout=nothing, stderr=said, start_new_session=True)

    def finish(self) -> float:
        """Run the workflow to its end, and return the seconds it took; orphans of killed ones end as well."""
        began = time.monotonic()
        assert self.start().wait(timeout=1800) == 0, self.said
        took_s = time.monotonic() - began
        self.await_orphans()
        return took_s

    def await_orphans(self) -> None:
        while self.job()[0] is not None:
            time.sleep(0.02)

    @property
    def said(self) -> str:
        return (self.folder / "said.txt").read_text()

    def job(self) -> tuple[int | None, str]:
        """Return the process and the verb of a job that runs here."""
        found = ((process, verb) for process, (verb, where) in jobs().items() if where == self.folder.resolve())
        return next(found, (None, "snakemake"))

    def await_moment(self, process: subprocess.Popen[bytes], draw: random.Random, whole_s: float) -> None:
        """Wait for a random moment: in Snakemake's start, after the start of a job or after some epochs of training."""
        if draw.random() < 0.85:
            wait_until(process, lambda: self.job()[0] is not None)
        while draw.random() < 0.3:
            job = self.job()
            wait_until(process, lambda: self.job() not in (job, (None, "snakemake")))  # noqa: B023
        for _ in range(draw.randrange(4)):
            before = self.states()
            wait_until(process, lambda: self.job()[1] != "train" or self.states() != before)  # noqa: B023
        wait_until(process, lambda: False, draw.expovariate(40 / whole_s))

    def states(self) -> set[str]:
        return {path.name for path in self.folder.glob("results/small/*/seed1/state/*/state-*.pt")}

    def kill(self, process: subprocess.Popen[bytes], draw: random.Random, whole_s: float) -> bool:
        """Send a signal to the job, to Snakemake or to all at a random moment; False when Snakemake ends first."""
        self.await_moment(process, draw, whole_s)
        chosen, what, (job, verb) = draw.choice(SIGNALS), draw.choice(WHAT), self.job()
        if process.poll() is not None:
            return False
        with contextlib.suppress(ProcessLookupError):
            if what == "job" and job is not None:
                os.kill(job, chosen)
            elif what == "snakemake":
                os.kill(process.pid, chosen)
            else:
                os.killpg(process.pid, chosen)
        self.kills[verb] += 1
        print(f"{self.kills.total()}. {chosen.name} to {what} during {verb}", flush=True)
        process.wait(timeout=900)
        if what == "all" and chosen is signal.SIGKILL:
            self.lose_power(draw)
        return True

    def lose_power(self, draw: random.Random) -> None:
        """End what an earlier Snakemake left, and cut the newest file of a run, or of its state once that has two."""
        for process, (_, where) in jobs().items():
            if where == self.folder.resolve():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        self.await_orphans()
        runs = self.folder / "results/small"
        states = [path for path in runs.glob("*/seed1/state/*") if (path / PREVIOUS_CHECKPOINT).is_file()]
        found = [*runs.glob("*/seed1/*.json"), *runs.glob("*/seed1/*.safetensors")]
        found += [path for state in states for path in state.iterdir()]
        newest = max(found, key=lambda path: path.stat().st_mtime_ns, default=None)
        if newest and newest.stat().st_size:
            os.truncate(newest, draw.randrange(newest.stat().st_size))
            self.power_losses += 1

    def settle(self, process: subprocess.Popen[bytes], whole: Trial) -> bool:
        """Return whether Snakemake reports success; a killed one leaves a lock, which `snakemake --unlock` removes."""
        shutil.rmtree(self.folder / ".snakemake/locks", ignore_errors=True)
        if process.returncode:
            return False
        missing = [path for path in TARGETS if not (self.folder / path).is_file()]
        self.false_successes += bool(missing) or outcome(self.folder, RECORDS) != outcome(whole.folder, RECORDS)
        return True

    def forget(self) -> None:
        """Return to a fresh clone."""
        for name in ("results/small", "data/shapes", ".snakemake"):
            shutil.rmtree(self.folder / name, ignore_errors=True)


def wait_until(process: subprocess.Popen[bytes], is_so: Callable[[], bool], limit_s: float = 900) -> None:
    end = time.monotonic() + limit_s
    while process.poll() is None and time.monotonic() < end and not is_so():
        time.sleep(0.02)


def trial(folder: Path) -> Trial:
    copy_of_the_project(folder)
    (folder / "workflow/suites/small.yaml").write_text(yaml.safe_dump(SUITE))
    return Trial(folder)


def test_killed_runs_end_as_if_nothing_had_happened(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    wanted = request.config.getoption("--kills")
    whole, killed = trial(tmp_path / "whole"), trial(tmp_path / "killed")
    whole_s = whole.finish()  # on a machine that is twice as fast, kills come twice as early
    draw, rounds, differences = random.Random(20260), 0, 0
    while killed.kills.total() < wanted or rounds == 0:
        rounds += 1
        is_done = False
        while not is_done and killed.kills.total() < wanted:
            process = killed.start()
            was_killed = killed.kill(process, draw, whole_s)
            is_done = killed.settle(process, whole)
            assert was_killed or is_done, killed.said
        killed.finish()
        differences += outcome(killed.folder, RECORDS) != outcome(whole.folder, RECORDS)
        print(f"run {rounds} of the workflow has ended: {differences} differences so far", flush=True)
        assert not list(killed.folder.glob("results/small/*/seed1/state"))
        killed.forget()

    during = ", ".join(f"{count} during {verb}" for verb, count in killed.kills.most_common())
    print(f"{killed.kills.total()} kills in {rounds} runs of the workflow ({during})")
    print(f"{killed.power_losses} of them cut the newest file, as a power loss may")
    print(f"{differences} differences, {killed.false_successes} false successes")
    assert (differences, killed.false_successes) == (0, 0)
