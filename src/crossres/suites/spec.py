"""What to run: suites, runs and the resolved spec of one run and seed.

A suite file holds the science; `load_suite` checks it, `Suite.resolve` turns one of its entries into a self-contained
`Spec`, and the JSON of that spec is the unit of change of the workflow.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import yaml
from pydantic import AfterValidator, Field, model_validator

from crossres.base import Count, CrossresError, NonNegative, Positive, Probability, Strict, nearest
from crossres.suites.methods import Objective

DatasetName = Literal["cifar100", "cifar10", "shapes"]
RESERVED = ("figures", "tables", "pages", "export")
"""Folders of a suite's results that are no run's."""


def _is_a_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise ValueError(f"'{name}' names a folder: letters without accents, digits, _ and - only")
    return name


def _are_different(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"a seed is named twice in {list(seeds)}")
    return seeds


Name = Annotated[str, AfterValidator(_is_a_name)]
"""What a suite or a run is called, and its folder."""
Seeds = Annotated[tuple[int, ...], Field(min_length=1), AfterValidator(_are_different)]


class DatasetFacts(NamedTuple):
    """What a data set holds as a whole."""

    title: str
    """What the report calls it."""
    classes: int
    train_images: int
    test_images: int


DATASETS: dict[DatasetName, DatasetFacts] = {
    "cifar100": DatasetFacts("CIFAR-100", classes=100, train_images=50_000, test_images=10_000),
    "cifar10": DatasetFacts("CIFAR-10", classes=10, train_images=50_000, test_images=10_000),
    "shapes": DatasetFacts("a generated set of shapes", classes=20, train_images=4_000, test_images=1_000),
}


class Dataset(Strict):
    """The images of a run."""

    name: DatasetName
    """Which set: the official CIFAR-100 or CIFAR-10, or the generated one."""
    train_images: Count | None = None
    """Training images, class by class in file order; all when absent."""
    test_images: Count | None = None
    """Test images, chosen the same way; all when absent."""
    validation_images: int = Field(default=0, ge=0)
    """Training images held out, stratified by class, for `select: best_on_validation`."""

    @property
    def classes(self) -> int:
        return DATASETS[self.name].classes


class Model(Strict):
    """An architecture by name."""

    name: str
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
    `upsampled`: the augmented, normalised and mixed image is upsampled (bilinear, corners not aligned)."""


class Augmentation(Strict):
    """The augmentation stream, in its order: crop, flip, AutoAugment, normalise, erase, mix."""

    crop_padding_px: int = Field(default=4, ge=0)
    """Zero padding before the random crop back to the view's side."""
    flip_prob: Probability = 0.5
    """Probability of a horizontal flip."""
    auto_augment: Literal["none", "cifar10"] = "none"
    """AutoAugment policy (torchvision has none of CIFAR-100's own)."""
    erase_prob: Probability = 0.0
    """Probability of RandomErasing, on the normalised image, with value 0."""
    erase_scale: tuple[Positive, Positive] = (0.02, 0.2)
    """Range of the erased share of the area."""
    erase_ratio: tuple[Positive, Positive] = (0.3, 3.3)
    """Range of the erased box's aspect ratio."""
    mix_prob: Probability = 1.0
    """Share of the training batches that are mixed at all."""
    cutmix_share: Probability = 0.5
    """Share of the mixed batches that are CutMix; the others are Mixup."""
    mixup_alpha: Positive = 0.8
    """Lambda of Mixup ~ Beta(mixup_alpha, mixup_alpha)."""
    cutmix_alpha: Positive = 1.0
    """Lambda of CutMix ~ Beta(cutmix_alpha, cutmix_alpha), then recomputed from the clipped box."""


