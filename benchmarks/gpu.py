"""What only a GPU can answer: images/s in each mode, the hours of `paper`, and what several runs on one GPU gain."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from benchmarks import ratios
from benchmarks.measure import interleaved
from crossres import files
from crossres.suites.suite import load_suite
from crossres.tools import plan
from crossres.training.device import use_device

SHARED = ("timm/tf_efficientnet_lite0", 128)
"""Network and batch size of the runs that share a GPU: those of suite `lite`."""


def throughput(setting: ratios.Setting) -> dict[str, Any]:
    """Return images/s of training steps (eager; as one graph, by precision), of forward passes and of the stream."""
    found = {}
    for name, size_px in ((setting.student, 32), (setting.teacher, 32), (setting.teacher, 64)):
        chosen, batch = setting._replace(student=name), ratios._batch(setting, size_px)
        logits = torch.randn(setting.batch_size, ratios.CLASSES, device=setting.device)
        eager, stream = chosen.step(None), ratios.endless(chosen.stream())
        candidates = {
            f"{setting.precision}, eager": lambda eager=eager, batch=batch, logits=logits: eager(batch, logits),
            "forward pass alone": ratios._forward(chosen, name, size_px),
            "stream": lambda stream=stream: next(stream),
        }
        for precision in ("fp32", "fp16", "bf16") if setting.device.type == "cuda" else ("fp32",):
            candidates[f"{precision}, one graph"] = ratios._training(chosen._replace(precision=precision), size_px)
        medians = interleaved(candidates, setting.device, setting.rounds, f"{name} at {size_px} px")
        found[f"{name}@{size_px}"] = {key: setting.batch_size / value for key, value in medians.items()}
    return found


def hours(points: list[dict[str, Any]], device: str) -> dict[str, float]:
    """Return the hours of the suite `paper` by the points just measured, by the mode of the teacher's logits."""
    measured = [(plan.Work(point["flops"], point["launches"]), point["seconds"]) for point in points]
    machine, suite = plan.fit_machine(device, "this run", measured), load_suite(files.suite_file("paper"))
    specs = [suite.resolve(run, seed) for run, seed in suite.jobs()]
    return {mode: plan.make_plan(specs, mode, machine, cuda=True).hours for mode in ("live", "auto")}  # type: ignore[arg-type]


def sharing(setting: ratios.Setting) -> dict[str, float]:
    """Return the images/s of 1, 4 and 16 runs of suite `lite` on one GPU, all together: taking turns, and under MPS."""
    counts = [count for count in (1, 4, 16) if count <= (os.cpu_count() or 1)]
    found = {f"{count} runs": _together(count, setting.device.type) for count in counts}
    if shutil.which("nvidia-cuda-mps-control"):
        with _mps():
            found |= {f"{count} runs, MPS": _together(count, setting.device.type) for count in counts[1:]}
    return found


@contextmanager
def _mps() -> Iterator[None]:
    """Run NVIDIA's MPS, found by the processes that are started meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(CUDA_MPS_PIPE_DIRECTORY=folder, CUDA_MPS_LOG_DIRECTORY=folder)
        subprocess.run(["nvidia-cuda-mps-control", "-d"], check=True)
        try:
            yield
        finally:
            subprocess.run(["nvidia-cuda-mps-control"], input="quit\n", text=True, check=False)
            del os.environ["CUDA_MPS_PIPE_DIRECTORY"], os.environ["CUDA_MPS_LOG_DIRECTORY"]


def _together(count: int, device: str) -> float:
    """Start that many processes, let them begin at once, and return the sum of their images/s."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", device]
    runs = [subprocess.Popen(command, stdin=-1, stdout=-1, text=True) for _ in range(count)]
    for run in runs:
        assert run.stdout is not None
        if run.stdout.readline() != "ready\n":
            raise SystemExit("benchmarks: one of the runs that share the GPU ended; its error stands above")
    for run in runs:
        assert run.stdin is not None
        run.stdin.write("go\n")
        run.stdin.flush()
    return sum(float(run.communicate()[0]) for run in runs)


def main() -> None:
    """Be one of several processes: train when told to, for some seconds, and print images/s."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description="One of the runs that share a GPU.")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--seconds", type=float, default=4.0, metavar="N")
    args = parser.parse_args()
    student, batch_size = SHARED
    device = use_device(args.device, threads=1)
    setting = ratios.Setting(device, "fp32", student, student, batch_size, rounds=1, workers=0)
    step, stream = setting.step(None, capture=True), ratios.endless(setting.stream())
    logits = torch.randn(batch_size, ratios.CLASSES, device=device)

    def train(seconds: float, steps: int) -> int:
        started, taken = time.perf_counter(), 0
        while taken < steps or time.perf_counter() - started < seconds:
            step(next(stream), logits)
            taken += 1
            if taken % 10 == 0 and device.type == "cuda":
                torch.cuda.synchronize(device)
        return taken

    train(0, 10)
    print("ready", flush=True)
    sys.stdin.readline()
    started = time.perf_counter()
    taken = train(args.seconds, 1)
    print(taken * batch_size / (time.perf_counter() - started))


if __name__ == "__main__":
    main()
