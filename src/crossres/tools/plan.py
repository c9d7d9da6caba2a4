"""What a suite takes before it is run: hours, memory and disk of every run, and what the runs share.

Time is estimated from two counts of a training step: its floating-point operations and the operations that are launched
one by one. What each of the two costs is fitted to measured points: those of `benchmarks/results/` that were taken on
this device, or else the minutes that the thesis's runs took on its own GPU.
"""

from __future__ import annotations

import functools
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
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
from crossres.files import read_json, write_atomic
from crossres.records.record import Record, read_record
from crossres.suites.passes import Sharing, TeacherLogits, pass_key, steps_per_epoch, stored_passes
from crossres.suites.spec import Model, Spec
from crossres.training.models import build, parameter_count

TRAINING = 3
"""Forward passes that one training step is worth: the backward pass counts twice."""
RESERVED_GIB = 0.6
"""What CUDA's context and the libraries' workspaces take beside the tensors (assumed)."""


class Network(NamedTuple):
    """The counts of one architecture at one resolution."""

    parameters: int
    flops: float
    """Of the forward pass of one image."""
    launches: int
    """Operations of a forward pass, whatever its batch."""
    saved_bytes: float
    """What one image's forward pass keeps for the backward pass, in float32."""


@functools.cache
def count(model: Model, classes: int, resolution_px: int) -> Network:
    """Count an architecture's work by running it on tensors without content."""
    with torch.device("meta"):
        network = build(model.model_copy(update={"pretrained": False}), classes, seed=0)
    images = torch.empty(2, 3, resolution_px, resolution_px, device="meta")  # batch norm wants more than one value
    launched = _Launches()
    with FlopCounterMode(display=False) as flops, launched:
        saved = _saved_bytes(network, images)
    return Network(parameter_count(network), flops.get_total_flops() / len(images), launched.count, saved / len(images))