class Optimisation(Strict):
    """How the weights are found, and which are kept."""

    epochs: Count
    """Epochs of the schedule."""
    batch_size: Count = 128
    """Images a step; an incomplete last batch is dropped."""
    learning_rate: Positive = 1e-3
    """Peak learning rate of AdamW."""
    weight_decay: NonNegative = 0.05
    """Decoupled weight decay of AdamW."""
    decay_matrices_only: bool = False
    """Exempt biases and normalisation parameters from weight decay."""
    warmup_epochs: int = Field(default=5, ge=0)
    """Linear warm-up, one step an epoch; then cosine annealing to zero over the remaining epochs."""
    patience_epochs: Count | None = 30
    """Stop after this many epochs without a better selection accuracy; never when null."""
    grad_clip_norm: Positive | None = 1.0
    """Global norm that gradients are clipped to after unscaling."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp16"
    """Autocast type on a CUDA device (fp16 with loss scaling); a CPU always computes in fp32."""
    select: Literal["best_on_test", "best_on_validation", "last"] = "best_on_test"
    """Which epoch's weights are the result."""
    nonfinite: Literal["stop", "skip", "thesis_fallback"] = "stop"
    """On a non-finite loss or gradient: stop with a message; skip the step and count it; or fall back to cross
    entropy alone, as the thesis silently did, and count it."""

    @model_validator(mode="after")
    def _warmup_fits(self) -> Optimisation:
        if self.warmup_epochs >= self.epochs > 1:
            raise ValueError(f"warmup_epochs {self.warmup_epochs} must be below epochs {self.epochs}")
        return self


class Run(Strict):
    """One entry of a suite: everything but the data set and the seed."""

    thesis_id: str | None = None
    """Name of the thesis's run that this one repeats."""
    model: Model
    """The run's own network."""
    view: View = View()
    """How this run's own network sees the images."""
    teacher: str | None = None
    """Run whose selected weights teach this one; none for a teacher or a student alone."""
    teacher_view: View | None = None
    """How the teacher sees this run's mixed batch."""
    teacher_seed: int | None = None
    """Seed of the teacher's run; the same as this run's when absent."""
    seeds: Seeds | None = None
    """Seeds of this run; the suite's when absent."""
    stream_seed: int | None = None
    """Seed of the batches: order, augmentation and mixing; the run's own when absent. Given one, the seeds of a run see
    the same batches and share a pass of their teacher, and differ in initial weights and dropout alone."""
    augmentation: Augmentation = Augmentation()
    """What is done to a training image."""
    objective: Objective
    """The loss, by its `method`."""
    optimisation: Optimisation
    """How the weights are found."""
    probe_images: int = Field(default=0, ge=0)
    """Training images of the fixed batch on which gradients and teacher are measured after every epoch; 0 for none."""

    @model_validator(mode="after")
    def _teacher_is_consistent(self) -> Run:
        if self.objective.needs_teacher != (self.teacher is not None):
            need = "needs a teacher" if self.objective.needs_teacher else "has no use for a teacher"
            raise ValueError(f"objective {self.objective.method} {need}")
        if self.probe_images and self.teacher is None:
            raise ValueError("probe_images: what is measured takes a teacher; leave it out")
        if self.teacher is not None and self.teacher_view is None:
            raise ValueError("teacher_view: missing; say how the teacher sees the batch")
        if self.view.kind == "upsampled":
            raise ValueError("view.kind: 'upsampled' is a teacher_view; a run's own view is native or resized")
        seen = self.teacher_view
        if seen is not None and seen.kind != "upsampled" and seen != self.view:
            raise ValueError("teacher_view: the teacher sees this run's batch: the same view, or kind: upsampled")
        return self


class Budget(Strict):
    """A cut of any suite, to try it out; its records and its report are stamped as truncated."""

    train_images: Count | None = None
    """Training images, as in `dataset`."""
    test_images: Count | None = None
    """Test images, as in `dataset`."""
    epochs: Count | None = None
    """Epochs of every run."""
    pretrained: bool | None = None
    """Whether to start from ImageNet weights."""


