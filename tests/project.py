"""A copy of the project to run the workflow in, as a fresh clone has it, and what a run of it shows."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def copy_of_the_project(folder: Path) -> Path:
    """Copy what git knows or would add, as a fresh clone has it."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True)
    for name in filter(None, listed.stdout.split("\0")):
        if Path(name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(name, target)
    return folder


def snakemake(folder: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", *words]
    return subprocess.run(command, cwd=folder, env={**os.environ, **env}, capture_output=True, text=True, check=False)


def planned(folder: Path, *words: str) -> dict[str, int]:
    """Return how many jobs of each rule would run."""
    done = snakemake(folder, "-n", *words)
    assert done.returncode == 0, done.stderr
    return job_counts(done.stdout + done.stderr)


def job_counts(output: str) -> dict[str, int]:
    """Read the table of jobs that Snakemake prints."""
    table = output.split("Job stats:")[1].split("\ntotal ")[0]
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}


def jobs() -> dict[int, tuple[str, Path]]:
    """Return the processes of `crossres` on this machine, each with its verb and its working directory."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if words[1:3] == ["-m", "crossres"]:
                found[int(entry.name)] = (words[3], Path(os.readlink(entry / "cwd")))
    return found


def trainers() -> dict[int, Path]:
    """Return the processes of `crossres train`, each with its working directory."""
    return {process: folder for process, (verb, folder) in jobs().items() if verb == "train"}


def outcome(folder: Path, records: Iterable[str]) -> dict[str, Any]:
    """Everything of some runs that must not depend on when they were interrupted, or on who started them."""
    found: dict[str, Any] = {}
    for path in records:
        record = json.loads((folder / path).read_text())
        cost = record.pop("cost")
        found[path] = {**record, "parameters": cost["parameters"]}
        found[f"epochs timed in {path}"] = len(cost["epoch_s"])
        for name in ("weights", "last"):
            weights = (folder / path).with_name(f"{name}.safetensors")
            found[str(weights.relative_to(folder))] = weights.read_bytes()
    return found
