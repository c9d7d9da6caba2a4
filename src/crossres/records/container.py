"""Where jobs run: on the host or in a container image, what that needs and sees of the host, its name."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from crossres.base import CrossresError
from crossres.files import write_atomic

INSIDE = ("CROSSRES_IMAGE", "APPTAINER_CONTAINER", "SINGULARITY_CONTAINER")
"""Variables that the project's image and Apptainer set in a container."""
MOUNTED = {Path("/"), Path("/tmp"), Path("/var/tmp")}
"""What Apptainer shows of the host by itself, and what it cannot show."""

DIGEST = re.compile(r"[0-9a-f]{64}\s")


def is_inside() -> bool:
    """Tell whether this process runs in a container already."""
    return any(os.environ.get(name) for name in INSIDE)


def require(image: str | None) -> None:
    """Check that jobs can run in an image.

    Args:
        image: Path of a SIF or of an unpacked image, or an address such as `docker://...`, which Snakemake pulls.

    Raises:
        CrossresError: When no image is configured, or it or Apptainer is missing.
    """
    without = "or leave out --use-singularity"
    if image is None:
        raise CrossresError(f"container: no image is configured; name one in config/config.yaml, {without}")
    if not (shutil.which("apptainer") or shutil.which("singularity")):
        raise CrossresError(
            "no apptainer or singularity on PATH, which --use-singularity needs; "
            f"install it (https://apptainer.org/docs/admin/main/installation.html), {without}"
        )
    if "://" not in image and not Path(image).exists():
        raise CrossresError(
            f"container: {image}: no such image; make docker/crossres.sif with `make image` (about 13 minutes), "
            f"name another in config/config.yaml, {without}"
        )


def arguments(paths: Iterable[Path | None], gpu: bool) -> list[str]:
    """Return what Apptainer is told besides the image: its arguments, unquoted.

    Args:
        paths: Files and folders that jobs read or write. Apptainer shows the working directory by itself; these are
            shown where they stand, or will stand, outside it, be it through a symbolic link.
        gpu: Show the GPUs and their driver as well.
    """
    here = Path.cwd()
    certificates = os.environ.get("SSL_CERT_FILE")  # those of the host, where it trusts others than the image does
    shown: dict[Path, None] = {}
    for path in (*paths, Path(tempfile.gettempdir()), Path(certificates) if certificates else None):
        for place in (Path(os.path.abspath(path)), path.resolve()) if path else ():
            nearest = next(folder for folder in (place, *place.parents) if folder.exists())
            if nearest not in MOUNTED and not nearest.is_relative_to(here):
                shown[nearest] = None
    return [*(word for place in shown for word in ("--bind", str(place))), *(["--nv"] if gpu else [])]


def digest(image: str | None) -> str | None:
    """Return `sha256:` and the SHA-256 of an image's file; None where there is no such file.

    Hashing 4 GB takes a while, so the digest is kept beside the file, as `sha256sum` writes it.

    Args:
        image: The configured image; inside a container, that container's own is taken instead.
    """
    if is_inside():
        image = next((os.environ[name] for name in INSIDE[1:] if os.environ.get(name)), None)
    if not image or not Path(image).is_file():
        return None
    file = Path(image).resolve()
    kept = file.with_name(f"{file.name}.sha256")
    if kept.is_file() and kept.stat().st_mtime >= file.stat().st_mtime and DIGEST.match(kept.read_text()):
        return f"sha256:{kept.read_text()[:64]}"
    print(f"crossres: {image}: computing its digest, once", file=sys.stderr)
    with open(file, "rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    with contextlib.suppress(CrossresError):  # a folder that only others may write
        write_atomic(kept, f"{found}  {file.name}\n")
    return f"sha256:{found}"


def image_name() -> str | None:
    """Return the name and digest of the image that this process runs in; None outside one.

    The name is the tag that the image was built under. Who started the container hands the digest in: the workflow
    does, and with docker it is `docker run --env CROSSRES_IMAGE_DIGEST=...`.
    """
    if not is_inside():
        return None
    tag = next(os.environ[name] for name in INSIDE if os.environ.get(name))
    given = os.environ.get("CROSSRES_IMAGE_DIGEST")
    return f"{tag}@{given}" if given else tag