class Spec(Strict):
    """One run and seed, resolved: what `train` and `evaluate` are a function of, besides data and teacher."""

    suite: str
    run: str
    seed: int
    thesis_id: str | None
    dataset: Dataset
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
    budget: Budget | None = None
    """The budget that cut this run, when it did."""

    @property
    def seed_of_batches(self) -> int:
        """Seed of order, augmentation and mixing."""
        return self.seed if self.stream_seed is None else self.stream_seed

    def differing(self, other: Spec) -> list[str]:
        """Return the keys in which two specs differ."""
        ours, theirs = self.model_dump(mode="json"), other.model_dump(mode="json")
        return [key for key in ours if ours[key] != theirs[key]]

    @model_validator(mode="after")
    def _has_a_step(self) -> Spec:
        held_out = self.dataset.validation_images
        images = (self.dataset.train_images or DATASETS[self.dataset.name].train_images) - held_out
        if self.optimisation.batch_size > images:
            raise ValueError(
                f"batch_size {self.optimisation.batch_size} exceeds the {max(images, 0)} training images that "
                f"validation_images {held_out} leaves: the incomplete batch is dropped, so no step would be taken"
            )
        wants_validation = self.optimisation.select == "best_on_validation"
        if wants_validation and not self.dataset.validation_images:
            raise ValueError("select best_on_validation needs dataset.validation_images above 0")
        return self


class Factor(Strict):
    """One axis of a suite's design: runs that are meant to differ in one thing."""

    title: str
    """What is varied, and what is held."""
    levels: dict[str, str]
    """Run of each level, the one that the others are compared with first; a run may be a level of several factors."""


