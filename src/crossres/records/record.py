"""The record of one run and seed: everything that the report needs to know of it.

A record is one JSON document, written atomically when the run is complete. Everything that depends on the clock or the
machine is under `cost` and `provenance`; the rest of two equal runs is equal to the bit.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, model_validator

from crossres.base import Count, CrossresError, Positive, Probability, Strict
from crossres.files import read_json, write_json
from crossres.suites.spec import Spec
from crossres.suites.suite import Suite

SCHEMA_VERSION: Literal[1] = 1


def _is_none(value: object) -> bool:
    return value is None


Percent = Annotated[float, Field(ge=0, le=100)]


def _near(name: str, pct: float, evidence: str, other_pct: float, images_apart: float, images: int) -> None:
    """Raise a ValueError where two accuracies lie apart by more than a number of images."""
    if abs(pct - other_pct) > 100 * images_apart / images + 1e-6:
        raise ValueError(f"{name}: {pct:.4f}, but {evidence} in the same record says {other_pct:.4f}")


class ParameterGradients(Strict):
    """Gradients of the mean CE, TCKD and NCKD at the network's parameters; means over batches of the probe.

    The terms are those of the method where it is DKD, with the method's label smoothing and T², without their weights.
    """

    ce_norm: float
    tckd_norm: float
    nckd_norm: float
    cos_ce_tckd: float
    cos_ce_nckd: float
    cos_tckd_nckd: float


class Probed(Strict):
    """Measurements on a fixed batch after an epoch; means over its images."""

    ce_norm: float
    """Norm of the gradient of cross entropy at the student's logits."""
    tckd_norm: float
    """Norm of the gradient of TCKD, times T², without its weight."""
    nckd_norm: float
    """Norm of the gradient of NCKD, times T², without its weight."""
    cos_ce_tckd: float
    """Cosine between two of these gradients."""
    cos_ce_nckd: float
    cos_tckd_nckd: float
    conflict_share: float
    """Share of the images on which the gradients of CE and NCKD oppose each other: their cosine is below 0."""
    teacher_entropy: float
    """Entropy of the teacher's prediction, in nats."""
    teacher_mass_a: float
    """The teacher's probability of the image's own label."""
    teacher_mass_b: float
    """The teacher's probability of the label that was mixed in, or of the own label if the image is not mixed."""
    order_violation_share: float
    """Share of the images for which the teacher prefers the label with the smaller lambda."""
    off_label_share: float
    """Share of the images for which the teacher predicts neither label."""
    superposition_error: float
    """Distance of the teacher's logits from the mix, by lambda, of its logits of the two unmixed images, divided by the
    norm of the former."""
    parameter_gradients: ParameterGradients | None = None
    """The gradients at the network's parameters instead of its logits."""


class Epoch(Strict):
    """One epoch of training. A figure that was not logged is null."""

    epoch: Count
    learning_rate: float
    """Learning rate of the epoch."""
    train_loss: float
    """Mean total loss of the training batches."""
    losses: dict[str, float] = {}
    """Mean of each term of the loss, by name."""
    test_loss: float | None
    """Cross entropy on the test images, without label smoothing where computed here; null where it is not finite."""
    test_loss_of_batches: float | None = None
    """Mean over the test batches of their mean cross entropy, as the thesis took it; null where it is not finite or the
    spec's `evaluation` is not `thesis`."""
    test_accuracy_pct: Percent
    validation_accuracy_pct: Percent | None = None
    grad_norm: float | None = None
    """Mean global norm of the gradients before clipping."""
    clipped_share: Probability | None = None
    """Share of the steps whose gradients were clipped."""
    nonfinite_steps: int | None = None
    """Steps whose loss or gradient was not finite."""
    overflow_steps: int | None = None
    """Steps that the loss scaler of fp16 skipped while it searched for its scale."""
    probe: dict[Literal["clean", "mixup", "cutmix"], Probed] = {}
    """Measurements on the run's probe, by kind of image."""


class Reliability(Strict):
    """Confidence and accuracy in 15 equal bins of confidence, the lowest first; null in a bin without images."""

    images: list[NonNegativeInt] = Field(min_length=15, max_length=15)
    confidence: list[Probability | None] = Field(min_length=15, max_length=15)
    """Mean probability of the predicted class."""
    accuracy: list[Probability | None] = Field(min_length=15, max_length=15)
    """Share of the images that are classified correctly."""

    def check(self, where: str, top1_pct: float, images: int) -> None:
        """Raise a ValueError where the bins do not add up to the images and their accuracy."""
        if sum(self.images) != images:
            raise ValueError(f"{where}.images: their sum is not {images}, the number of test images")
        correct = sum(n * (share or 0) for n, share in zip(self.images, self.accuracy, strict=True))
        _near(where, 100 * correct / images, "top1_pct", top1_pct, 0, images)


class Evaluation(Strict):
    """The test figures of one set of weights."""

    epoch: Count
    top1_pct: Percent
    top5_pct: Percent | None = None
    nll: float | None = None
    """Mean cross entropy, without label smoothing."""
    ece: float | None = None
    """Expected calibration error, 15 equal bins of confidence."""
    brier: float | None = None
    """Mean squared distance of the probabilities from the one-hot label, summed over classes."""
    per_class_pct: list[Percent] | None = None
    reliability: Reliability | None = Field(default=None, exclude_if=_is_none)


