"""What a suite costs before it is run: hours, memory and disk of every run, and what the runs share.

Time is estimated from two counts of a training step: its floating-point operations and its launched operations. The
cost of each is fitted to measured points: those of this device in `benchmarks/results/`, or else the minutes that the
thesis's runs took on its GPU.
"""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import astuple, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import nnls
from tabulate import tabulate
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from crossres import files
from crossres.base import CrossresError
from crossres.files import read_json
from crossres.records.record import Record, read_record
from crossres.suites.datasets import DatasetInfo
from crossres.suites.passes import Sharing, TeacherLogits, pass_key, steps_per_epoch, stored_passes
from crossres.suites.spec import Model, Spec
from crossres.training.models import parameter_count, skeleton, try_out

TRAINING = 3
"""Forward passes that one training step is worth: the backward pass counts twice."""
EVALUATION_BATCH = 500
RESERVED_GIB = 0.6
"""Memory of CUDA's context and the libraries' workspaces (assumed)."""


class NetworkCounts(NamedTuple):
    """The counts of one architecture at one resolution."""

    parameters: int
    flops: float
    """Per image, forward."""
    launches: int
    """Operations of a forward pass, whatever its batch size."""
    saved_bytes: float
    """Float32 activations per image that the forward pass keeps for the backward pass."""


@functools.cache
def count_network(model: Model, classes: int, resolution_px: int) -> NetworkCounts:
    """Count an architecture's work by running it on tensors without content."""
    network = skeleton(model, classes)
    images = torch.empty(2, 3, resolution_px, resolution_px, device="meta")  # batch norm needs more than one value
    launched = _Launches()
    with FlopCounterMode(display=False) as flops, launched:
        saved = saved_bytes(network, images)
    per_image = flops.get_total_flops() / len(images)
    return NetworkCounts(parameter_count(network), per_image, launched.count, saved / len(images))


