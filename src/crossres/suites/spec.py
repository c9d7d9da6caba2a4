"""The spec of one run and seed: what training is a function of, besides data and teacher.

A spec is self-contained, and its JSON is the workflow's unit of change: a run is trained again if its spec changes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from crossres.base import Count, NonNegative, Positive, Probability, Strict
from crossres.suites.datasets import DATASETS, IMAGENET_NORMALISATION, STORED, DatasetInfo
from crossres.suites.folder import list_images
from crossres.suites.methods import Objective

if TYPE_CHECKING:
    DatasetName = str
else:
    DatasetName = Literal[tuple(DATASETS)]


EvaluationKind = Literal["exact", "thesis"]

NAMES = ("suite", "run", "thesis_id", "teacher", "teacher_seed")
"""What a spec is called, and what its teacher is called."""


class Dataset(Strict):
    """The images of a run."""

    name: DatasetName
    """A data set of `src/crossres/suites/datasets.py`."""
    train_images: Count | None = None
    """Number of training images, taken class by class in file order; all when absent."""
    test_images: Count | None = None
    """Number of test images, taken in the same way; all when absent."""
    validation_images: int = Field(default=0, ge=0)
    """Number of training images held out, stratified by class, for `select: best_on_validation`."""

    @property
    def info(self) -> DatasetInfo:
        return DATASETS[self.name]

    @property
    def key(self) -> str:
        """Name of its folder under `data/`."""
        return self.name

    @property
    def classes(self) -> int:
        return self.info.classes


class FolderCounts(Strict):
    """How many classes and images a folder has."""

    classes: Count
    """Its classes."""
    train_images: Count
    """Its training images."""
    test_images: Count
    """Its test images."""


class FolderDataset(Dataset):
    """A folder with images of one's own: `train/` and `test/`, and in each a folder per class.

    A spec holds its title and counts rather than its path: a folder that was moved is no reason to train again.
    """

    name: Literal["folder"]
    """Images of one's own."""
    path: Path | None = None
    """The folder, from the working directory or with `~`."""
    title: str = Field(default="", pattern=r"^[A-Za-z0-9_-]{0,100}$")
    """Name in the report, and of its folder under `data/`; the name of the folder when absent."""
    resolution_px: Count
    """Side to which the images are resized, after they are cut to a square around their middle."""
    test_share: Probability | None = None
    """Share of each class that is for testing, where there are no `train/` and `test/`."""
    counts: FolderCounts | None = None
    """Numbers of its classes and images; counted when absent."""

    @model_validator(mode="after")
    def _is_counted(self) -> FolderDataset:
        if self.path is not None:
            path = self.path.expanduser()
            found = list_images(path, self.test_share)
            counts = FolderCounts(
                classes=len(found.classes), train_images=len(found.train), test_images=len(found.test)
            )
            title = self.title or re.sub(r"[^A-Za-z0-9_-]+", "-", path.resolve().name)
            self.__dict__.update(path=path, counts=counts, title=title)
        elif self.counts is None:
            raise ValueError("path: missing; name the folder with the images")
        if self.title in (*DATASETS, "weights", ""):
            raise ValueError(f"title: '{self.title}' has another meaning under data/; choose another")
        return self

    @property
    def info(self) -> DatasetInfo:
        assert self.counts is not None
        return DatasetInfo(
            title=self.title,
            **self.counts.model_dump(),
            normalisation=IMAGENET_NORMALISATION,
            files=STORED,
            side_px=self.resolution_px,
        )

    @property
    def key(self) -> str:
        return self.title


AnyDataset = Annotated[Dataset | FolderDataset, Field(discriminator="name")]


class Model(Strict):
    """An architecture by name."""

    name: str = Field(pattern=r"^[a-z]+/[A-Za-z0-9_.-]+$")
    """`torchvision/NAME`, `timm/NAME` or `crossres/NAME`."""
    pretrained: bool = False
    """Start from ImageNet weights."""
    stem_stride: Count | None = None
    """Stride of the first convolution; the architecture's own when absent. 1 instead of 2 doubles the side of every
    feature map."""


class View(Strict):
    """How a network sees an image of the data set."""

    resolution_px: Count = 32
    """Side of the square image."""
    kind: Literal["native", "resized", "upsampled"] = "native"
    """`native`: as stored. `resized`: the stored image is resized (bilinear, antialiased) before it is augmented.
    `upsampled`: the augmented, normalised and mixed image is upsampled (bilinear, corners not aligned). A
    teacher's `resized` view, a multiple of the student's side, gets the student's crop, flip, policy, box and mix."""


class Augmentation(Strict):
    """The augmentation stream, in its order: crop, flip, AutoAugment, normalise, erase, mix."""

    crop_padding_px: int = Field(default=4, ge=0)
    """Zero padding before the random crop back to the view's side."""
    flip_prob: Probability = 0.5
    """Probability of a horizontal flip."""
    auto_augment: Literal["none", "cifar10"] = "none"
    """AutoAugment policy (torchvision has none for CIFAR-100)."""
    erase_prob: Probability = 0.0
    """Probability of RandomErasing, on the normalised image, with value 0."""
    erase_scale: tuple[Positive, Positive] = (0.02, 0.2)
    """Range of the erased share of the area."""
    erase_ratio: tuple[Positive, Positive] = (0.3, 3.3)
    """Range of the erased box's aspect ratio."""
    mix_prob: Probability = 1.0
    """Share of the training batches that are mixed."""
    cutmix_share: Probability = 0.5
    """Share of the mixed batches that are CutMix; the others are Mixup."""
    mixup_alpha: Positive = 0.8
    """Lambda of Mixup ~ Beta(mixup_alpha, mixup_alpha)."""
    cutmix_alpha: Positive = 1.0
    """Lambda of CutMix ~ Beta(cutmix_alpha, cutmix_alpha), then recomputed from the clipped box."""