class Teaching(Strict):
    """A run's teacher on the test images, in the view in which it teaches, and how far the selected weights follow it.

    Source of agreement and divergence: Stanton et al., *Does knowledge distillation really work?* (NeurIPS 2021).
    """

    top1_pct: Percent
    """Accuracy of the teacher."""
    nll: float | None
    """Mean cross entropy of the teacher with the labels; null where it is not finite."""
    agreement_pct: Percent
    """Share of the images for which teacher and student predict the same class."""
    kl: float | None
    """Mean KL divergence of the student's distribution from the teacher's, KL(teacher ‖ student), at temperature 1;
    null where it is not finite."""


class Calibrated(Strict):
    """Test figures of the selected weights with their logits divided by a temperature."""

    temperature: Positive
    """The temperature with the smallest cross entropy on the validation images."""
    nll: float
    ece: float
    brier: float


class Cost(Strict):
    """What the run cost."""

    parameters: Count
    """Parameters of the run's own network."""
    gmacs: float | None = None
    """Multiply-accumulates of a forward pass of one image, in units of 10⁹."""
    train_minutes: float
    """Wall-clock minutes of training, including the evaluation after each epoch and all resumptions."""
    images_per_s: float | None = None
    """Training images per second, without the evaluation."""
    peak_memory_mib: float | None = None
    """Peak of the GPU's memory or, on a CPU, of the process's resident set."""
    energy_wh: float | None = None
    """Energy that the GPU drew while training, in watt-hours by its own counter; null without a counter, and where
    other runs shared the GPU."""
    runs_per_gpu: Count | None = None
    """Runs that shared the GPU at most, whose minutes are therefore longer; null on a CPU."""
    resumptions: int | None = None
    stored_epochs: int | None = None
    """Epochs for which the teacher's logits were read from disk; their computation is not in the minutes."""
    epoch_s: list[float] = []
    """Wall-clock seconds of each epoch."""


class SourceFile(Strict):
    path: str
    sha256: str


class Source(Strict):
    """The source of figures that were not computed here."""

    repository: str
    commit: str
    files: list[SourceFile]


class Provenance(Strict):
    """What the figures were computed with; of a published record, its source."""

    source: Source | None = None
    commit: str | None = None
    """Commit of this project, with `+` when the tree had changes."""
    sources_sha256: str | None = None
    """Digest of the modules that training depends on."""
    data_sha256: str | None = None
    weights_sha256: str | None = None
    teacher_sha256: str | None = None
    imagenet_sha256: str | None = None
    """Digest of the file of ImageNet weights that the run started from, as it is published; null without them."""
    device: str
    precision: str | None = None
    """The precision of the computation on this device."""
    versions: dict[str, str] = {}
    earlier: list[dict[str, str]] = []
    """What the first epochs were computed with, where the run was resumed with something else on request."""
    image: str | None = None
    """Container image, if there was one: its tag, which names what it was built from, and its digest if known."""


class TrainingResult(Strict):
    """What training leaves for the evaluation, besides the weights."""

    state: str = Field(pattern="^[0-9a-f]{12}$")
    """Folder of the finished state, which is deleted once the record is written."""
    last_sha256: str
    """Digest of the weights of the last epoch."""
    history: list[Epoch]
    stopped_early: bool
    teaching: Teaching | None = None
    cost: Cost
    provenance: Provenance


class Checkpoint(Strict):
    """How far a run in training is, written after every epoch beside the tensors of its state."""

    spec_sha256: str
    """Digest of the spec that is trained."""
    files: dict[str, str] = {}
    """Digest of each file of the state."""
    sha256: str = ""
    """Digest of everything else in this document."""
    computed_with: list[dict[str, str]] = []
    """Code, versions and device of its epochs; several where a run was resumed with others on request."""
    epoch: NonNegativeInt
    """Epochs that are done."""
    epochs: Count
    """Epochs of the schedule."""
    epoch_s: float = 0.0
    """Mean wall-clock seconds of an epoch so far."""
    best_epoch: NonNegativeInt = 0
    best_accuracy_pct: float = 0.0
    """The best selection accuracy so far."""
    history: list[Epoch] = []
    wall_s: list[float] = []
    """Wall-clock seconds of each epoch."""
    step_s: float = 0.0
    """Seconds in training steps so far, over all epochs."""
    energy_j: float | None = 0.0
    """Energy that the GPU drew so far; null where it has no counter."""
    resumptions: int = 0
    stored_epochs: int = 0
    """Epochs for which the teacher's logits were read from disk."""


