"""Verbs of the training: data, weights, and what is computed for one run and seed."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from crossres import files, options
from crossres.base import CrossresError
from crossres.files import read_json
from crossres.options import Count, Data, Device, File, Folder, Output, PathName, Threads
from crossres.records.record import TrainingResult, read_spec, write_record
from crossres.suites.datasets import DATASETS
from crossres.suites.spec import FolderDataset, Spec
from crossres.suites.suite import load_suite

if TYPE_CHECKING:
    import torch


DatasetChoice = Annotated[str, Parameter(choices=(*DATASETS, "folder"))]
AcceptSources = Annotated[bool, Parameter(negative="", env_var="CROSSRES_ACCEPT_SOURCES")]
CudaGraph = Annotated[bool, Parameter(negative="--no-cuda-graph", env_var="CROSSRES_CUDA_GRAPH")]


def data(
    dataset: DatasetChoice, /, *, root: Data = Path("data"), source: PathName | None = None, suite: File | None = None
) -> None:
    """Fetch, adopt or generate a data set, and verify it.

    Args:
        dataset: Name of the data set, or `folder` for images of your own.
        source: Folder or archive to take the files from; without it, they are downloaded.
        suite: YAML file of the suite that describes the folder.
    """
    from crossres.training.acquire import prepare, store_folder

    described = load_suite(suite).dataset if suite and dataset == "folder" else None
    if dataset == "folder" and not isinstance(described, FolderDataset):
        raise CrossresError(
            "data folder: name the suite that describes it: --suite FILE, with `dataset: {name: folder}`"
        )
    folder = files.data_dir(root, described.key if described else dataset)
    waits = f"{folder}: another process is working here; waiting for it"
    with files.alone(folder / files.LOCK, lambda: print(waits, file=sys.stderr)):
        for left in folder.rglob("*.part"):  # by a killed process, or a link of anyone's
            left.unlink()
        if isinstance(described, FolderDataset):
            print(f"{store_folder(described, root)}: {described.info.train_images:,} training images")
        else:
            print(f"{prepare(dataset, root, source)}: verified")
        files.sync(*(path for path in folder.rglob("*") if path.is_file() or path.is_dir()), folder)


def weights(model: str, /, *, output: Output, source: Folder | None = None) -> None:
    """Fetch or adopt the ImageNet weights of a model, and verify them as far as their digest is published.

    Args:
        model: The model as LIBRARY/NAME, such as torchvision/efficientnet_v2_s.
        source: Folder to take the file from; without it, the file is downloaded.
    """
    from crossres.training.imagenet import fetch_weights

    print(f"{output}: {fetch_weights(model, source, output)}")


@Parameter(name="*")
@dataclass(frozen=True)
class Job:
    """Options of the verbs that compute something for one run and seed."""

    spec: options.Spec
    data: Data = Path("data")
    device: Device = "auto"
    threads: Threads = 1

    def start(self, teacher: Path | None = None) -> tuple[Spec, torch.device]:
        """Check the spec, the data set and what describes the teacher's weights; then set up the device."""
        from crossres.training.acquire import check
        from crossres.training.device import allow_tf32, use_device

        spec = read_spec(self.spec)
        check(spec.dataset, self.data)
        if teacher and (described := teacher.with_name("training.json")).is_file():
            TrainingResult.parse(read_json(described), str(described))
        device = use_device(self.device, self.threads)
        allow_tf32(spec.evaluation == "thesis")
        return spec, device


def train(
    *,
    job: Job,
    teacher: File | None = None,
    weights: File | None = None,
    cuda_graph: CudaGraph = True,
    accept_sources: AcceptSources = False,
) -> None:
    """Train one run, from its last checkpoint if there is one.

    Args:
        teacher: Weights of the run's teacher.
        weights: ImageNet weights to start from.
        cuda_graph: Capture the training step as one CUDA graph.
        accept_sources: Go on with epochs that other code, another torch or another device computed.
    """
    from crossres.training.loop import Trainer
    from crossres.training.models import try_out
    from crossres.training.progress import ProgressBar

    spec, device = job.start(teacher)
    try_out(spec)
    with closing(ProgressBar(f"{spec.run} seed {spec.seed}", spec.optimisation.epochs)) as progress:
        trainer = Trainer(spec, job.data, job.spec.parent, device, teacher, weights, cuda_graph, accept_sources)
        trainer.fit(progress)


def logits(*, job: Job, teacher: File, epochs: Count, output: Folder) -> None:
    """Store a teacher's logits for every batch of a student's stream.

    Args:
        teacher: Weights of the teacher.
        epochs: Epochs of the stream to store.
        output: Folder of the stored logits.
    """
    from crossres.training.progress import ProgressBar
    from crossres.training.teacher import store_pass

    spec, device = job.start(teacher)
    if spec.teacher is None:
        raise CrossresError(f"{job.spec}: run {spec.run} has no teacher, so no logits to store; give a student's spec")
    with closing(ProgressBar(f"logits of {spec.teacher} seed {spec.teacher_seed}", epochs)) as progress:
        store_pass(spec, teacher, job.data, epochs, output, device, progress)


def evaluate(*, job: Job, output: Output) -> None:
    """Evaluate a trained run, and write its record."""
    from crossres.training import evaluate as evaluation
    from crossres.training.checkpoint import discard_state

    spec, device = job.start()
    folder, path = job.spec.parent, job.spec.with_name("training.json")
    training = TrainingResult.parse(read_json(path), str(path))
    record = evaluation.evaluate(spec, folder, training, job.data, device)
    write_record(output, record)
    discard_state(folder, training)
    print(f"{spec.run} seed {spec.seed}: {record.best.top1_pct:.2f} % on {len(record.predictions or [])} test images")
