"""CIFAR-100 and CIFAR-10 as they were published: their files and digests, adopted or downloaded."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import shutil
import sys
import tarfile
import urllib.request
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, NamedTuple

from tqdm import tqdm

from crossres.base import CrossresError
from crossres.suites.spec import DATASETS, DatasetName


class Official(NamedTuple):
    """A data set as its authors serve it."""

    name: DatasetName
    """Also the key of the configuration that says where to adopt it from."""
    address: str
    archive_md5: str
    folder: str
    """Its folder in the archive."""
    md5: Mapping[str, str]
    """The published digest of each file."""

    @property
    def title(self) -> str:
        return DATASETS[self.name].title


OFFICIAL: dict[str, Official] = {
    "cifar100": Official(
        "cifar100",
        "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        "eb9058c3a382ffc7106e4002c42a8d85",
        "cifar-100-python",
        {
            "train": "16019d7e3df5f24257cddd939b257f8d",
            "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
            "meta": "7973b15100ade9c7d40fb424638fde48",
        },
    ),
    "cifar10": Official(
        "cifar10",
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        "c58f30108f718f92721af3b95e74349a",
        "cifar-10-batches-py",
        {
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
            "test_batch": "40351d587109b95175f43aff81a1287e",
            "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
        },
    ),
}
"""The digests are those that torchvision holds the files to, too (`torchvision/datasets/cifar.py`)."""


def fetch(official: Official, source: Path | None, folder: Path) -> None:
    """Put the files of a data set into a folder, each verified before it takes its place.

    Args:
        official: The data set.
        source: A folder or an archive to adopt it from; downloaded from its official address when None.
        folder: Where its files go; good ones that are there stay.

    Raises:
        CrossresError: When a file is missing, cut short or wrong; what was found is kept aside.
    """
    missing = [file for file in official.md5 if not _is_official(official, folder / file, file)]
    if missing:
        _adopt(official, missing, source or _download(official, folder.parent), folder)


def digest(path: Path, algorithm: str) -> str:
    """Return the digest of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _is_official(official: Official, path: Path, name: str) -> bool:
    return path.is_file() and digest(path, "md5") == official.md5[name]


def _adopt(official: Official, names: list[str], source: Path, folder: Path) -> None:
    """Copy files from a folder or an archive."""
    title = official.title
    if not source.exists():
        where = f"`{official.name}` in the config names where {title} is"
        raise CrossresError(f"{source}: no such folder or archive; {where}")
    for name in names:
        part = folder / f"{name}.part"
        try:
            with _opened(official, source, name) as found, open(part, "wb") as file:
                shutil.copyfileobj(found, file)
        except (OSError, EOFError, KeyError, tarfile.TarError, zlib.error) as error:
            part.unlink(missing_ok=True)
            reason = " ".join(str(error).split())
            raise CrossresError(
                f"{source}: '{name}' could not be copied from it ({reason}); it stays as it is"
            ) from None
        if not _is_official(official, part, name):
            aside = part.replace(folder / f"{name}.rejected")
            wrong = f"is not {title}'s (wrong or cut short, by its MD5)"
            raise CrossresError(f"{source}: '{name}' {wrong}; kept as {aside}")
        part.replace(folder / name)


@contextlib.contextmanager
def _opened(official: Official, source: Path, name: str) -> Iterator[IO[bytes]]:
    """Open one of the files where it stands in a folder or an archive."""
    if source.is_dir():
        places = (source / name, source / official.folder / name)
        found = next((path for path in places if path.is_file()), None)
        if found is None:
            raise CrossresError(f"{source}: has no file '{name}', nor {official.folder}/{name}")
        with open(found, "rb") as file:
            yield file
    else:
        with tarfile.open(source) as archive:
            member = archive.extractfile(f"{official.folder}/{name}")
            if member is None:
                raise tarfile.ReadError("not a regular file")
            yield member


def _download(official: Official, folder: Path) -> Path:
    address = official.address
    archive = folder / address.rsplit("/", 1)[1]
    if archive.is_file() and digest(archive, "md5") == official.archive_md5:
        return archive
    part = archive.with_suffix(".part")
    try:
        with urllib.request.urlopen(address, timeout=60) as response, open(part, "wb") as file:
            size = int(response.headers.get("Content-Length", 0)) or None
            quiet = not sys.stderr.isatty()
            with tqdm(total=size, unit="B", unit_scale=True, desc=official.title, disable=quiet) as bar:
                while block := response.read(1 << 20):
                    file.write(block)
                    bar.update(len(block))
    except (OSError, http.client.HTTPException) as error:
        mend = f"set `{official.name}: FOLDER or ARCHIVE` in the config to adopt a copy"
        raise CrossresError(f"{address}: could not be downloaded ({error}); {mend}") from None
    if digest(part, "md5") != official.archive_md5:
        aside = part.replace(archive.with_suffix(".rejected"))
        raise CrossresError(f"{address}: the download is wrong or cut short, by its MD5; kept as {aside}; try again")
    return part.replace(archive)
