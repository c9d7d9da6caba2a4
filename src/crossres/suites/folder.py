"""A folder with images of one's own, one folder per class: what it holds, without opening an image."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}

LabelledFile = tuple[Path, int]


class Listing(NamedTuple):
    """The files of a folder with the number of their class."""

    classes: list[str]
    """In the order of their names."""
    train: list[LabelledFile]
    test: list[LabelledFile]


def list_images(folder: Path, test_share: float | None) -> Listing:
    """List the images of `train/` and `test/`, or of one folder that is split.

    Args:
        test_share: Share of the images of each class, spread evenly over their names, that are for testing; None for
            a folder that holds `train/` and `test/`.

    Raises:
        ValueError: When a folder is missing, a class has no image, or the two splits differ in their classes.
    """
    if not folder.is_dir():
        raise ValueError(f"path: {folder}: no such folder")
    if test_share is not None:
        return _split(_by_class(folder), test_share)
    if missing := [name for name in ("train", "test") if not (folder / name).is_dir()]:
        raise ValueError(f"path: {folder} has no {missing[0]}/; give it one, or set test_share, such as 0.2")
    train, test = _by_class(folder / "train"), _by_class(folder / "test")
    for here, there, names in (("train", "test", train.keys() - test), ("test", "train", test.keys() - train)):
        if names:
            raise ValueError(f"path: class '{min(names)}' of {folder / here} is missing in {there}/")
    return Listing(list(train), _labelled(train), _labelled(test))


def _by_class(folder: Path) -> dict[str, list[Path]]:
    found = {
        entry.name: sorted(path for path in entry.rglob("*") if path.suffix.lower() in SUFFIXES)
        for entry in sorted(folder.iterdir())
        if entry.is_dir() and not entry.name.startswith(".")
    }
    if len(found) < 2:
        raise ValueError(f"path: {folder}: expected a folder for each of two or more classes, found {len(found)}")
    if empty := next((name for name, files in found.items() if not files), None):
        raise ValueError(f"path: {folder / empty}: no image in it ({', '.join(sorted(SUFFIXES))})")
    return found


def _split(by_class: dict[str, list[Path]], test_share: float) -> Listing:
    train, test = {}, {}
    for name, files in by_class.items():
        count = max(1, round(test_share * len(files)))
        chosen = {(2 * number + 1) * len(files) // (2 * count) for number in range(count)}
        train[name] = [path for index, path in enumerate(files) if index not in chosen]
        test[name] = [path for index, path in enumerate(files) if index in chosen]
        if not train[name]:
            raise ValueError(f"test_share: {test_share:g} leaves no training image of class '{name}'")
    return Listing(list(by_class), _labelled(train), _labelled(test))


def _labelled(by_class: dict[str, list[Path]]) -> list[LabelledFile]:
    return [(path, label) for label, files in enumerate(by_class.values()) for path in files]
