"""Verbs of the training: data, weights, and what is done to one run and seed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from crossres.base import CrossresError
from crossres.files import read_json
from crossres.options import Count, Data, Device, Output, SpecFile, Threads
from crossres.suites.datasets import DATASETS


def data(
    dataset: Annotated[str, Parameter(choices=tuple(DATASETS))],
    /,
    *,
    root: Data = Path("data"),
    source: str | None = None,
) -> None:
    """Fetch, adopt or generate a data set, and verify it.

    Args:
        dataset: Name of the data set.
        source: Folder or archive to take CIFAR from instead of downloading it.
    """
    from crossres.training.acquire import prepare

    print(f"{prepare(dataset, root, source)}: verified")


def weights(model: str, /, *, output: Output, source: Path | None = None) -> None:
    """Fetch or adopt the ImageNet weights of a model, and verify them.

    Args:
        model: LIBRARY/NAME of the model, such as torchvision/efficientnet_v2_s.
        source: Folder to take the file from instead of downloading it.
    """
    from crossres.training.models import fetch_weights

    fetch_weights(model, source, output)
    print(f"{output}: verified")


def train(
    *,
    spec: SpecFile,
    data: Data = Path("data"),
    teacher: Path | None = None,
    weights: Path | None = None,
    device: Device = "auto",
    threads: Threads = 1,
    cuda_graph: Annotated[bool, Parameter(negative="--no-cuda-graph", env_var="CROSSRES_CUDA_GRAPH")] = True,
) -> None:
    """Train one run, from its last checkpoint if there is one.

    Args:
        teacher: Weights of the run's teacher.
        weights: ImageNet weights to start from.
        cuda_graph: Capture the training step as one CUDA graph.
    """
    from crossres.records.record import read_spec
    from crossres.training.acquire import check
    from crossres.training.device import use_device
    from crossres.training.loop import Trainer
    from crossres.training.progress import ProgressBar

    resolved = read_spec(spec)
    check(resolved.dataset.name, data)
    _check_teacher(teacher)
    chosen = use_device(device, threads)
    progress = ProgressBar(f"{resolved.run} seed {resolved.seed}", resolved.optimisation.epochs)
    try:
        Trainer(resolved, data, spec.parent, chosen, teacher, weights, cuda_graph).fit(progress)
    finally:
        progress.close()


def logits(
    *,
    spec: SpecFile,
    teacher: Path,
    epochs: Count,
    output: Path,
    data: Data = Path("data"),
    device: Device = "auto",
    threads: Threads = 1,
) -> None:
    """Store a teacher's logits for every batch of a student's stream.

    Args:
        teacher: Weights of the teacher.
        epochs: Epochs of the stream to store.
        output: Folder of the stored logits.
    """
    from crossres.records.record import read_spec
    from crossres.training.acquire import check
    from crossres.training.device import use_device
    from crossres.training.progress import ProgressBar
    from crossres.training.teacher import store_pass

    student = read_spec(spec)
    if student.teacher is None:
        raise CrossresError(f"{spec}: run {student.run} has no teacher, so no logits to store; give a student's spec")
    check(student.dataset.name, data)
    _check_teacher(teacher)
    chosen = use_device(device, threads)
    progress = ProgressBar(f"logits of {student.teacher} seed {student.teacher_seed}", epochs)
    try:
        store_pass(student, teacher, data, epochs, output, chosen, progress)
    finally:
        progress.close()


def _check_teacher(weights: Path | None) -> None:
    """Check the description of a teacher's weights, if there is one beside them."""
    from crossres.records.record import TrainingResult

    if weights is not None and (described := weights.with_name("training.json")).is_file():
        TrainingResult.parse(read_json(described), str(described))


def evaluate(
    *, spec: SpecFile, output: Output, data: Data = Path("data"), device: Device = "auto", threads: Threads = 1
) -> None:
    """Evaluate a trained run, and write its record."""
    from crossres.records.record import TrainingResult, read_spec, write_record
    from crossres.training import evaluate as evaluation
    from crossres.training.acquire import check
    from crossres.training.checkpoint import discard_state
    from crossres.training.device import use_device

    resolved = read_spec(spec)
    check(resolved.dataset.name, data)
    chosen = use_device(device, threads)
    path = spec.with_name("training.json")
    training = TrainingResult.parse(read_json(path), str(path))
    record = evaluation.evaluate(resolved, spec.parent, training, data, chosen)
    write_record(output, record)
    discard_state(spec.parent, training)
    images = len(record.predictions or [])
    print(f"{record.spec.run} seed {record.spec.seed}: {record.best.top1_pct:.2f} % on {images} test images")
