"""A generated data set in the file format of CIFAR-100, for the demonstration.

Twenty classes: five shapes, each with one of four fine textures, in random colours and poses on a smooth noisy
background. The textures' period of about three pixels makes resolution matter.

Everything is computed in float64: in float32 the last bit of a sine depends on the processor, and sometimes a pixel.
"""

from __future__ import annotations

import pickle

import numpy as np
from numpy.typing import NDArray

from crossres.suites.datasets import DATASETS

SHAPES = ("disc", "square", "triangle", "cross", "ring")
TEXTURES = ("columns", "rows", "checker", "grid")
CLASSES = tuple(f"{shape}_{texture}" for shape in SHAPES for texture in TEXTURES)
SIDE_PX = 32
_KEY = 0x5A9E
Array = NDArray[np.float64]


def files() -> dict[str, bytes]:
    """Return the files `train`, `test` and `meta`; the same bytes every time."""
    info = DATASETS["shapes"]
    splits = {"train": generate(info.train_images, stream=0), "test": generate(info.test_images, stream=1)}
    content = {}
    for name, (images, labels) in splits.items():
        rows = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
        content[name] = pickle.dumps({"data": rows, "fine_labels": labels.tolist()}, protocol=4)
    content["meta"] = pickle.dumps({"fine_label_names": list(CLASSES)}, protocol=4)
    return content


def generate(count: int, stream: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Draw images, uint8 `[count, 32, 32, 3]`, and labels, int64 `[count]`, with balanced classes.

    Each split has its own stream of random numbers.
    """
    draw = np.random.Generator(np.random.Philox(key=np.array([_KEY, stream], np.uint64)))
    labels = np.arange(count) % len(CLASSES)
    draw.shuffle(labels)
    shape, texture = labels // len(TEXTURES), labels % len(TEXTURES)

    def uniform(low: float, high: float, *trailing: int) -> Array:
        return draw.uniform(low, high, (count, *trailing))

    along, across = _posed_grid(uniform(-4, 4, 1, 1), uniform(-4, 4, 1, 1), uniform(-0.1, 0.1, 1, 1))
    distance = _signed_distance(shape, along, across, radius=uniform(8, 13, 1, 1))
    wave = 2 * np.pi / uniform(2.8, 3.6, 1, 1)
    columns, rows = np.sin(wave * along + uniform(0, 6.28, 1, 1)), np.sin(wave * across + uniform(0, 6.28, 1, 1))
    stripes = _texture(texture, columns, rows)
    inside = 1 / (1 + np.exp(np.clip(distance / 0.5, -20, 20)))[..., None]
    ink = uniform(0.25, 1, 1, 1, 3) + (stripes * uniform(0.35, 0.55, 1, 1))[..., None]
    paper = uniform(0, 0.75, 1, 1, 3) + _smooth(uniform(-0.25, 0.25, 5, 5, 3))
    noise = draw.normal(0, 0.03, (count, SIDE_PX, SIDE_PX, 3))
    images = paper * (1 - inside) + ink * inside + noise
    return (np.clip(images, 0, 1) * 255).astype(np.uint8), labels


def _posed_grid(shift_x: Array, shift_y: Array, angle: Array) -> tuple[Array, Array]:
    pixels = np.arange(SIDE_PX) - SIDE_PX / 2
    x, y = pixels[None, None, :] - shift_x, pixels[None, :, None] - shift_y
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)


def _signed_distance(shape: NDArray[np.int64], u: Array, v: Array, radius: Array) -> Array:
    """Distance in pixels to the outline of each image's shape, negative inside."""
    circle, box = np.hypot(u, v), np.maximum(abs(u), abs(v))
    each = (
        circle - radius,
        box - 0.85 * radius,
        np.maximum(0.866 * abs(u) + 0.5 * v, -v) - 0.62 * radius,
        np.maximum(np.minimum(abs(u), abs(v)) - 0.33 * radius, box - radius),
        abs(circle - 0.75 * radius) - 0.32 * radius,
    )
    return np.choose(shape[:, None, None], each)


def _texture(texture: NDArray[np.int64], along: Array, across: Array) -> Array:
    each = (along, across, 1.4 * along * across, 1.2 * np.maximum(along, across) - 0.4)
    return np.choose(texture[:, None, None], each)


def _smooth(corners: Array) -> Array:
    """Interpolate a coarse grid bilinearly to the full side."""
    cells = corners.shape[1] - 1
    place = np.arange(SIDE_PX) * cells / SIDE_PX
    low = place.astype(np.int64)
    share = place - low
    rows = corners[:, low] * (1 - share)[:, None, None] + corners[:, low + 1] * share[:, None, None]
    return rows[:, :, low] * (1 - share)[:, None] + rows[:, :, low + 1] * share[:, None]
