"""A copy of the project to run the workflow in, as a fresh clone has it."""

from __future__ import annotations

import json
import os
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
