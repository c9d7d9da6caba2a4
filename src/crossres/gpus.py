"""The GPUs of this machine: how many there are, which of them a job takes, and what their errors ask for.

Nothing here imports torch: a job chooses its GPU before CUDA starts, which later ignores `CUDA_VISIBLE_DEVICES`.
"""

from __future__ import annotations

import ctypes
import fcntl
import itertools
import os
import tempfile
from pathlib import Path
from urllib.parse import quote

VISIBLE = "CUDA_VISIBLE_DEVICES"
RUNS_PER_GPU = "CROSSRES_RUNS_PER_GPU"


def cuda_devices() -> int:
    """Return the number of CUDA devices that the driver shows, without importing torch."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def visible_gpus() -> list[str]:
    """Return the names of the GPUs that may be used, as `CUDA_VISIBLE_DEVICES` has them, or would have them."""
    count = cuda_devices()  # of several MIG devices, the driver shows one
    return _named() or [str(number) for number in range(count)] if count else []


def _named() -> list[str]:
    return [name.strip() for name in os.environ.get(VISIBLE, "").split(",") if name.strip()]


def runs_per_gpu() -> int:
    """Return how many runs may share a GPU, as the workflow says."""
    return int(os.environ.get(RUNS_PER_GPU, "1"))


def take_gpu() -> None:
    """Make the least used of several visible GPUs the only one, until this process ends.

    A GPU has numbered places. A job holds the lock of one, which the kernel releases however the job ends, and takes no
    second place while a first one is free: K jobs on N GPUs are at most ⌈K / N⌉ on each.
    """
    if len(names := _named()) < 2:
        return
    folder = Path(tempfile.gettempdir()) / f"crossres-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    for place, name in itertools.product(range(1, 1000), names):
        lock = os.open(folder / f"{quote(name, safe='')}.{place}", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        except OSError:  # a file system without locks
            return
        os.environ[VISIBLE] = name
        return


def cuda_failure(error: RuntimeError) -> str | None:
    """Return the one line for an error of CUDA, with what can be done; None for any other error."""
    kind, reason = type(error).__name__, (str(error).splitlines() or [""])[0]
    if kind == "OutOfMemoryError":
        fix = "lower runs_per_gpu or the batch size (crossres plan estimates the memory of each run), or free the GPU"
    elif "no kernel image" in reason:
        fix = "this GPU is older than this torch computes on; README.md names what is needed; or use --device cpu"
    elif kind == "AcceleratorError" or "CUDA" in reason or "cuDNN" in reason or "CUBLAS" in reason:
        fix = "run it again; if it recurs, try --no-cuda-graph, another GPU or driver (README.md names what is needed)"
    else:
        return None
    return f"{reason.rstrip('.')}; {fix}"
