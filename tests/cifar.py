"""Small files that pass for a published set of CIFAR's format, pickled as its authors did: by Python 2."""

from __future__ import annotations

import functools
import hashlib
import io
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crossres.suites.datasets import DATASETS, DatasetInfo
from crossres.training.acquire import cifar_files

TRAIN_IMAGES, TEST_IMAGES = 500, 200


class _Python2(pickle._Pickler):  # type: ignore[misc]
    """Writes texts and bytes as Python 2 wrote its strings, which are both."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_string(self, text: str | bytes) -> None:
        content = text.encode("latin1") if isinstance(text, str) else text
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)
        self.memoize(text)

    dispatch[str] = dispatch[bytes] = save_string


def python2_pickle(document: Any) -> bytes:
    file = io.BytesIO()
    _Python2(file, protocol=2).dump(document)
    return file.getvalue()


def names(dataset: str) -> list[str]:
    return [f"class {number}" for number in range(DATASETS[dataset].classes)]


@functools.cache
def small(dataset: str) -> dict[str, bytes]:
    """Return every file of a set by name: classes balanced in every file, and no image like another."""
    files, classes = cifar_files(dataset), DATASETS[dataset].classes
    draw = np.random.default_rng(classes)

    def batch(count: int) -> bytes:
        labels = draw.permutation(np.arange(count) % classes).tolist()
        pixels = draw.integers(0, 256, (count, 3072), dtype=np.uint8)
        key = files.meta["key"].replace("label_names", "labels")
        return python2_pickle({"batch_label": "one", key: labels, "data": pixels, "filenames": ["x.png"] * count})

    content = {name: batch(TRAIN_IMAGES // len(files.train_list)) for name, _ in files.train_list}
    content |= {name: batch(TEST_IMAGES // len(files.test_list)) for name, _ in files.test_list}
    return content | {files.meta["filename"]: python2_pickle({files.meta["key"]: names(dataset)})}


def entry(dataset: str, content: Mapping[str, bytes], **changed: str) -> DatasetInfo:
    """Return the entry of a data set with the MD5s of other files."""
    files = cifar_files(dataset)
    md5 = {name: hashlib.md5(part).hexdigest() for name, part in content.items()}
    files = files._replace(
        train_list=[(name, md5[name]) for name, _ in files.train_list],
        test_list=[(name, md5[name]) for name, _ in files.test_list],
        meta={**files.meta, "md5": md5[files.meta["filename"]]},
    )
    return DATASETS[dataset]._replace(files=files._replace(**changed))


def pass_for(monkeypatch: pytest.MonkeyPatch, dataset: str, **changed: str) -> dict[str, bytes]:
    """Let the small files pass for the published ones; return them."""
    content = small(dataset)
    monkeypatch.setitem(DATASETS, dataset, entry(dataset, content, **changed))
    return content


def write_folder(folder: Path, content: Mapping[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in content.items():
        (folder / name).write_bytes(part)
    return folder


def write_archive(path: Path, folder: str, content: Mapping[str, bytes], mode: Any = "w:gz") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, part in content.items():
            member = tarfile.TarInfo(f"{folder}{name}")
            member.size = len(part)
            archive.addfile(member, io.BytesIO(part))
    return path


def write_zip(path: Path, folder: str, content: Mapping[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in content.items():
            archive.writestr(f"{folder}{name}", part)
    return path