class _Launches(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return function(*args, **(kwargs or {}))


def saved_bytes(network: nn.Module, images: Tensor) -> int:
    """Return the bytes that a forward pass keeps for the backward pass, without the parameters."""
    own = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        network(images)
    return sum(tensor.untyped_storage().nbytes() for key, tensor in kept.items() if key not in own)


class Work(NamedTuple):
    """The counts of a part of a run."""

    flops: float
    launches: float


@dataclass(frozen=True)
class Machine:
    """What work costs on one device."""

    name: str
    source: str
    """Where the two figures come from."""
    s_per_flop: float
    s_per_launch: float

    def hours(self, work: Work) -> float:
        return (work.flops * self.s_per_flop + work.launches * self.s_per_launch) / 3600


def fit_machine(name: str, source: str, points: Sequence[tuple[Work, float]]) -> Machine:
    """Fit the cost of work to points (work, seconds): least squares of the relative errors, no cost below 0."""
    rows = np.array([[work.flops / seconds, work.launches / seconds] for work, seconds in points])
    scale = rows.max(axis=0)
    costs, _ = nnls(rows / scale, np.ones(len(rows)))
    s_per_flop, s_per_launch = (costs / scale).tolist()
    return Machine(name, source, s_per_flop, s_per_launch)


def machine_of(device_name: str) -> Machine:
    """Return what work costs on this device, as records name it; on the thesis's GPU where it was not measured."""
    for path in sorted(files.BENCHMARKS.glob("*.json")):
        document = read_json(path)
        if document.get("device") == device_name and document.get("points"):
            points = [(Work(point["flops"], point["launches"]), point["seconds"]) for point in document["points"]]
            return fit_machine(device_name, str(path), points)
    return thesis_machine()


def thesis_machine() -> Machine:
    """Return what work costs on the thesis's GPU, by the minutes that its runs took."""
    records = [read_record(path) for path in sorted(files.SHIPPED.glob("published/*/*.json"))]
    if not records:
        raise CrossresError(f"{files.SHIPPED / 'published'}: no records; git restore them, or run `make bench` first")
    return fit_machine(records[0].provenance.device, "the minutes of the published runs", epochs_of(records))


def epochs_of(records: Sequence[Record]) -> list[tuple[Work, float]]:
    """Return the work and the mean seconds of an epoch of each record; their teachers must be among them."""
    by_run = {record.spec.run: record.spec for record in records}
    points = []
    for record in records:
        own, teacher = training_work(record.spec), teacher_work(record.spec, by_run.get(record.spec.teacher or ""))
        work = Work(own.flops + teacher.flops, own.launches + teacher.launches)
        points.append((work, 60 * record.cost.train_minutes / len(record.history)))
    return points


def training_work(spec: Spec) -> Work:
    """Return the work of an epoch without the teacher: the training steps and the evaluation."""
    own, steps = _counts(spec), steps_per_epoch(spec)
    tested = (spec.dataset.test_images or spec.dataset.info.test_images) + spec.dataset.validation_images
    images = TRAINING * steps * spec.optimisation.batch_size + tested
    return Work(own.flops * images, own.launches * (TRAINING * steps + tested / EVALUATION_BATCH))


def teacher_work(spec: Spec, teacher: Spec | None) -> Work:
    """Return the work of an epoch's forward passes of a run's teacher; none without one."""
    if teacher is None or spec.teacher_view is None:
        return Work(0, 0)
    network = count_network(teacher.model, spec.dataset.classes, spec.teacher_view.resolution_px)
    steps = steps_per_epoch(spec)
    return Work(network.flops * steps * spec.optimisation.batch_size, network.launches * steps)


def _counts(spec: Spec) -> NetworkCounts:
    return count_network(spec.model, spec.dataset.classes, spec.view.resolution_px)


def memory_gib(spec: Spec, teacher: Spec | None, precision: str) -> float:
    """Return the estimated peak memory of a run's training, in GiB.

    Saved activations of a batch (half as large under autocast), four float32 copies of the parameters (weights,
    gradients, two moments) and the half-precision ones of autocast, the teacher's weights, the images as bytes, and a
    constant.
    """
    own, half = _counts(spec), precision != "fp32"
    activations = own.saved_bytes * spec.optimisation.batch_size * (0.5 if half else 1)
    weights = own.parameters * (16 + (2 if half else 0))
    if teacher is not None:
        weights += _counts(teacher).parameters * (4 + (2 if half else 0))
    dataset = spec.dataset.info
    images = (dataset.train_images + dataset.test_images) * 3 * spec.view.resolution_px**2
    return (activations + weights + images) / 2**30 + RESERVED_GIB


@dataclass(frozen=True)
class RunPlan:
    """What one run takes, with all its seeds."""

    run: str
    seeds: int
    teacher: str
    network: str
    gmacs: float
    epochs: int
    hours: float
    memory_gib: float


@dataclass(frozen=True)
class Plan:
    """What a suite takes; early stopping is not included."""

    machine: Machine
    runs: list[RunPlan]
    hours_by_rule: dict[str, float]
    live_hours: float
    """Of the whole suite, if every student computed its teacher's logits."""
    disk_gb: float
    """Of the stored logits while they last."""
    stored: list[str]
    """Which logits are stored, and for whom."""
    dataset: DatasetInfo
    """The images of all runs."""

    @property
    def hours(self) -> float:
        return sum(self.hours_by_rule.values())


def make_plan(
    specs: Sequence[Spec], mode: TeacherLogits, machine: Machine, cuda: bool, runs: Collection[str] | None = None
) -> Plan:
    """Estimate a suite.

    Args:
        specs: All runs and seeds of the suite.
        mode: Where the teacher's logits come from.
        machine: What work costs.
        cuda: Whether the precision of the specs is used, or float32.
        runs: The runs to compute; all when None.
    """
    by_key = {(spec.run, spec.seed): spec for spec in specs}
    computed = [spec for spec in specs if runs is None or spec.run in runs]

    def teacher_of(spec: Spec) -> Spec | None:
        return None if spec.teacher is None else by_key[spec.teacher, spec.teacher_seed or 0]

    for spec in computed:
        try_out(spec, teacher_of(spec))

    def pass_hours(spec: Spec) -> float:
        return machine.hours(teacher_work(spec, teacher_of(spec)))

    stored = stored_passes(computed, mode)
    stored_epochs = {sharing.key: sharing.epochs for sharing in stored}
    train_hours: defaultdict[str, float] = defaultdict(float)
    live_hours = 0.0
    for spec in computed:
        epochs = spec.optimisation.epochs
        own = machine.hours(training_work(spec)) * epochs
        train_hours[spec.run] += own + pass_hours(spec) * max(0, epochs - stored_epochs.get(pass_key(spec), 0))
        live_hours += own + pass_hours(spec) * epochs
    seeds = Counter(spec.run for spec in computed)
    first = {spec.run: spec for spec in reversed(computed)}
    rows = [
        _run_plan(first[run], teacher_of(first[run]), seeds[run], hours, cuda) for run, hours in train_hours.items()
    ]
    hours_by_rule = {"train": sum(train_hours.values())}
    if stored:
        hours_by_rule["teacher_logits"] = sum(pass_hours(each.students[0]) * each.epochs for each in stored)
    disk_gb, shared = sum(one.gigabytes(2 if cuda else 4) for one in stored), [_stored(one) for one in stored]
    return Plan(machine, rows, hours_by_rule, live_hours, disk_gb, shared, specs[0].dataset.info)


def _run_plan(spec: Spec, teacher: Spec | None, seeds: int, hours: float, cuda: bool) -> RunPlan:
    return RunPlan(
        run=spec.run,
        seeds=seeds,
        teacher=spec.teacher or "",
        network=f"{spec.model.name.partition('/')[2]} @ {spec.view.resolution_px} px",
        gmacs=_counts(spec).flops / 2e9,
        epochs=spec.optimisation.epochs,
        hours=hours,
        memory_gib=memory_gib(spec, teacher, spec.optimisation.precision if cuda else "fp32"),
    )


def _stored(sharing: Sharing) -> str:
    students = ", ".join(f"{spec.run}/{spec.seed}" for spec in sharing.students)
    teacher = f"{sharing.teacher}/{sharing.teacher_seed}"
    return f"logits of {teacher}, {sharing.epochs} epochs, are computed once for {students}"


def plan_text(plan: Plan) -> str:
    """Return the plan as text for a terminal."""
    headers = ("run", "seeds", "teacher", "network", "GMACs", "epochs", "hours", "memory GiB")
    formats = ("", "", "", "", ".3f", "", ".2f" if plan.hours > 1 else ".4f", ".1f")
    by_rule = ", ".join(f"{rule} {_duration(hours)}" for rule, hours in plan.hours_by_rule.items())
    disk = f"disk: {plan.disk_gb:.2g} GB for stored logits, removed after their last student"
    images, data = plan.dataset.train_images + plan.dataset.test_images, plan.dataset.title
    lines = [
        tabulate([astuple(row) for row in plan.runs], headers=headers, floatfmt=formats),
        *plan.stored,
        f"total {_duration(plan.hours)} ({by_rule}); {_duration(plan.live_hours)} with live logits",
        *([disk] if plan.stored else []),
        f"on {data}, {images:,} images",
        f"hours on {plan.machine.name}, fitted to {plan.machine.source}; early stopping is not included",
    ]
    return "\n".join(lines)


def _duration(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.1f} min"
