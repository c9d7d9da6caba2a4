"""One training loop for teachers and students.

A run is a function of its spec, its data and its teacher. Its state is saved after every epoch; on a CPU, a resumed run
equals an uninterrupted one bit for bit.
"""

from __future__ import annotations

import hashlib
import math
import time
from pathlib import Path

import torch
from torch import Tensor

from crossres.base import CrossresError, canonical_json
from crossres.files import LOCK, alone, logits_dir, sha256, write_atomic, write_json
from crossres.gpus import runs_per_gpu
from crossres.records import provenance
from crossres.records.record import Checkpoint, Cost, Epoch, Teaching, TrainingResult
from crossres.suites.passes import pass_key
from crossres.suites.spec import Optimisation, Spec
from crossres.training.augment import Stream
from crossres.training.checkpoint import Stateful, best_file, restore_state, save_state
from crossres.training.data import load_splits
from crossres.training.device import autocast
from crossres.training.evaluate import pack_weights, score, teaching
from crossres.training.fast_conv import accelerate, compiler_version
from crossres.training.imagenet import read_origin
from crossres.training.models import build, gmacs, parameter_count
from crossres.training.probe import Probe
from crossres.training.progress import ProgressBar
from crossres.training.step import Step, Tally
from crossres.training.teacher import StoredLogits, Teacher, expected_pass, teaching_images


def learning_rate(optimisation: Optimisation, epoch: int) -> float:
    """Return the learning rate of an epoch, from 1: linear warm-up, then cosine annealing to zero.

    With W warm-up epochs of a schedule of E and the peak rate r: `r · e / W` for `e ≤ W`, then
    `r / 2 · (1 + cos(π (e − W − 1) / (E − W)))`.

    Source of the annealing: Loshchilov and Hutter, *SGDR* (ICLR 2017), equation 5.
    """
    warmup = optimisation.warmup_epochs
    if epoch <= warmup:
        return optimisation.learning_rate * epoch / warmup
    schedule = optimisation.schedule_epochs or optimisation.epochs
    progress = (epoch - warmup - 1) / (schedule - warmup)
    return optimisation.learning_rate / 2 * (1 + math.cos(math.pi * progress))