class Suite(Strict):
    """A named set of runs with shared settings."""

    suite: Name
    """Name of the suite, and of its folder under results/."""
    title: str
    """One line for the report's first page."""
    notice: str | None = None
    """What a reader must know before any figure, in a box on the report's first page."""
    records: Literal["computed", "shipped"] = "computed"
    """`shipped`: the records are given and no rule can compute them."""
    device: Literal["any", "cuda"] = "any"
    """What training needs."""
    dataset: Dataset
    """The images of all its runs."""
    seeds: Seeds = (42,)
    """Seeds of every run that names none itself."""
    runs: dict[Name, Run] = Field(min_length=1)
    """The runs by name: teachers, students, and students without a teacher."""
    factors: dict[str, Factor] = {}
    """The design: which runs to compare for what. The report sets a table of each."""

    @model_validator(mode="after")
    def _folders_are_free(self) -> Suite:
        for name in self.runs:
            if name in RESERVED:
                raise ValueError(f"runs.{name}: results/{self.suite}/{name} holds something else; choose another name")
        return self

    @model_validator(mode="after")
    def _levels_exist(self) -> Suite:
        for name, factor in self.factors.items():
            for level, run in factor.levels.items():
                if run not in self.runs:
                    raise ValueError(f"factors.{name}.levels.{level}: no run '{run}'{nearest(run, self.runs)}")
        return self

    @model_validator(mode="after")
    def _teachers_exist(self) -> Suite:
        for name, run in self.runs.items():
            if run.teacher is not None and run.teacher not in self.runs:
                raise ValueError(f"runs.{name}.teacher: no run '{run.teacher}'{nearest(run.teacher, self.runs)}")
            if run.teacher is not None and self.runs[run.teacher].teacher is not None:
                raise ValueError(f"runs.{name}.teacher: '{run.teacher}' is itself a student")
        return self

    def seeds_of(self, name: str) -> tuple[int, ...]:
        """Return the seeds that a run is computed with."""
        return self.run(name).seeds or self.seeds

    def run(self, name: str) -> Run:
        """Return a run by name.

        Raises:
            CrossresError: When there is none, naming the nearest.
        """
        if name not in self.runs:
            raise CrossresError(f"suite {self.suite} has no run '{name}'{nearest(name, self.runs)}")
        return self.runs[name]

    def resolve(self, name: str, seed: int, budget: Budget | None = None) -> Spec:
        """Return the self-contained spec of one run and seed, cut by a budget if one is given."""
        run = self.run(name)
        cut = (budget or Budget()).model_dump(exclude_none=True)
        sizes: dict[str, Any] = {key: cut[key] for key in ("train_images", "test_images") if key in cut}
        dataset = self.dataset.model_copy(update=sizes)
        model, optimisation = run.model, run.optimisation
        if "pretrained" in cut:
            model = model.model_copy(update={"pretrained": cut["pretrained"]})
        if "epochs" in cut:
            warmup = min(optimisation.warmup_epochs, cut["epochs"] - 1)
            optimisation = optimisation.model_copy(update={"epochs": cut["epochs"], "warmup_epochs": warmup})
        teacher_seed = None if run.teacher is None else (seed if run.teacher_seed is None else run.teacher_seed)
        document = {
            **run.model_dump(exclude={"seeds", "model", "optimisation", "teacher_seed"}),
            **{"suite": self.suite, "run": name, "seed": seed, "teacher_seed": teacher_seed},
            **{"dataset": dataset.model_dump(), "model": model.model_dump(), "budget": cut or None},
            **{"optimisation": optimisation.model_dump()},
        }
        return Spec.parse(document, f"suite {self.suite}, run {name}")

    def jobs(self) -> list[tuple[str, int]]:
        """Return every (run, seed) of the suite, in the file's order."""
        return [(name, seed) for name in self.runs for seed in self.seeds_of(name)]


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two nested mappings; the second wins, and a change of `method` starts its objective afresh."""
    if "method" in over and base.get("method") not in (None, over["method"]):
        return dict(over)
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        CrossresError: When the file is missing, is not YAML, or is not a mapping.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CrossresError(f"{path}: no such file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CrossresError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict):
        raise CrossresError(f"{path}: expected a mapping of keys")
    return document


def load_suite(path: Path) -> Suite:
    """Read and check a suite file.

    `extends: FILE` starts from another suite beside it. Under `presets` stand partial runs; a run's `use: [names]`
    merges them in order, and the run's own keys come last. A run that is null is left out.

    Args:
        path: The suite's YAML file.

    Returns:
        The suite, with every run complete.

    Raises:
        CrossresError: One line that names the key and the mend.
    """
    document = _extended(path)
    presets = _mapping(document.pop("presets", None) or {}, f"{path}: presets")
    runs = {}
    for name, run in _mapping(document.get("runs", {}), f"{path}: runs").items():
        if run is None:
            continue
        entry = dict(_mapping(run, f"{path}: runs.{name}"))
        uses = entry.pop("use", [])
        if not (isinstance(uses, list) and all(isinstance(preset, str) for preset in uses)):
            raise CrossresError(f"{path}: runs.{name}.use: expected a list of presets, such as [{uses}]")
        for preset in reversed(uses):
            if preset not in presets:
                raise CrossresError(f"{path}: runs.{name}.use: no preset '{preset}'{nearest(preset, presets)}")
            entry = merge(_mapping(presets[preset], f"{path}: presets.{preset}"), entry)
        runs[name] = entry
    return Suite.parse({**document, "runs": runs}, str(path))


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise CrossresError(f"{where}: expected a mapping of keys (got {value!r:.40})")
    return value


def _extended(path: Path, children: tuple[Path, ...] = ()) -> dict[str, Any]:
    document = read_yaml(path)
    parent = document.pop("extends", None)
    if parent is None:
        return document
    if not isinstance(parent, str):
        raise CrossresError(f"{path}: extends: expected the name of a file beside it (got {parent!r:.40})")
    children = (*children, path.resolve())
    if (path.parent / parent).resolve() in children:
        raise CrossresError(f"{path}: extends: {parent} extends this file itself")
    return merge(_extended(path.parent / parent, children), document)
