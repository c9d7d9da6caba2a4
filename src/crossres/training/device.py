"""The device that a job computes on."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from crossres.base import CrossresError

if TYPE_CHECKING:
    import torch


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


def use_device(name: str, threads: int) -> torch.device:
    """Return the device of a job, and make its computations reproducible.

    Args:
        name: `cuda`, `cpu`, or `auto`: CUDA if there is a device.
        threads: CPU threads; their number changes trained bits.

    Raises:
        CrossresError: When CUDA is requested and there is no device.
    """
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise CrossresError("no CUDA device is visible; run with `--device cpu`, or on a machine that has one")
    torch.set_num_threads(threads)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return the context in which networks run: none for `fp32`, else autocast to `bf16` or `fp16`."""
    import torch

    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype, enabled=precision != "fp32")
