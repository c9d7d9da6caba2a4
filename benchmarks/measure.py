"""How things are timed here: interleaved, medians, and never alone."""

from __future__ import annotations

import platform
import resource
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from crossres.records import provenance

UNTIMED = 5
Candidates = Mapping[str, Callable[[], object]]


def seconds(function: Callable[[], object], device: torch.device, clock: bool = False) -> float:
    """Return what one call takes: processor time of this process on a CPU, wall-clock time on a GPU or if asked for."""
    now = time.perf_counter if clock or device.type == "cuda" else time.process_time
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = now()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return now() - started


def interleaved(
    candidates: Candidates, device: torch.device, rounds: int, progress: str = "", clock: bool = False
) -> dict[str, float]:
    """Time candidates in turn, round after round, so that a slow minute of the machine meets all of them.

    Args:
        candidates: What to call, by name.
        device: Where they compute.
        rounds: How often each is timed; each is called before, untimed: once, or until a step is captured as a graph.
        progress: What to print while it goes on.
        clock: Whether to take wall-clock time on a CPU too.

    Returns:
        Median seconds of a call, by name.
    """
    for function in candidates.values():
        for _ in range(UNTIMED if device.type == "cuda" else 1):
            function()
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(rounds):
        for name, function in candidates.items():
            times[name].append(seconds(function, device, clock))
        print(f"\r{progress}: round {number + 1}/{rounds}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return {name: statistics.median(values) for name, values in times.items()}


def peak_memory_mib(words: list[str]) -> float:
    """Return the peak resident set of a command and what it starts, in MiB."""
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], check=True, capture_output=True, text=True)
    return float(done.stdout)


def child_seconds(words: list[str]) -> float:
    """Return the processor time of a command and what it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def header(device: torch.device) -> dict[str, Any]:
    """Return what a result file says of its origin."""
    return {
        "device": provenance.device_name(device),
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        "versions": provenance.versions(device),
        "commit": provenance.commit(),
        "sources_sha256": provenance.sources_digest(),
        "command": "python -m " + shlex.join(["benchmarks", *sys.argv[1:]]),
    }
