"""A small CIFAR-10 as its authors wrote theirs: five batches, a test batch and the names, pickled by Python 2.

The real one is not at hand: these files have its names, keys and shapes, random pixels, and digests of their own.
"""

from __future__ import annotations

import io
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np

NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
BATCHES = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5")


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


def files(train_images: int = 500, test_images: int = 100) -> dict[str, bytes]:
    """Return the seven files: classes balanced in every batch, and no image like another."""
    draw = np.random.default_rng(10)

    def batch(count: int, label: str) -> bytes:
        labels = draw.permutation(np.arange(count) % len(NAMES)).tolist()
        pixels = draw.integers(0, 256, (count, 3072), dtype=np.uint8)
        names = [f"{number}.png" for number in range(count)]
        return python2_pickle({"batch_label": label, "labels": labels, "data": pixels, "filenames": names})

    content = {name: batch(train_images // 5, name) for name in BATCHES}
    meta = {"num_cases_per_batch": 10_000, "label_names": NAMES, "num_vis": 3072}
    return content | {"test_batch": batch(test_images, "test"), "batches.meta": python2_pickle(meta)}


def write(folder: Path, content: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in content.items():
        (folder / name).write_bytes(part)
    return folder
