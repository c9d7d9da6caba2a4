"""The GPU that a job takes, and what it says of one that it cannot use."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

from crossres import gpus
from crossres.__main__ import main
from crossres.base import CrossresError
from crossres.training.device import use_device

JOB = """
import os, sys
from crossres.gpus import take_gpu
take_gpu()
assert "torch" not in sys.modules
print(os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
sys.stdin.read()
"""


class Jobs:
    """Processes that take a GPU each, of a pretended list, and keep it."""

    def __init__(self, names: str, folder: Path) -> None:
        source = str(Path(gpus.__file__).parents[1])
        given = {"CUDA_VISIBLE_DEVICES": names, "TMPDIR": str(folder), "PYTHONPATH": source}
        self.environment = {**os.environ, **given}
        self.running: list[subprocess.Popen[str]] = []

    def start(self, count: int) -> list[str]:
        command, pipe = [sys.executable, "-c", JOB], subprocess.PIPE
        started = [
            subprocess.Popen(command, env=self.environment, stdin=pipe, stdout=pipe, text=True) for _ in range(count)
        ]
        self.running += started
        return [job.stdout.readline().strip() for job in started if job.stdout]

    def kill(self) -> None:
        for job in self.running:
            job.send_signal(signal.SIGKILL)
            job.communicate()
        self.running.clear()


@pytest.mark.parametrize("names", ["0,1,2,3", "GPU-3a, MIG-5b,MIG-GPU-1c/2/0,7"])
def test_jobs_spread_evenly_over_the_gpus_and_a_killed_one_frees_its_own(names: str, tmp_path: Path) -> None:
    jobs, known = Jobs(names, tmp_path), [name.strip() for name in names.split(",")]
    try:
        assert Counter(jobs.start(20)) == dict.fromkeys(known, 5)
        jobs.kill()
        assert sorted(jobs.start(4)) == sorted(known)
    finally:
        jobs.kill()


@pytest.mark.parametrize("names", [None, "", "2", "MIG-5b"])
def test_one_gpu_or_none_leaves_no_choice(names: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv(gpus.VISIBLE, raising=False)
    if names is not None:
        monkeypatch.setenv(gpus.VISIBLE, names)
    gpus.take_gpu()
    assert os.environ.get(gpus.VISIBLE) == names
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here, and torch can use it")
@pytest.mark.parametrize("device", ["cuda", "auto"])
def test_a_device_that_torch_cannot_use_is_no_reason_to_use_the_cpu(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crossres.training.device.cuda_devices", lambda: 1)
    with pytest.raises(CrossresError, match=r"no CUDA device can be used: .*(driver|CUDA).*; or use --device cpu"):
        use_device(device, threads=1)
    assert use_device("cpu", threads=1).type == "cpu"


SAME_BLOCK = """
import resource, torch
from crossres.training.device import use_device
use_device("cpu", threads=1)
for _ in range(10):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_on_a_cpu_freed_memory_is_used_again() -> None:
    done = subprocess.run([sys.executable, "-c", SAME_BLOCK], capture_output=True, text=True, check=True)
    first, *others = map(int, done.stdout.split())
    assert sum(others) < 3 * first, "the kernel gave the same memory page by page again and again"


def test_other_makers_gpus_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.version.hip", "7.1")
    with pytest.raises(CrossresError, match="ROCm"):
        use_device("cuda", threads=1)
    monkeypatch.setattr("torch.version.hip", None)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    with pytest.raises(CrossresError, match="MPS"):
        use_device("cuda", threads=1)


@pytest.mark.parametrize(
    ("error", "fix"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore"), "runs_per_gpu"),
        (torch.AcceleratorError("CUDA error: no kernel image is available for execution on the device\n"), "README"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "--no-cuda-graph"),
    ],
)
def test_an_error_of_cuda_is_one_line_with_the_fix(
    error: RuntimeError, fix: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr("crossres.__main__.build_app", lambda load: lambda *_, **__: fail())
    assert main(["train"]) == 1
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and fix in line and str(error).splitlines()[0].rstrip(".") in line
    assert gpus.cuda_failure(RuntimeError("shapes do not match")) is None
