"""The device that a job computes on."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from crossres.base import CrossresError
from crossres.gpus import cuda_devices, take_gpu

if TYPE_CHECKING:
    import torch


def use_device(name: str, threads: int) -> torch.device:
    """Return the device of a job, and make its computations reproducible.

    Args:
        name: `cuda`, `cpu`, or `auto`: CUDA if the driver shows a device, even one that torch cannot use.
        threads: CPU threads; their number changes trained bits.

    Raises:
        CrossresError: When the device is CUDA and torch cannot compute on it, with torch's reason.
    """
    if name != "cpu":
        take_gpu()
    on_cuda = name == "cuda" or (name == "auto" and cuda_devices() > 0)
    import torch

    if on_cuda and (reason := _why_not_cuda()):
        raise CrossresError(
            f"no CUDA device can be used: {reason}; README.md names what is needed; or use --device cpu"
        )
    if not on_cuda:
        _keep_freed_memory()
    torch.set_num_threads(threads)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda" if on_cuda else "cpu")


M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Parameters of mallopt(3)."""


def _keep_freed_memory() -> None:
    """Make the C library keep what a training step frees for the next step.

    By default glibc returns large blocks to the kernel, which clears every page before it gives it out again.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def _why_not_cuda() -> str | None:
    """Compute a number on the device; return why that fails, if it does."""
    import torch

    if torch.version.hip:
        return "this torch is one for AMD (ROCm), which is not supported"
    if torch.backends.mps.is_available():
        return "Apple's GPUs (MPS) are not supported"
    try:
        torch.ones(1, device="cuda").item()
    except (RuntimeError, AssertionError) as error:  # the latter for a torch without CUDA
        return str(error).splitlines()[0].rstrip(".")
    return None


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return the context in which networks run: none for `fp32`, else autocast to `bf16` or `fp16`."""
    import torch

    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype, enabled=precision != "fp32")


def allow_tf32(allowed: bool) -> None:
    """Decide whether CUDA convolutions in fp32 may round their factors to TF32, as PyTorch does by default."""
    import torch

    torch.backends.cudnn.allow_tf32 = allowed
