"""Data sets on the device: read from CIFAR's pickles, subset, split, and kept as uint8.

Nothing is unpickled before its digest is checked against the manifest, which `crossres.training.acquire` writes.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from crossres.base import CrossresError
from crossres.files import data_dir, data_manifest, data_sha256, read_json, sha256
from crossres.suites.spec import Dataset, View
from crossres.training.acquire import layout
from crossres.training.augment import resize

PICKLED = {
    "_reconstruct": "numpy._core.multiarray",
    "_frombuffer": "numpy._core.numeric",
    "scalar": "numpy._core.multiarray",
    "ndarray": "numpy",
    "dtype": "numpy",
}
"""What pickled arrays and numbers consist of, and where it is now; old files name other modules."""


class Split(NamedTuple):
    """Images and their classes, on one device."""

    images: Tensor
    """uint8 `[M, 3, S, S]`."""
    labels: Tensor
    """int64 `[M]`."""


class Splits(NamedTuple):
    """A data set as one run sees it."""

    train: Split
    validation: Split
    """Empty unless the spec holds images out."""
    test: Split
    digest: str
    """SHA-256 of the manifest: which files these images came from."""


def load_splits(dataset: Dataset, view: View, root: Path, device: torch.device) -> Splits:
    """Load a data set onto a device, in the size of a view.

    A `resized` view is resized here, before any augmentation: bilinear and antialiased.

    Args:
        root: Folder under which each set has its own.

    Raises:
        CrossresError: When a file is missing or differs from the manifest.
    """
    files = _PreparedFiles(dataset, root)
    train = _subset(files.read([name for name, _ in files.layout.train_list]), dataset.train_images)
    test = _subset(files.read([name for name, _ in files.layout.test_list]), dataset.test_images)
    held_out = _first_of_each_class(train.labels, dataset.validation_images)
    kept = np.setdiff1d(np.arange(len(train.labels)), held_out)
    validation = Split(train.images[held_out], train.labels[held_out])
    train = Split(train.images[kept], train.labels[kept])
    train, validation, test = (_on_device(split, view, device) for split in (train, validation, test))
    return Splits(train, validation, test, data_sha256(data_manifest(root, dataset.key)))


def class_names(dataset: Dataset, root: Path) -> list[str]:
    """Return the name of each class of a prepared data set, in the order of their numbers."""
    files = _PreparedFiles(dataset, root)
    names = files.unpickle(files.layout.meta["filename"]).get(files.layout.meta["key"])
    if not isinstance(names, list) or len(names) != dataset.info.classes:
        raise CrossresError(f"{files.folder}: names no {dataset.info.classes} classes, as {dataset.info.title} does")
    return names


class _PreparedFiles:
    """The files of a prepared data set."""

    def __init__(self, dataset: Dataset, root: Path) -> None:
        self.info = dataset.info
        self.layout = layout(self.info)
        self.folder = data_dir(root, dataset.key) / self.layout.base_folder
        self.sha256: dict[str, str] = read_json(data_manifest(root, dataset.key))["sha256"]

    def read(self, names: list[str]) -> Split:
        """Read images and labels from several files."""
        splits = [self._split(name) for name in names]
        return Split(torch.cat([split.images for split in splits]), torch.cat([split.labels for split in splits]))

    def _split(self, name: str) -> Split:
        document, side_px, classes = self.unpickle(name), self.info.side_px, self.info.classes
        try:
            images = torch.from_numpy(document["data"].reshape(-1, 3, side_px, side_px))
            labels = torch.tensor(document["labels" if "labels" in document else "fine_labels"], dtype=torch.int64)
            fits = (
                images.dtype == torch.uint8
                and labels.shape == (len(images),)
                and set(labels.tolist()) <= set(range(classes))
            )
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError):
            fits = False
        if not fits:
            what = f"uint8 images of 3 × {side_px} × {side_px} values with a label below {classes} each"
            raise CrossresError(f"{self.folder / name}: does not hold {what}; make it as docs/own-experiment.md says")
        return Split(images, labels)

    def unpickle(self, name: str) -> dict[str, Any]:
        """Unpickle one file, if its digests are that of the manifest and, where there is one, the published one."""
        path = self.folder / name
        fix = f"delete {self.folder.parent} and run the rule `data` again"
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise CrossresError(f"{path}: no such file; {fix}") from None
        if sha256(content) != self.sha256[name]:
            raise CrossresError(f"{path}: differs from its manifest; {fix}")
        md5 = self.layout.md5[name]
        if md5 and hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
            raise CrossresError(f"{path}: not the file of {self.info.title}, by its published MD5; {fix}")
        try:
            document = _ArraysOnly(io.BytesIO(content), encoding="latin1").load()
        except CrossresError:
            raise
        except Exception as error:  # unpickling raises errors of any kind
            raise CrossresError(f"{path}: not a pickle ({error}); {fix}") from None
        if not isinstance(document, dict):
            raise CrossresError(f"{path}: holds a {type(document).__name__}, not a dictionary as CIFAR's files do")
        return document


class _ArraysOnly(pickle.Unpickler):
    """Unpickles arrays, lists and strings; refuses everything that could run code."""

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "numpy" and name in PICKLED:
            return super().find_class(PICKLED[name], name)
        raise CrossresError(f"the data file wants {module}.{name}, which no data set of this format does")


def _on_device(split: Split, view: View, device: torch.device) -> Split:
    images, size_px = split.images, view.resolution_px
    if view.kind == "resized" and len(images):
        images = resize(images, size_px)
    if len(images) and images.shape[-1] != size_px:
        raise CrossresError(f"view.resolution_px {size_px}: the images are {images.shape[-1]} px; use kind: resized")
    return Split(images.to(device), split.labels.to(device))


def _subset(split: Split, count: int | None) -> Split:
    if count is None or count == len(split.labels):
        return split
    chosen = _first_of_each_class(split.labels, count)
    return Split(split.images[chosen], split.labels[chosen])


def _first_of_each_class(labels: Tensor, count: int) -> np.ndarray:
    """Choose images in file order, so that the counts of two classes differ by at most one."""
    if count > len(labels):
        raise CrossresError(f"{count} images asked for, the data set has {len(labels)}")
    classes = labels.numpy()
    by_class = np.argsort(classes, kind="stable")
    rank = np.empty(len(classes), dtype=np.int64)
    starts = np.searchsorted(classes[by_class], classes[by_class], side="left")
    rank[by_class] = np.arange(len(classes)) - starts
    return np.sort(np.lexsort((classes, rank))[:count])
