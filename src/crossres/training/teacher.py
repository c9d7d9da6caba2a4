"""The teacher of a run: its logits computed live, or read from a stored pass.

A pass is the logits of every batch of a stream, epoch by epoch. They are stored in the type in which they were
computed, so a stored logit equals the live one bit for bit.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import torch
from torch import Tensor, nn

from crossres.base import Count, CrossresError, Strict
from crossres.files import alone, epoch_logits, read_json, sha256, sync, write_atomic, write_json
from crossres.records.record import read_spec
from crossres.suites.passes import pass_key
from crossres.suites.spec import Spec
from crossres.training.augment import Stream, upsample
from crossres.training.data import Splits, load_splits
from crossres.training.device import autocast
from crossres.training.evaluate import load_network
from crossres.training.fast_conv import accelerate
from crossres.training.progress import ProgressBar


class Teacher:
    """The network that teaches a run.

    Raises:
        CrossresError: When its weights are missing, or are not those of the teacher that the spec names.
    """

    def __init__(self, spec: Spec, path: Path | None, device: torch.device) -> None:
        if path is None:
            raise CrossresError(f"run {spec.run}: no weights of its teacher {spec.teacher}; use --teacher FILE")
        self.path, self.device = path, device
        self.view = spec.teacher_view or spec.view
        network, own, _ = load_network(path, device)
        beside = path.with_name("spec.json")  # weights that were adopted name the run of another suite
        if beside.is_file() and not (adopter := read_spec(beside)).differing_in_training(own):
            own = adopter
        if (own.run, own.seed) != (spec.teacher, spec.teacher_seed):
            wanted = f"{spec.teacher} seed {spec.teacher_seed}"
            raise CrossresError(f"{path}: weights of {own.run} seed {own.seed}, but the spec names {wanted}")
        if self.view.kind == "native" and self.view.resolution_px != spec.view.resolution_px:
            own_px, seen_px = spec.view.resolution_px, self.view.resolution_px
            where = f"run {spec.run}, teacher_view"
            raise CrossresError(f"{where}: the batch is {own_px} px, not {seen_px}; use kind: upsampled or resized")
        self.sha256, described = sha256(path), path.with_name("training.json")
        if described.is_file() and read_json(described)["provenance"]["weights_sha256"] != self.sha256:
            raise CrossresError(f"{path}: not the weights that {described} describes; train {own.run} again")
        accelerate(network, device)
        self.network: nn.Module = network
        self.network.eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Return the logits `[N, C]` of a batch as the student sees it, `[N, 3, S, S]`, or of the teacher's own."""
        seen = upsample(images, self.view.resolution_px)
        return self.network(seen.contiguous(memory_format=torch.channels_last))


def teaching_images(spec: Spec, own: Splits, data_root: Path, device: torch.device) -> Splits:
    """Return the images that a run's teacher sees, before `Teacher` upsamples any: the run's own, or resized ones."""
    if not spec.teacher_resizes or spec.teacher_view is None:
        return own
    return load_splits(spec.dataset, spec.teacher_view, data_root, device)


class Pass(Strict):
    """What a stored pass was computed from: `manifest.json` beside its epochs."""

    teacher_sha256: str
    stream: str
    """Digest of everything that decides the batches, their size included."""
    data_sha256: str
    precision: str
    dtype: str
    shape: tuple[Count, Count, Count]
    """Steps of an epoch, images of a batch, classes."""
    epoch_sha256: list[str] = []
    """Digest of each epoch's file, in order."""

    def fits(self, other: Pass) -> bool:
        """Return whether both are of the same logits; the number of epochs may differ."""
        return self.model_copy(update={"epoch_sha256": other.epoch_sha256}) == other


