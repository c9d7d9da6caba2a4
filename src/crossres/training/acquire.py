"""Data sets made ready: adopted, downloaded or generated, and verified.

Every set lies on disk as CIFAR's pickles (`LAYOUTS`) beside a manifest of digests. A record holds the manifest's
digest, so that no trained bit depends on this module.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import NamedTuple

from crossres.base import CrossresError
from crossres.files import data_dir, data_manifest, read_json, write_atomic, write_json
from crossres.training import shapes
from crossres.training.cifar import OFFICIAL, digest, fetch


class Layout(NamedTuple):
    """How a data set lies on disk: pickles of rows of pixels, and what they are called."""

    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    meta: str
    labels: str
    """Key of the labels in a file of images."""
    names: str
    """Key of the classes' names in the file `meta`."""

    @property
    def files(self) -> tuple[str, ...]:
        return (*self.train, *self.test, self.meta)


CIFAR100 = Layout("cifar-100-python", ("train",), ("test",), "meta", "fine_labels", "fine_label_names")
CIFAR10_TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
CIFAR10 = Layout("cifar-10-batches-py", CIFAR10_TRAIN, ("test_batch",), "batches.meta", "labels", "label_names")
LAYOUTS: dict[str, Layout] = {"cifar100": CIFAR100, "cifar10": CIFAR10, "shapes": CIFAR100}


def prepare(name: str, root: Path, source: str | None) -> Path:
    """Make a data set ready to load, and list its files' digests in a manifest.

    Args:
        name: One of `DATASETS`.
        root: Folder under which each set has its own.
        source: For CIFAR, a folder or an archive to adopt it from; downloaded from its official address when None.

    Returns:
        Path of the manifest.

    Raises:
        CrossresError: When a file is missing, cut short or wrong; what was found is kept aside, good files stay.
    """
    layout = LAYOUTS[name]
    folder = data_dir(root, name) / layout.folder
    folder.mkdir(parents=True, exist_ok=True)
    if name == "shapes":
        for file, content in shapes.files().items():
            write_atomic(folder / file, content)
    else:
        fetch(OFFICIAL[name], Path(source) if source else None, folder)
    digests = {file: digest(folder / file, "sha256") for file in layout.files}
    manifest = data_manifest(root, name)
    write_json(manifest, {"dataset": name, "sha256": digests})
    return manifest


def check(name: str, root: Path) -> None:
    """Check that a data set was made ready; its files are checked as they are loaded.

    Raises:
        CrossresError: When it was not, with the command that does it.
    """
    manifest = data_manifest(root, name)
    mend = f"crossres data {name}" + ("" if root == Path("data") else f" --root {shlex.quote(str(root))}")
    if not manifest.exists():
        raise CrossresError(f"{manifest}: no such file; to make it: {mend}")
    document = read_json(manifest)
    listed = document.get("sha256") if isinstance(document, dict) else None
    if not isinstance(listed, dict) or not listed.keys() >= set(LAYOUTS[name].files):
        raise CrossresError(f"{manifest}: does not list the digests of {name}; to make it again: {mend}")
