"""Data sets: fetched or generated, verified, and resident on the device as uint8.  Layer L1.

Every set lies on disk in CIFAR-100's format (pickles `train`, `test` and `meta`) beside a manifest of digests; nothing
is unpickled before its digest is checked.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import io
import pickle
import shutil
import sys
import tarfile
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from crossres import shapes
from crossres.augment import resize
from crossres.paths import data_dir, data_manifest
from crossres.records import read_json, write_atomic, write_json
from crossres.schema import CrossresError
from crossres.spec import Dataset, View

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


class Split(NamedTuple):
    """Images and their classes, resident on one device."""

    images: Tensor
    """uint8 `[M, 3, S, S]`."""
    labels: Tensor
    """int64 `[M]`."""


class Images(NamedTuple):
    """A data set as one run sees it."""

    train: Split
    validation: Split
    """Empty unless the spec holds images out."""
    test: Split
    digest: str
    """SHA-256 of the manifest: which files these images came from."""


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


def load(dataset: Dataset, view: View, root: Path, device: torch.device) -> Images:
    """Load a data set onto a device, in the size of a run's own view.

    Args:
        dataset: Which set, and how many of its images.
        view: `native`, or `resized`: bilinear and antialiased, before any augmentation.
        root: Folder under which each set has its own.
        device: Where the images are to live.

    Returns:
        Training, validation and test images.

    Raises:
        CrossresError: When a file is missing or differs from the manifest.
    """
    manifest = read_json(data_manifest(root, dataset.name))
    folder = data_dir(root, dataset.name) / FOLDER
    train = _split(_verified(folder / "train", manifest["sha256"]["train"]), dataset.train_images)
    test = _split(_verified(folder / "test", manifest["sha256"]["test"]), dataset.test_images)
    held_out = _first_of_each_class(train.labels, dataset.validation_images)
    kept = np.setdiff1d(np.arange(len(train.labels)), held_out)
    validation = Split(train.images[held_out], train.labels[held_out])
    train = Split(train.images[kept], train.labels[kept])
    digest = hashlib.sha256(repr(sorted(manifest["sha256"].items())).encode()).hexdigest()
    train, validation, test = (_resident(split, view, device) for split in (train, validation, test))
    return Images(train, validation, test, digest)


def class_names(dataset: Dataset, root: Path) -> list[str]:
    """Return the name of each class of a prepared data set, in the order of their numbers."""
    manifest = read_json(data_manifest(root, dataset.name))
    return _verified(data_dir(root, dataset.name) / FOLDER / "meta", manifest["sha256"]["meta"])["fine_label_names"]


def _resident(split: Split, view: View, device: torch.device) -> Split:
    images, size_px = split.images, view.resolution_px
    if view.kind == "resized" and len(images):
        images = resize(images, size_px)
    if len(images) and images.shape[-1] != size_px:
        raise CrossresError(f"view.resolution_px {size_px}: the images are {images.shape[-1]} px; use kind: resized")
    return Split(images.to(device), split.labels.to(device))


def _split(document: dict[str, Any], count: int | None) -> Split:
    images = torch.from_numpy(np.asarray(document["data"]).reshape(-1, 3, 32, 32))
    labels = torch.tensor(document["fine_labels"], dtype=torch.int64)
    if count is None or count == len(labels):
        return Split(images, labels)
    chosen = _first_of_each_class(labels, count)
    return Split(images[chosen], labels[chosen])


def _first_of_each_class(labels: Tensor, count: int) -> np.ndarray:
    """Choose images so that every class has as many as any other, or one fewer; in file order."""
    if count > len(labels):
        raise CrossresError(f"{count} images asked for, the data set has {len(labels)}")
    classes = labels.numpy()
    by_class = np.argsort(classes, kind="stable")
    rank = np.empty(len(classes), dtype=np.int64)
    starts = np.searchsorted(classes[by_class], classes[by_class], side="left")
    rank[by_class] = np.arange(len(classes)) - starts
    return np.sort(np.lexsort((classes, rank))[:count])


class _ArraysOnly(pickle.Unpickler):
    """Unpickles arrays, lists and strings; refuses everything that could run code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module.split(".")[0], name) in {("numpy", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")}:
            return super().find_class("numpy._core.multiarray" if name == "_reconstruct" else "numpy", name)
        raise CrossresError(f"the data file wants {module}.{name}, which no data set of this format does")


def _verified(path: Path, sha256: str) -> dict[str, Any]:
    mend = f"delete {path.parent.parent} and run the rule `data` again"
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise CrossresError(f"{path}: no such file; {mend}") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise CrossresError(f"{path}: differs from its manifest; {mend}")
    return _ArraysOnly(io.BytesIO(content), encoding="latin1").load()


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
