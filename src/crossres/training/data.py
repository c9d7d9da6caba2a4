"""Data sets: verified, split, and resident on the device as uint8.

`crossres.training.acquire` lays each set down as CIFAR's pickles, beside a manifest of digests; nothing is unpickled
before its digest is checked.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from crossres.base import CrossresError
from crossres.files import data_dir, data_manifest, read_json
from crossres.suites.spec import Dataset, View
from crossres.training.acquire import LAYOUTS, Layout
from crossres.training.augment import resize


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
    layout = LAYOUTS[dataset.name]
    folder = data_dir(root, dataset.name) / layout.folder
    train = _subset(_read(folder, layout.train, layout, manifest["sha256"]), dataset.train_images)
    test = _subset(_read(folder, layout.test, layout, manifest["sha256"]), dataset.test_images)
    held_out = _first_of_each_class(train.labels, dataset.validation_images)
    kept = np.setdiff1d(np.arange(len(train.labels)), held_out)
    validation = Split(train.images[held_out], train.labels[held_out])
    train = Split(train.images[kept], train.labels[kept])
    files = hashlib.sha256(repr(sorted(manifest["sha256"].items())).encode()).hexdigest()
    train, validation, test = (_resident(split, view, device) for split in (train, validation, test))
    return Images(train, validation, test, files)


def class_names(dataset: Dataset, root: Path) -> list[str]:
    """Return the name of each class of a prepared data set, in the order of their numbers."""
    manifest = read_json(data_manifest(root, dataset.name))
    layout = LAYOUTS[dataset.name]
    meta = data_dir(root, dataset.name) / layout.folder / layout.meta
    return _verified(meta, manifest["sha256"][layout.meta])[layout.names]


def _resident(split: Split, view: View, device: torch.device) -> Split:
    images, size_px = split.images, view.resolution_px
    if view.kind == "resized" and len(images):
        images = resize(images, size_px)
    if len(images) and images.shape[-1] != size_px:
        raise CrossresError(f"view.resolution_px {size_px}: the images are {images.shape[-1]} px; use kind: resized")
    return Split(images.to(device), split.labels.to(device))


def _read(folder: Path, files: Iterable[str], layout: Layout, sha256: Mapping[str, str]) -> Split:
    documents = [_verified(folder / file, sha256[file]) for file in files]
    pixels = np.concatenate([np.asarray(document["data"]) for document in documents])
    labels = [label for document in documents for label in document[layout.labels]]
    return Split(torch.from_numpy(pixels.reshape(-1, 3, 32, 32)), torch.tensor(labels, dtype=torch.int64))


def _subset(split: Split, count: int | None) -> Split:
    if count is None or count == len(split.labels):
        return split
    chosen = _first_of_each_class(split.labels, count)
    return Split(split.images[chosen], split.labels[chosen])


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