class StoredLogits:
    """A finished pass, if there is one that fits; an epoch is read by mapping its file into memory."""

    def __init__(self, folder: Path, expected: Pass, device: torch.device) -> None:
        self.folder, self.device = folder, device
        manifest = folder / "manifest.json"
        found = Pass.parse(read_json(manifest), str(manifest)) if manifest.is_file() else None
        self.manifest = found if found is not None and found.fits(expected) else None
        """None where there is no pass, or one of other weights, data or precision."""
        self.stale = found is not None and self.manifest is None

    def epoch(self, number: int) -> Tensor | None:
        """Return an epoch's logits `[steps, N, C]`; None where the pass has no such epoch.

        Raises:
            CrossresError: When the file is not the one that the manifest lists.
        """
        if self.manifest is None or number > len(self.manifest.epoch_sha256):
            return None
        path = epoch_logits(self.folder, number)
        if not path.is_file() or sha256(path) != self.manifest.epoch_sha256[number - 1]:
            raise CrossresError(f"{path}: not the file that its manifest lists; delete {self.folder}")
        steps, images, classes = self.manifest.shape
        dtype = getattr(torch, self.manifest.dtype)
        logits = torch.from_file(str(path), shared=False, size=steps * images * classes, dtype=dtype)
        return logits.view(steps, images, classes).to(self.device)


def expected_pass(spec: Spec, teacher: Teacher, data_sha256: str, steps: int, precision: str) -> Pass:
    """Return what a pass has to be computed from to serve a run."""
    dtype = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}[precision]
    return Pass(
        teacher_sha256=teacher.sha256,
        stream=pass_key(spec),
        data_sha256=data_sha256,
        precision=precision,
        dtype=dtype,
        shape=(steps, spec.optimisation.batch_size, spec.dataset.classes),
    )


def store_pass(
    spec: Spec, path: Path, data_root: Path, epochs: int, output: Path, device: torch.device, progress: ProgressBar
) -> None:
    """Compute a teacher's pass over a stream and store it; an interrupted pass resumes after its last whole epoch.

    Args:
        spec: Any of the runs that share the pass.
        path: Weights file of the teacher.
        data_root: Folder under which each data set has its own.
        epochs: How many epochs to store.
        output: Folder of the pass; it appears when the pass is complete.
        device: Where to compute.
        progress: Where to report.

    Raises:
        CrossresError: When the disk has no room for it.
    """
    teacher = Teacher(spec, path, device)
    images = load_splits(spec.dataset, teacher.view if spec.teacher_resizes else spec.view, data_root, device)
    stream = Stream.of(spec, *images.train)
    precision = spec.optimisation.precision if device.type == "cuda" else "fp32"
    done = expected_pass(spec, teacher, images.digest, stream.steps_per_epoch, precision)
    part = output.with_name(f"{output.name}.part")
    with alone(output.with_name(f".{output.name}.lock"), progress.waiting):
        done = _resumed(part, done, progress)
        _check_room(part, done, epochs)
        for number in range(len(done.epoch_sha256) + 1, epochs + 1):
            logits = _epoch_logits(stream, teacher, number, precision, progress)
            content = logits.cpu().contiguous().view(torch.uint8).numpy().tobytes()
            write_atomic(epoch_logits(part, number), content)
            digests = [*done.epoch_sha256, sha256(content)]
            done = done.model_copy(update={"epoch_sha256": digests})
            write_json(part / "manifest.json", done.model_dump(mode="json"))
            progress.stored(number, len(content) / 2**20)
        shutil.rmtree(output, ignore_errors=True)
        os.replace(part, output)
        sync(output.parent)


def _epoch_logits(stream: Stream, teacher: Teacher, number: int, precision: str, progress: ProgressBar) -> Tensor:
    with autocast(teacher.device, precision):
        logits = []
        for step, batch in enumerate(stream.epoch(number)):
            logits.append(teacher(batch.images))
            progress.step(number, step + 1, stream.steps_per_epoch)
        return torch.stack(logits)


def _resumed(part: Path, expected: Pass, progress: ProgressBar) -> Pass:
    manifest = part / "manifest.json"
    if manifest.is_file():
        found = Pass.parse(read_json(manifest), str(manifest))
        if found.fits(expected):
            progress.resumed(len(found.epoch_sha256))
            return found
        progress.note("a pass of other weights was begun here; starting afresh")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    return expected


def _check_room(part: Path, done: Pass, epochs: int) -> None:
    steps, images, classes = done.shape
    itemsize = getattr(torch, done.dtype).itemsize
    needed = (epochs - len(done.epoch_sha256)) * steps * images * classes * itemsize
    free = shutil.disk_usage(part).free
    if needed > free:
        raise CrossresError(
            f"{part}: the teacher's logits need {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; "
            "make room, or set teacher_logits to live"
        )
