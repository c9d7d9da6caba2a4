"""Data sets made ready: adopted, downloaded or generated, and verified.  Layer L1, but without torch.

Every set lies on disk in CIFAR-100's format (pickles `train`, `test` and `meta`) beside a manifest of digests. A record
holds the manifest's digest, so that no trained bit depends on this module.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import shutil
import sys
import tarfile
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tqdm import tqdm

from crossres import shapes
from crossres.paths import data_dir, data_manifest
from crossres.records import write_atomic, write_json
from crossres.schema import CrossresError

ADDRESS = "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
FOLDER = "cifar-100-python"
FILES = ("train", "test", "meta")
# MD5 digests published with the data set and its archive.
ARCHIVE_MD5 = "eb9058c3a382ffc7106e4002c42a8d85"
CIFAR100_MD5 = {
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    "meta": "7973b15100ade9c7d40fb424638fde48",
}


def prepare(name: str, root: Path, source: str | None) -> Path:
    """Make a data set ready to load, and list its files' digests in a manifest.

    Args:
        name: `cifar100` or `shapes`.
        root: Folder under which each set has its own.
        source: For CIFAR-100, a folder or an archive to adopt it from; downloaded from its official address when None.

    Returns:
        Path of the manifest.

    Raises:
        CrossresError: When a file is missing, cut short or wrong; what was found is kept aside, good files stay.
    """
    folder = data_dir(root, name) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    if name == "shapes":
        for file, content in shapes.files().items():
            write_atomic(folder / file, content)
    elif missing := [file for file in FILES if not _is_official(folder / file, file)]:
        _adopt(missing, Path(source) if source else _download(folder.parent), folder)
    digests = {file: _digest(folder / file, "sha256") for file in FILES}
    manifest = data_manifest(root, name)
    write_json(manifest, {"dataset": name, "sha256": digests})
    return manifest


def _digest(path: Path, algorithm: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _is_official(path: Path, name: str) -> bool:
    return path.is_file() and _digest(path, "md5") == CIFAR100_MD5[name]


def _adopt(names: list[str], source: Path, folder: Path) -> None:
    """Copy files from a folder or an archive, each verified before it takes its place."""
    if not source.exists():
        raise CrossresError(f"{source}: no such folder or archive; `cifar100` in the config names where CIFAR-100 is")
    for name in names:
        part = folder / f"{name}.part"
        try:
            with _opened(source, name) as found, open(part, "wb") as file:
                shutil.copyfileobj(found, file)
        except (OSError, EOFError, KeyError, tarfile.TarError, zlib.error) as error:
            part.unlink(missing_ok=True)
            reason = " ".join(str(error).split())
            raise CrossresError(
                f"{source}: '{name}' could not be copied from it ({reason}); it stays as it is"
            ) from None
        if not _is_official(part, name):
            aside = part.replace(folder / f"{name}.rejected")
            wrong = "is not CIFAR-100's (wrong or cut short, by its MD5)"
            raise CrossresError(f"{source}: '{name}' {wrong}; kept as {aside}")
        part.replace(folder / name)


@contextlib.contextmanager
def _opened(source: Path, name: str) -> Iterator[IO[bytes]]:
    """Open one of the files where it stands in a folder or an archive."""
    if source.is_dir():
        places = (source / name, source / FOLDER / name)
        found = next((path for path in places if path.is_file()), None)
        if found is None:
            raise CrossresError(f"{source}: has no file '{name}', nor {FOLDER}/{name}")
        with open(found, "rb") as file:
            yield file
    else:
        with tarfile.open(source) as archive:
            member = archive.extractfile(f"{FOLDER}/{name}")
            if member is None:
                raise tarfile.ReadError("not a regular file")
            yield member


def _download(folder: Path) -> Path:
    archive = folder / ADDRESS.rsplit("/", 1)[1]
    if archive.is_file() and _digest(archive, "md5") == ARCHIVE_MD5:
        return archive
    part = archive.with_suffix(".part")
    try:
        with urllib.request.urlopen(ADDRESS, timeout=60) as response, open(part, "wb") as file:
            size = int(response.headers.get("Content-Length", 0)) or None
            with tqdm(total=size, unit="B", unit_scale=True, desc="CIFAR-100", disable=not sys.stderr.isatty()) as bar:
                while block := response.read(1 << 20):
                    file.write(block)
                    bar.update(len(block))
    except (OSError, http.client.HTTPException) as error:
        mend = "set `cifar100: FOLDER or ARCHIVE` in the config to adopt a copy"
        raise CrossresError(f"{ADDRESS}: could not be downloaded ({error}); {mend}") from None
    if _digest(part, "md5") != ARCHIVE_MD5:
        aside = part.replace(archive.with_suffix(".rejected"))
        raise CrossresError(f"{ADDRESS}: the download is wrong or cut short, by its MD5; kept as {aside}; try again")
    return part.replace(archive)
