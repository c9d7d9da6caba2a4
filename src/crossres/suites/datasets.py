"""The data sets. A new one is one entry of `DATASETS`, or a folder of images (`suites/folder.py`).

Every set has the format of CIFAR: pickles of flat RGB images with labels, and one with the names of the classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Normalisation(NamedTuple):
    """Mean and standard deviation by channel, of values in [0, 1]."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class CifarFiles(NamedTuple):
    """The files of a data set. The fields are named as in `torchvision.datasets.CIFAR10`."""

    base_folder: str
    """Their folder in the archive."""
    train_list: Sequence[tuple[str, str]]
    """Each file of training images and its MD5."""
    test_list: Sequence[tuple[str, str]]
    """Each file of test images and its MD5."""
    meta: Mapping[str, str]
    """The file with the names of the classes (`filename`, `md5`), and their `key` in it."""
    url: str = ""
    """Address of the archive."""
    tgz_md5: str = ""
    """MD5 of the archive."""

    @property
    def md5(self) -> dict[str, str]:
        """The MD5 of each file."""
        return {**dict(self.train_list), **dict(self.test_list), self.meta["filename"]: self.meta["md5"]}


class DatasetInfo(NamedTuple):
    """One data set."""

    title: str
    """What the report calls it."""
    classes: int
    train_images: int
    test_images: int
    normalisation: Normalisation
    files: str | CifarFiles
    """The class of `torchvision.datasets` that holds address, file names and MD5s; or a list of them."""
    citation: str | None = None
    """A key of `paper/references.bib`; a generated set cites its format."""
    generator: str | None = None
    """Module whose `files()` generates the set; None for one that is downloaded or adopted."""
    side_px: int = 32
    """Side of the stored images, which are square."""
    superclasses: tuple[int, ...] = ()
    """Superclass of each class, where there are any."""
    superclass_names: tuple[str, ...] = ()


CIFAR100_NORMALISATION = Normalisation(mean=(0.5071, 0.4867, 0.4408), std=(0.2675, 0.2565, 0.2761))
"""Of the training images of CIFAR-100, as in the thesis."""

IMAGENET_NORMALISATION = Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""Of the training images of ImageNet, as in torchvision; used for images of one's own."""

STORED = CifarFiles(
    base_folder="images",
    train_list=[("train", "")],
    test_list=[("test", "")],
    meta={"filename": "meta", "key": "label_names", "md5": ""},
)
"""How images of one's own are stored, once they are read and resized."""

CIFAR100_SUPERCLASSES = (
    *(4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11, 6, 11, 5, 10, 7, 6, 13, 15, 3, 15, 0, 11, 1),
    *(10, 12, 14, 16, 9, 11, 5, 5, 19, 8, 8, 15, 13, 14, 17, 18, 10, 16, 4, 17, 4, 2, 0, 17, 4, 18, 17, 10, 3, 2, 12),
    *(12, 16, 12, 1, 9, 19, 2, 10, 0, 1, 16, 12, 9, 13, 15, 13, 16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0),
    *(17, 8, 14, 13),
)
"""As in the `coarse_labels` of its files."""

CIFAR100_SUPERCLASS_NAMES = (
    *("aquatic mammals", "fish", "flowers", "food containers", "fruit and vegetables", "household electrical devices"),
    *("household furniture", "insects", "large carnivores", "large man-made outdoor things"),
    *("large natural outdoor scenes", "large omnivores and herbivores", "medium mammals", "non-insect invertebrates"),
    *("people", "reptiles", "small mammals", "trees", "vehicles 1", "vehicles 2"),
)
"""As in the `coarse_label_names` of its files."""

DATASETS = {
    "cifar100": DatasetInfo(
        title="CIFAR-100",
        classes=100,
        train_images=50_000,
        test_images=10_000,
        normalisation=CIFAR100_NORMALISATION,
        files="CIFAR100",
        citation="krizhevsky2009learning",
        superclasses=CIFAR100_SUPERCLASSES,
        superclass_names=CIFAR100_SUPERCLASS_NAMES,
    ),
    "cifar10": DatasetInfo(
        title="CIFAR-10",
        classes=10,
        train_images=50_000,
        test_images=10_000,
        # Of its training images; source: issue 19 of the kuangliu/pytorch-cifar repository.
        normalisation=Normalisation(mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616)),
        files="CIFAR10",
        citation="krizhevsky2009learning",
    ),
    "shapes": DatasetInfo(
        title="a generated set of shapes",
        classes=20,
        train_images=4_000,
        test_images=1_000,
        normalisation=CIFAR100_NORMALISATION,
        files=CifarFiles(
            base_folder="cifar-100-python",
            train_list=[("train", "")],
            test_list=[("test", "")],
            meta={"filename": "meta", "key": "fine_label_names", "md5": ""},
        ),
        citation="krizhevsky2009learning",
        generator="crossres.training.shapes",
    ),
}