class Optimisation(Strict):
    """How the weights are trained, and which are kept."""

    epochs: Count
    """Epochs that are trained, unless the run stops early."""
    schedule_epochs: Count | None = None
    """Epochs of the learning rate's schedule, of which the first `epochs` are trained; `epochs` when null. A larger
    number gives a checkpoint from the middle of a longer training."""
    batch_size: Count = 128
    """Images per step; an incomplete last batch is dropped."""
    learning_rate: Positive = 1e-3
    """Peak learning rate of AdamW."""
    weight_decay: NonNegative = 0.05
    """Decoupled weight decay of AdamW."""
    decay_matrices_only: bool = False
    """Exempt biases and normalisation parameters from weight decay."""
    warmup_epochs: int = Field(default=5, ge=0)
    """Epochs of linear warm-up, one step per epoch; then cosine annealing to zero over the remaining epochs."""
    patience_epochs: Count | None = 30
    """Stop after this many epochs without a better selection accuracy; never when null."""
    grad_clip_norm: Positive | None = 1.0
    """Global norm to which gradients are clipped after unscaling; no clipping when null."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp16"
    """Autocast type on a CUDA device (fp16 with loss scaling); a CPU always computes in fp32."""
    select: Literal["best_on_test", "best_on_validation", "last"] = "best_on_test"
    """Which epoch's weights are the result."""
    nonfinite: Literal["stop", "skip", "thesis_fallback"] = "stop"
    """On a non-finite loss or gradient: stop with a message, skip the step and count it, or fall back to cross entropy
    alone, as the thesis silently did, and count it."""

    @model_validator(mode="after")
    def _warmup_fits(self) -> Optimisation:
        if self.warmup_epochs >= self.epochs > 1:
            raise ValueError(f"warmup_epochs {self.warmup_epochs} must be below epochs {self.epochs}")
        if self.schedule_epochs is not None and self.schedule_epochs < self.epochs:
            raise ValueError(f"schedule_epochs {self.schedule_epochs} must not be below epochs {self.epochs}")
        return self


class Budget(Strict):
    """A smaller version of a suite, to try it out. Its records and its report are marked as truncated."""

    train_images: Count | None = None
    """Number of training images, as in `dataset`."""
    test_images: Count | None = None
    """Number of test images, as in `dataset`."""
    epochs: Count | None = None
    """Epochs of every run."""
    pretrained: bool | None = None
    """Whether to start from ImageNet weights."""

    def changes(self, optimisation: Optimisation) -> dict[str, Any]:
        """Return its changes to a spec, itself included; nothing if it has no key."""
        cut = self.model_dump(exclude_none=True)
        if not cut:
            return {}
        sizes = {key: cut[key] for key in ("train_images", "test_images") if key in cut}
        changes: dict[str, Any] = {"budget": cut, "dataset": sizes}
        if self.pretrained is not None:
            changes["model"] = {"pretrained": self.pretrained}
        if self.epochs is not None:
            warmup = min(optimisation.warmup_epochs, self.epochs - 1)
            changes["optimisation"] = {"epochs": self.epochs, "schedule_epochs": None, "warmup_epochs": warmup}
        return changes


class Spec(Strict):
    """One run and seed, resolved."""

    suite: str
    run: str
    seed: int
    thesis_id: str | None
    dataset: AnyDataset
    model: Model
    view: View
    teacher: str | None
    teacher_seed: int | None
    teacher_view: View | None
    augmentation: Augmentation
    objective: Objective
    optimisation: Optimisation
    stream_seed: int | None = None
    probe_images: int = 0
    evaluation: EvaluationKind = Field(default="exact", exclude_if=lambda kind: kind == "exact")
    budget: Budget | None = None
    """The budget that cut this run, if there was one."""

    @property
    def teacher_resizes(self) -> bool:
        """Whether the teacher has images of its own: resized before augmentation, and not the student's batch."""
        seen = self.teacher_view
        return seen is not None and seen.kind == "resized" and seen != self.view

    @property
    def seed_of_batches(self) -> int:
        """Seed of order, augmentation and mixing."""
        return self.seed if self.stream_seed is None else self.stream_seed

    def differing_in_training(self, other: Spec) -> dict[str, tuple[Any, Any]]:
        """Return what differs for the trained bits, as `differing` does: names do not, and a teacher has its digest."""
        return {key: values for key, values in self.differing(other).items() if key not in NAMES}

    @model_validator(mode="after")
    def _has_a_step(self) -> Spec:
        held_out = self.dataset.validation_images
        images = (self.dataset.train_images or self.dataset.info.train_images) - held_out
        if self.optimisation.batch_size > images:
            raise ValueError(
                f"batch_size {self.optimisation.batch_size} exceeds the {max(images, 0)} training images that "
                f"validation_images {held_out} leaves: the incomplete batch is dropped, so no step would be taken"
            )
        wants_validation = self.optimisation.select == "best_on_validation"
        if wants_validation and not self.dataset.validation_images:
            raise ValueError("select best_on_validation needs dataset.validation_images above 0")
        return self