class Record(Strict):
    """One run and seed."""

    schema_version: Literal[1] = SCHEMA_VERSION
    spec: Spec
    history: list[Epoch] = Field(min_length=1)
    stopped_early: bool
    best: Evaluation
    """The selected weights: what the run reports."""
    last: Evaluation
    """The weights of the last epoch."""
    teaching: Teaching | None = Field(default=None, exclude_if=_is_none)
    """The teacher as it teaches; null for a run without one."""
    superclass_confusion: list[list[NonNegativeInt]] | None = Field(default=None, exclude_if=_is_none)
    """Test images by superclass (row) and the superclass of the class that the selected weights predict (column), where
    the data set has superclasses."""
    predictions: list[NonNegativeInt] | None = None
    """Class that the selected weights predict for each test image."""
    correct: str | None = Field(default=None, pattern="^[0-9a-f]+$")
    """Which test images the selected weights classify correctly: bits in hexadecimal, the first image first."""
    calibrated: Calibrated | None = None
    """The selected weights after temperature scaling, if the spec holds out images to fit the temperature."""
    cost: Cost
    provenance: Provenance

    @property
    def name(self) -> str:
        return self.spec.run

    @property
    def is_published(self) -> bool:
        """Whether the figures come from elsewhere."""
        return self.provenance.source is not None

    @model_validator(mode="after")
    def _epochs_are_of_the_history(self) -> Record:
        epochs = [entry.epoch for entry in self.history]
        if sorted(set(epochs)) != epochs:
            raise ValueError("history: its epochs do not ascend")
        for name, found in (("best", self.best.epoch), ("last", self.last.epoch)):
            if found not in epochs:
                raise ValueError(f"{name}.epoch: {found} is not in the history, which ends at {epochs[-1]}")
        return self

    @model_validator(mode="after")
    def _figures_are_those_of_the_evidence(self) -> Record:
        by_epoch = {entry.epoch: entry.test_accuracy_pct for entry in self.history}
        images = self.spec.dataset.test_images or self.spec.dataset.info.test_images
        for name, found in (("best", self.best), ("last", self.last)):
            # Another device, or number of threads, may decide single images differently.
            _near(
                f"{name}.top1_pct", found.top1_pct, "the history", by_epoch[found.epoch], max(1, images / 1000), images
            )
            if found.per_class_pct is not None and len(found.per_class_pct) != self.spec.dataset.classes:
                raise ValueError(f"{name}.per_class_pct: not one for each of the {self.spec.dataset.classes} classes")
            if found.reliability is not None:
                found.reliability.check(f"{name}.reliability", found.top1_pct, images)
        if self.predictions is not None or self.correct is not None:
            self._check_predictions(images)
        return self

    def _check_predictions(self, images: int) -> None:
        if self.predictions is None or self.correct is None:
            raise ValueError("predictions: recorded without `correct`, or the reverse")
        if len(self.predictions) != images or len(self.correct) != -(-images // 4):
            raise ValueError(f"predictions: not one for each of the {images} test images, or not as many as `correct`")
        if max(self.predictions) >= self.spec.dataset.classes:
            raise ValueError(f"predictions: {max(self.predictions)} is no class of {self.spec.dataset.name}")
        accuracy_pct = 100 * int(self.correct, 16).bit_count() / images
        _near("best.top1_pct", self.best.top1_pct, "`correct`", accuracy_pct, 0, images)

    def correct_images(self) -> list[bool] | None:
        """Return whether the selected weights classify each test image correctly; None where that was not recorded."""
        if self.correct is None or self.predictions is None:
            return None
        bits = f"{int(self.correct, 16):0{4 * len(self.correct)}b}"
        return [bit == "1" for bit in bits[: len(self.predictions)]]


def records_by_run(suite: Suite, records: Iterable[Record]) -> dict[str, list[Record]]:
    """Return the records of each run, in the suite's order.

    Raises:
        CrossresError: When a record is of no run of the suite, or a run has none.
    """
    by_run: dict[str, list[Record]] = {name: [] for name in suite.runs}
    for record in records:
        if record.name not in by_run:
            raise CrossresError(f"a record of run '{record.name}', which suite {suite.suite} does not have")
        by_run[record.name].append(record)
    if missing := [name for name, found in by_run.items() if not found]:
        raise CrossresError(f"suite {suite.suite}: no record of {', '.join(missing)}; the report needs every run")
    return by_run


def pack_bits(bits: Iterable[bool]) -> str:
    """Return bits in hexadecimal, the first bit first, padded with zeros to whole digits."""
    text = "".join("1" if bit else "0" for bit in bits)
    digits = -(-len(text) // 4)
    return f"{int(text.ljust(4 * digits, '0'), 2):0{digits}x}" if digits else ""


def read_spec(path: Path) -> Spec:
    """Read a resolved spec."""
    return Spec.parse(read_json(path), str(path))


def read_record(path: Path) -> Record:
    """Read a record.

    Raises:
        CrossresError: When it is missing, cut short, of another schema version or invalid.
    """
    document = read_json(path)
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != SCHEMA_VERSION:
        raise CrossresError(f"{path}: schema version {version}, this project reads {SCHEMA_VERSION}")
    return Record.parse(document, str(path))


def write_record(path: Path, record: Record) -> None:
    """Write a record, atomically."""
    document = record.model_dump(mode="json")
    document["history"] = [epoch.model_dump(mode="json", exclude_defaults=True) for epoch in record.history]
    write_json(path, document)