class Trainer:
    """A run in training: its network, teacher, data stream, step and checkpoint.

    Args:
        spec: The run.
        data_root: Folder under which each data set has its own.
        run_dir: Folder of the run's outputs; the state is kept there too until the record is written.
        device: Where to compute.
        teacher: Weights file of the teacher; None for a run without one.
        weights: ImageNet weights of the run's own network, where it starts from them.
        capture: Whether to make the step one CUDA graph; ignored on a CPU.
        accept_sources: Whether to go on with epochs that other code, versions or another device computed.

    Raises:
        CrossresError: When something that the spec needs is missing or does not fit.
    """

    def __init__(
        self,
        spec: Spec,
        data_root: Path,
        run_dir: Path,
        device: torch.device,
        teacher: Path | None = None,
        weights: Path | None = None,
        capture: bool = False,
        accept_sources: bool = False,
    ) -> None:
        self.spec, self.run_dir, self.device, self.accept_sources = spec, run_dir, device, accept_sources
        self.precision = spec.optimisation.precision if device.type == "cuda" else "fp32"
        self.images = load_splits(spec.dataset, spec.view, data_root, device)
        self.stream = Stream.of(spec, *self.images.train)
        self.network = build(spec.model, spec.dataset.classes, spec.seed, weights)
        self.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
        accelerate(self.network, device)
        self.teacher = Teacher(spec, teacher, device) if spec.teacher else None
        seen = self.seen = teaching_images(spec, self.images, data_root, device)
        self.teacher_stream = Stream.of(spec, *seen.train) if spec.teacher_resizes else None
        self.stored = self._stored_logits()
        probed = self.teacher if spec.probe_images else None
        self.probe = Probe(spec, self.images.train, probed, seen.train, self.precision) if probed else None
        steps = self.stream.steps_per_epoch
        live = None if self.teacher_stream else self.teacher
        self.step = Step(self.network, spec.objective, spec.optimisation, steps, self.precision, live, capture)
        self.checkpoint = Checkpoint(
            spec_sha256=spec.digest(),
            epoch=0,
            epochs=spec.optimisation.epochs,
            computed_with=[provenance.computed_with(device, _compiler(device))],
        )
        teacher_sha256 = self.teacher.sha256 if self.teacher else None
        imagenet = read_origin(spec.model.name, weights) if spec.model.pretrained and weights else None
        self.imagenet_sha256 = imagenet.source_sha256 if imagenet else None
        key = canonical_json([spec.digest(), self.images.digest, teacher_sha256, self.imagenet_sha256, self.precision])
        self.state_dir = run_dir / "state" / hashlib.sha256(key.encode()).hexdigest()[:12]

    def _stored_logits(self) -> StoredLogits | None:
        if self.teacher is None:
            return None
        steps = self.stream.steps_per_epoch
        expected = expected_pass(self.spec, self.teacher, self.images.digest, steps, self.precision)
        return StoredLogits(logits_dir(self.teacher.path.parent, pass_key(self.spec)), expected, self.device)

    def fit(self, progress: ProgressBar) -> TrainingResult:
        """Train to the end, from the last saved state if there is one, and write the weights.

        Returns:
            History, cost and provenance; `weights.safetensors` and `last.safetensors` are then in the run's folder. The
            state is kept until `discard_state`: until then a rerun only writes the same outputs again.

        Raises:
            CrossresError: On a non-finite loss or gradient, where the spec says to stop.
        """
        with alone(self.run_dir / LOCK, progress.waiting):
            self._resume(progress)
            if self.stored is not None and self.stored.stale:
                progress.note(f"{self.stored.folder}: logits of other weights or data; computing them live")
            while not self._finished():
                self._run_epoch(progress)
            return self._write_outputs()

    def _resume(self, progress: ProgressBar) -> None:
        others = sorted(other for other in self.run_dir.glob("state/*") if other != self.state_dir)
        if others:
            kept = f"a state of another spec, data set or teacher is kept in {others[0]}"
            progress.note(f"{kept}; delete it if it is not needed")
        found, torn = restore_state(self.state_dir, self._parts(), self.device)
        if torn:
            progress.note(f"{torn}; going on from the epoch before")
        if found is not None:
            self.checkpoint = self._continued(found)
            progress.resumed(self.checkpoint.epoch)

    def _continued(self, checkpoint: Checkpoint) -> Checkpoint:
        """Return the checkpoint of a run that goes on here, if its epochs were computed with what is here."""
        here, *_, last = self.checkpoint.computed_with[0], *checkpoint.computed_with
        if not (changed := [name for name in sorted({*here, *last}) if here.get(name) != last.get(name)]):
            return checkpoint
        if not self.accept_sources:
            what = ", ".join(f"{name} {last.get(name, '')[:20]} → {here.get(name, '')[:20]}" for name in changed)
            raise CrossresError(
                f"{self.state_dir}: its epochs were computed with something else ({what}); go back to that, move the "
                "folder away to start afresh, or go on with both (accept_sources: true in the config, or "
                "--accept-sources), which the record then says"
            )
        return checkpoint.model_copy(update={"computed_with": [*checkpoint.computed_with, here]})

    def _parts(self) -> dict[str, Stateful]:
        return {"network": self.network, "optimiser": self.step.optimiser, "scaler": self.step.scaler}

    def _finished(self) -> bool:
        optimisation, done = self.spec.optimisation, self.checkpoint
        patience = optimisation.patience_epochs
        waited = done.epoch - done.best_epoch if optimisation.select != "last" else 0
        return done.epoch >= optimisation.epochs or (patience is not None and waited >= patience)

    def _run_epoch(self, progress: ProgressBar) -> None:
        epoch, started, energy = self.checkpoint.epoch + 1, time.perf_counter(), provenance.energy_j(self.device)
        rate = learning_rate(self.spec.optimisation, epoch)
        stored = self.stored.epoch(epoch) if self.stored is not None else None
        tally = self._take_steps(epoch, rate, stored, progress)
        step_s = time.perf_counter() - started
        self._stop_if_nonfinite(tally, epoch)
        entry, before = self._entry(epoch, rate, tally), self.checkpoint
        self._advance(entry, step_s, time.perf_counter() - started, energy, stored is not None)
        self.checkpoint = save_state(self.state_dir, self.checkpoint, before, self._parts())
        images = self.stream.steps_per_epoch * self.spec.optimisation.batch_size
        progress.epoch(entry, images / step_s, self.checkpoint.epoch_s)

    def _take_steps(self, epoch: int, rate: float, stored: Tensor | None, progress: ProgressBar) -> Tally:
        self.step.begin(epoch, rate)
        # Dropout and stochastic depth draw from the global generator: seeding it by epoch makes an epoch replayable.
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(_derived_seed(self.spec.seed, epoch))
            for step, batch in enumerate(self.stream.epoch(epoch)):
                self.step(batch, self._given_logits(epoch, step) if stored is None else stored[step])
                progress.step(epoch, step + 1, self.stream.steps_per_epoch)
        return self.step.end()

    def _given_logits(self, epoch: int, step: int) -> Tensor | None:
        """Return the logits of a teacher that has images of its own; the step computes those of any other."""
        if self.teacher is None or self.teacher_stream is None:
            return None
        with autocast(self.device, self.precision):
            return self.teacher(self.teacher_stream.batch(epoch, step).images)

    def _stop_if_nonfinite(self, tally: Tally, epoch: int) -> None:
        # At a scale below 1, gradients overflow by themselves and not because of the loss scaler.
        bad = tally.first_bad
        if bad is None and tally.last_overflow is not None and self.step.scaler.get_scale() < 1:
            bad = tally.last_overflow, "gradient"
        if bad is None or self.spec.optimisation.nonfinite != "stop":
            return
        step, term = bad
        kept = f"the state of epoch {epoch - 1} is kept in {self.state_dir}" if epoch > 1 else "no epoch was finished"
        raise CrossresError(
            f"run {self.spec.run} seed {self.spec.seed}: {term} is not finite at epoch {epoch}, step {step + 1}; "
            f"{kept}; lower the learning rate, or set optimisation.nonfinite to skip"
        )

    def _entry(self, epoch: int, rate: float, tally: Tally) -> Epoch:
        where = f"run {self.spec.run} seed {self.spec.seed}, epoch {epoch}"
        if tally.grad_norm is None and not tally.overflow:
            raise CrossresError(f"{where}: every step was skipped as not finite; nothing was learned")
        means = dict(tally.means)
        held_out, test = self.images.validation, score(self.network, self.images.test, self.spec)
        validation = score(self.network, held_out, self.spec).accuracy_pct if len(held_out.labels) else None
        entry = {
            "epoch": epoch,
            "learning_rate": rate,
            "train_loss": means.pop("total"),
            "losses": means,
            "test_loss": test.loss,
            "test_loss_of_batches": test.loss_of_batches,
            "test_accuracy_pct": test.accuracy_pct,
            "validation_accuracy_pct": validation,
            "grad_norm": tally.grad_norm,
            "clipped_share": tally.clipped_share,
            "nonfinite_steps": tally.nonfinite,
            "overflow_steps": tally.overflow,
            "probe": self.probe.measure(self.network, epoch) if self.probe else {},
        }
        return Epoch.parse(entry, where)

    def _advance(self, entry: Epoch, step_s: float, wall_s: float, energy_j: float | None, stored: bool) -> None:
        """Count an epoch, and save its weights if they are the best so far by the accuracy that the spec selects by."""
        done, select = self.checkpoint, self.spec.optimisation.select
        accuracy = entry.validation_accuracy_pct if select == "best_on_validation" else entry.test_accuracy_pct
        assert accuracy is not None
        best = (done.best_epoch, done.best_accuracy_pct)
        if done.epoch == 0 or select == "last" or accuracy > done.best_accuracy_pct:
            best = (entry.epoch, accuracy)
            write_atomic(best_file(self.state_dir, entry.epoch), pack_weights(self.network, self.spec, entry.epoch))
        self.checkpoint = Checkpoint(
            spec_sha256=done.spec_sha256,
            epoch=entry.epoch,
            epochs=done.epochs,
            epoch_s=(sum(done.wall_s) + wall_s) / entry.epoch,
            best_epoch=best[0],
            best_accuracy_pct=best[1],
            history=[*done.history, entry],
            wall_s=[*done.wall_s, wall_s],
            step_s=done.step_s + step_s,
            energy_j=provenance.energy_spent(done.energy_j, energy_j, provenance.energy_j(self.device)),
            resumptions=done.resumptions,
            stored_epochs=done.stored_epochs + stored,
            computed_with=done.computed_with,
        )

    def _write_outputs(self) -> TrainingResult:
        done = self.checkpoint
        path, last = best_file(self.state_dir, done.best_epoch), pack_weights(self.network, self.spec, done.epoch)
        best = path.read_bytes()
        if sha256(best) != done.files[path.name]:
            raise CrossresError(f"{path}: damaged since it was written; run this again: it goes on from an older state")
        write_atomic(self.run_dir / "weights.safetensors", best)
        write_atomic(self.run_dir / "last.safetensors", last)
        training = TrainingResult(
            state=self.state_dir.name,
            last_sha256=sha256(last),
            history=done.history,
            stopped_early=done.epoch < done.epochs,
            teaching=self._teaching(),
            cost=self._cost(),
            provenance=provenance.collect(
                device=self.device,
                precision=self.precision,
                data_sha256=self.images.digest,
                weights_sha256=sha256(best),
                teacher_sha256=self.teacher.sha256 if self.teacher else None,
                imagenet_sha256=self.imagenet_sha256,
                compiler=_compiler(self.device),
                earlier=done.computed_with[:-1],
            ),
        )
        write_json(self.run_dir / "training.json", training.model_dump(mode="json"))
        return training

    def _teaching(self) -> Teaching | None:
        weights = self.run_dir / "weights.safetensors"
        return teaching(self.spec, weights, self.teacher, self.images.test, self.seen.test) if self.teacher else None

    def _cost(self) -> Cost:
        done, sharing = self.checkpoint, runs_per_gpu()
        images = self.stream.steps_per_epoch * self.spec.optimisation.batch_size * done.epoch
        return Cost(
            parameters=parameter_count(self.network),
            gmacs=gmacs(self.spec.model, self.spec.dataset.classes, self.spec.view.resolution_px),
            train_minutes=sum(done.wall_s) / 60,
            images_per_s=images / done.step_s,
            peak_memory_mib=provenance.peak_memory_mib(self.device),
            energy_wh=None if done.energy_j is None or sharing > 1 else done.energy_j / 3600,
            runs_per_gpu=sharing if self.device.type == "cuda" else None,
            resumptions=done.resumptions,
            stored_epochs=done.stored_epochs if self.teacher else None,
            epoch_s=[round(wall_s, 3) for wall_s in done.wall_s],
        )


def _compiler(device: torch.device) -> str | None:
    return compiler_version() if device.type == "cpu" else None


def _derived_seed(seed: int, epoch: int) -> int:
    return int.from_bytes(hashlib.sha256(f"network/{seed}/{epoch}".encode()).digest()[:8], "big") >> 1