class _Launches(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return function(*args, **(kwargs or {}))


def _saved_bytes(network: nn.Module, images: Tensor) -> float:
    own = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        network(images)
    return sum(tensor.untyped_storage().nbytes() for key, tensor in kept.items() if key not in own)


class Work(NamedTuple):
    """The counts of some part of a run."""

    flops: float = 0.0
    launches: float = 0.0

    def plus(self, other: Work, times: float = 1.0) -> Work:
        """Add another part, some number of times."""
        return Work(self.flops + times * other.flops, self.launches + times * other.launches)


class Machine(NamedTuple):
    """What work costs on one device."""

    name: str
    source: str
    """Where the two figures come from."""
    s_per_flop: float
    s_per_launch: float

    def hours(self, work: Work) -> float:
        """Return the hours that work takes."""
        return (work.flops * self.s_per_flop + work.launches * self.s_per_launch) / 3600


def fit(name: str, source: str, points: Sequence[tuple[Work, float]]) -> Machine:
    """Fit what work costs to measured points, by least squares of the relative errors, with no cost below 0.

    Args:
        name: The device.
        source: Where the points come from.
        points: Work, and the seconds that it took.
    """
    rows = np.array([[work.flops / seconds, work.launches / seconds] for work, seconds in points])
    scale = rows.max(axis=0)
    costs, _ = nnls(rows / scale, np.ones(len(rows)))
    s_per_flop, s_per_launch = (costs / scale).tolist()
    return Machine(name, source, s_per_flop, s_per_launch)


def machine_of(device_name: str) -> Machine:
    """Return what work costs: on this device, as records name it, where it was measured; else on the thesis's GPU."""
    for path in sorted(files.BENCHMARKS.glob("*.json")):
        document = read_json(path)
        if document.get("device") == device_name and document.get("points"):
            measured = [(Work(point["flops"], point["launches"]), point["seconds"]) for point in document["points"]]
            return fit(device_name, str(path), measured)
    return thesis_machine()


def thesis_machine() -> Machine:
    """Return what work costs on the thesis's GPU, by the minutes that its runs took."""
    records = [read_record(path) for path in sorted(files.SHIPPED.glob("published/*/*.json"))]
    if not records:
        raise CrossresError(f"{files.SHIPPED / 'published'}: no records; git restore them, or run `make bench` first")
    return fit(records[0].provenance.device, "the minutes of the published runs", [_published(r) for r in records])


def _published(record: Record) -> tuple[Work, float]:
    epoch = training(record.spec).plus(live_teacher(record.spec))
    return Work().plus(epoch, len(record.history)), 60 * record.cost.train_minutes


def _own(spec: Spec) -> Network:
    return count(spec.model, spec.dataset.classes, spec.view.resolution_px)


def training(spec: Spec) -> Work:
    """Return the work of an epoch of a run without its teacher: training steps, and the test set."""
    own, steps, batch = _own(spec), steps_per_epoch(spec), spec.optimisation.batch_size
    tested = (spec.dataset.test_images or spec.dataset.info.test_images) + spec.dataset.validation_images
    images = TRAINING * steps * batch + tested
    return Work(own.flops * images, own.launches * (TRAINING * steps + tested / 500))


def live_teacher(spec: Spec, teacher: Spec | None = None) -> Work:
    """Return the work of an epoch of a run's teacher; the larger network of the thesis where it is not told."""
    if spec.teacher is None or spec.teacher_view is None:
        return Work()
    model = Model(name="torchvision/efficientnet_v2_l") if teacher is None else teacher.model
    network = count(model, spec.dataset.classes, spec.teacher_view.resolution_px)
    steps, batch = steps_per_epoch(spec), spec.optimisation.batch_size
    return Work(network.flops * steps * batch, network.launches * steps)


def memory_gib(spec: Spec, teacher: Spec | None, precision: str) -> float:
    """Return the estimated peak memory of a run's training, in GiB.

    Saved activations of a batch (half as large under autocast), four float32 copies of the parameters (weights,
    gradients, two moments) and the half-precision ones of autocast, the teacher's weights, the images as bytes, and a
    constant.
    """
    own, batch = _own(spec), spec.optimisation.batch_size
    half = precision != "fp32"
    activations = own.saved_bytes * batch * (0.5 if half else 1)
    weights = own.parameters * (16 + (2 if half else 0))
    if teacher is not None:
        weights += _own(teacher).parameters * (4 + (2 if half else 0))
    facts = spec.dataset.info
    images = (facts.train_images + facts.test_images) * 3 * spec.view.resolution_px**2
    return (activations + weights + images) / 2**30 + RESERVED_GIB


class Row(NamedTuple):
    """What one run takes, all its seeds together."""

    run: str
    seeds: int
    teacher: str
    network: str
    gmacs: float
    epochs: int
    hours: float
    memory_gib: float


class Plan(NamedTuple):
    """What a suite takes."""

    machine: Machine
    rows: list[Row]
    stored: list[Sharing]
    hours_by_rule: dict[str, float]
    live_hours: float
    """Of the whole suite, were every student to compute its teacher's logits."""
    disk_gb: float
    """Of the stored logits while they last."""

    @property
    def hours(self) -> float:
        return sum(self.hours_by_rule.values())


def make_plan(specs: Sequence[Spec], mode: TeacherLogits, machine: Machine, cuda: bool) -> Plan:
    """Estimate a suite.

    Args:
        specs: The runs to compute, and the teachers that they name.
        mode: How the teacher's logits are come by.
        machine: What work costs.
        cuda: Whether the precision of the specs is computed in, or float32.

    Returns:
        The estimate. Early stopping is not foreseen: every schedule is taken to its end.
    """
    named = {(spec.run, spec.seed): spec for spec in specs}
    stored = stored_passes(specs, mode)
    reach = {sharing.key: sharing.epochs for sharing in stored}
    train: defaultdict[str, float] = defaultdict(float)
    live = 0.0
    for spec in specs:
        epochs, teacher = spec.optimisation.epochs, _teacher_of(spec, named)
        each = machine.hours(live_teacher(spec, teacher))
        own = machine.hours(training(spec)) * epochs
        beyond = max(0, epochs - reach.get(pass_key(spec), 0)) if spec.teacher else 0
        train[spec.run] += own + each * beyond
        live += own + each * epochs
    passes_h = sum(
        machine.hours(live_teacher(sharing.students[0], _teacher_of(sharing.students[0], named))) * sharing.epochs
        for sharing in stored
    )
    rows = [_row(run, [spec for spec in specs if spec.run == run], named, train[run], cuda) for run in train]
    disk = sum(sharing.gigabytes(2 if cuda else 4) for sharing in stored)
    hours = {"train": sum(train.values()), **({"teacher_logits": passes_h} if stored else {})}
    return Plan(machine, rows, stored, hours, live, disk)


def _teacher_of(spec: Spec, named: dict[tuple[str, int], Spec]) -> Spec | None:
    if spec.teacher is None or spec.teacher_seed is None:
        return None
    return named.get((spec.teacher, spec.teacher_seed))


def _row(run: str, specs: list[Spec], named: dict[tuple[str, int], Spec], hours: float, cuda: bool) -> Row:
    first = specs[0]
    precision = first.optimisation.precision if cuda else "fp32"
    return Row(
        run=run,
        seeds=len(specs),
        teacher=first.teacher or "",
        network=f"{first.model.name.partition('/')[2]} @ {first.view.resolution_px} px",
        gmacs=_own(first).flops / 2e9,
        epochs=first.optimisation.epochs,
        hours=hours,
        memory_gib=memory_gib(first, _teacher_of(first, named), precision),
    )


def show(plan: Plan) -> str:
    """Return the plan as text for a terminal."""
    headers = ("run", "seeds", "teacher", "network", "GMACs", "epochs", "hours", "memory GiB")
    formats = ("", "", "", "", ".3f", "", ".2f" if plan.hours > 1 else ".4f", ".1f")
    lines = [tabulate(plan.rows, headers=headers, floatfmt=formats)]
    for sharing in plan.stored:
        students = ", ".join(f"{spec.run}/{spec.seed}" for spec in sharing.students)
        teacher = f"{sharing.teacher}/{sharing.teacher_seed}"
        lines.append(f"logits of {teacher}, {sharing.epochs} epochs, are computed once for {students}")
    by_rule = ", ".join(f"{rule} {_duration(hours)}" for rule, hours in plan.hours_by_rule.items())
    lines.append(f"together {_duration(plan.hours)} ({by_rule}); {_duration(plan.live_hours)} with live logits")
    if plan.stored:
        lines.append(f"disk: {plan.disk_gb:.2g} GB for stored logits, removed after their last student")
    lines.append(f"hours on {plan.machine.name}, fitted to {plan.machine.source}; early stopping is not foreseen")
    return "\n".join(lines)


def _duration(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.1f} min"


def write(plan: Plan, path: Path) -> None:
    """Write the plan as JSON."""
    document = {
        "machine": plan.machine._asdict(),
        "runs": [row._asdict() for row in plan.rows],
        "hours_by_rule": plan.hours_by_rule,
        "live_hours": plan.live_hours,
        "disk_gb": plan.disk_gb,
    }
    write_atomic(path, json.dumps(document, indent=2) + "\n")
