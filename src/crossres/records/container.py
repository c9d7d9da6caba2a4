"""The container image of the jobs: whether they can run in it, its name and its digest."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from crossres.base import CrossresError
from crossres.files import sha256, write_atomic

INSIDE = ("CROSSRES_IMAGE", "APPTAINER_CONTAINER", "SINGULARITY_CONTAINER")
"""Variables that the project's image and Apptainer set inside a container."""

MOUNTED = {Path("/"), Path("/tmp"), Path("/var/tmp")}
"""Folders of the host that Apptainer shows by itself, or cannot show."""

DIGEST = re.compile(r"[0-9a-f]{64}\s")


def is_inside() -> bool:
    """Return whether this process runs in a container."""
    return any(os.environ.get(name) for name in INSIDE)


def check_image(image: str | None) -> None:
    """Check that jobs can run in an image: a SIF, an unpacked image, or an address that Snakemake pulls.

    Raises:
        CrossresError: When no image is configured, or it or Apptainer is missing, or Snakemake could not name it to a
            shell: it quotes neither the image nor, rightly, the working directory.
    """
    without = "or leave out --use-singularity"
    if image is None:
        raise CrossresError(f"container: no image is configured; name one in config/config.yaml, {without}")
    if not (shutil.which("apptainer") or shutil.which("singularity")):
        raise CrossresError(
            "no apptainer or singularity on PATH, which --use-singularity needs; "
            f"install it (https://apptainer.org/docs/admin/main/installation.html), {without}"
        )
    if shlex.quote(image) != image or "'" in str(Path.cwd()):
        where = f"container: {image}, in {Path.cwd()}"
        raise CrossresError(f"{where}: a name with a character that a shell reads otherwise; rename it, {without}")
    if "://" not in image and not Path(image).exists():
        raise CrossresError(
            f"container: {image}: no such image; make docker/crossres.sif with `make image` (about 13 minutes), "
            f"name another in config/config.yaml, {without}"
        )


def binds(paths: Iterable[Path | None]) -> list[str]:
    """Return Apptainer's arguments that show the files and folders which jobs read or write.

    Apptainer shows the working directory by itself. Paths outside it are shown where they are, or will be, also where
    they are reached through a symbolic link.
    """
    here = Path.cwd()
    certificates = os.environ.get("SSL_CERT_FILE")  # the host may trust others than the image does
    shown: dict[Path, None] = {}
    for path in (*paths, Path(tempfile.gettempdir()), Path(certificates) if certificates else None):
        for place in (Path(os.path.abspath(path)), path.resolve()) if path else ():
            existing = next(folder for folder in (place, *place.parents) if folder.exists())
            if existing not in MOUNTED and not existing.is_relative_to(here):
                shown[existing] = None
    return [word for place in shown for word in ("--bind", str(place))]


def digest(image: str | None) -> str | None:
    """Return `sha256:` and the SHA-256 of an image's file; None where there is no such file.

    The digest of 4 GB takes a while, so it is kept beside the file, in the format of `sha256sum`.

    Args:
        image: The configured image. Inside a container, that container's image is taken instead.
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
    found = sha256(file)
    with contextlib.suppress(CrossresError):  # the folder may be read-only
        write_atomic(kept, f"{found}  {file.name}\n")
    return f"sha256:{found}"


def image_name() -> str | None:
    """Return the tag, or the file's name, and the digest of the image that this process runs in; None outside one.

    The digest has to be given in the environment. The workflow does so; with Docker, it takes
    `docker run --env CROSSRES_IMAGE_DIGEST=...`.
    """
    if not is_inside():
        return None
    tag = os.environ.get(INSIDE[0]) or next(Path(os.environ[name]).name for name in INSIDE if os.environ.get(name))
    given = os.environ.get("CROSSRES_IMAGE_DIGEST")
    return f"{tag}@{given}" if given else tag
