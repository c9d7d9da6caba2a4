"""What a run was computed with: code, versions, device, digests."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import resource
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from crossres.records import container as deployment
from crossres.records.record import Provenance

if TYPE_CHECKING:
    import torch

PACKAGE = Path(__file__).parents[1]
TRAINING_SOURCES = ("training", "suites/methods")
"""Folders whose modules trained bits depend on. A record with another digest was computed by other code."""
SUFFIXES = (".py", ".c")
PACKAGES = ("torch", "torchvision", "timm", "numpy", "safetensors")


def collect(
    device: torch.device,
    precision: str,
    data_sha256: str,
    weights_sha256: str,
    teacher_sha256: str | None,
    imagenet_sha256: str | None = None,
    compiler: str | None = None,
    earlier: Sequence[dict[str, str]] = (),
) -> Provenance:
    """Return the provenance of a run that was computed by this process, on a CPU with code of this compiler."""
    return Provenance(
        commit=commit(),
        sources_sha256=sources_digest(),
        data_sha256=data_sha256,
        weights_sha256=weights_sha256,
        teacher_sha256=teacher_sha256,
        imagenet_sha256=imagenet_sha256,
        device=device_name(device),
        precision=precision,
        versions=versions(device) | ({"compiler": compiler} if compiler else {}),
        image=deployment.image_name(),
        earlier=list(earlier),
    )


def computed_with(device: torch.device, compiler: str | None = None) -> dict[str, str]:
    """Return what the bits of an epoch depend on besides spec, data and teacher."""
    here = {"sources": sources_digest(), "torch": importlib.metadata.version("torch"), "device": device_name(device)}
    return here | ({"compiler": compiler} if compiler else {})


def versions(device: torch.device) -> dict[str, str]:
    """Return the versions of Python and of the packages that compute."""
    found = {"python": platform.python_version()}
    found.update({package: importlib.metadata.version(package) for package in PACKAGES})
    if device.type == "cuda":
        import torch

        found["cuda"] = str(torch.version.cuda)
    return found


def commit(package: Path = PACKAGE) -> str | None:
    """Return the commit of the project, with `+` when tracked files differ from it; None where no repository has it."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(package), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # an archive may be unpacked inside another repository
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("CROSSRES_COMMIT")  # a container may have no git; the workflow sets this


def sources_digest(package: Path = PACKAGE) -> str:
    """Return the SHA-256 over the paths and contents of the modules that trained bits depend on.

    Line ends do not matter: a checkout may have changed them.
    """
    digest = hashlib.sha256()
    found = [path for folder in TRAINING_SOURCES for path in (package / folder).rglob("*") if path.suffix in SUFFIXES]
    for path in sorted(path for path in found if path.name != "commands.py"):  # options of verbs change no bit
        content = path.read_bytes().replace(b"\r\n", b"\n")
        digest.update(f"{path.relative_to(package).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def device_name(device: torch.device) -> str:
    """Return the name of the GPU, or of the processor."""
    if device.type == "cuda":
        import torch

        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def peak_memory_mib(device: torch.device) -> float:
    """Return the peak of the device's memory, or of this process's resident set on a CPU, in MiB."""
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def energy_j(device: torch.device) -> float | None:
    """Return the energy in joules that a GPU has drawn since its driver was loaded; None without such a counter."""
    if device.type != "cuda":
        return None
    try:
        import pynvml
        import torch

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        return pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000
    except Exception:  # no library, no permission or an old GPU: no reason to stop
        return None


def energy_spent(total_j: float | None, before_j: float | None, after_j: float | None) -> float | None:
    """Add the energy between two readings of the counter; None if any is missing."""
    if total_j is None or before_j is None or after_j is None:
        return None
    return total_j + after_j - before_j
