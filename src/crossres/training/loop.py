"""One training loop for teachers and students.

A run is a function of its spec, its data and its teacher. Every epoch ends with its whole state on disk, so that
whatever kills the process costs one epoch at most; on a CPU the resumed run equals the uninterrupted one bit for bit.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from crossres.base import CrossresError, canonical_json
from crossres.files import CHECKPOINT, logits_dir, write_atomic, write_json
from crossres.records import provenance
from crossres.records.record import Checkpoint, Cost, Epoch, TrainingResult
from crossres.suites.datasets import Normalisation
from crossres.suites.passes import pass_key
from crossres.suites.spec import Optimisation, Spec
from crossres.training.augment import Stream
from crossres.training.data import Images, Split, load
from crossres.training.evaluate import pack_weights, predict
from crossres.training.models import build, gmacs, parameter_count
from crossres.training.probe import Probe
from crossres.training.progress import ProgressBar, alone_in
from crossres.training.step import Step, Tally
from crossres.training.teacher import StoredLogits, Teacher, describe


def learning_rate(optimisation: Optimisation, epoch: int) -> float:
    """Return the learning rate of an epoch: linear warm-up, then cosine annealing to zero.

    With W warm-up epochs of E and the peak rate r: `r · e / W` for `e ≤ W`, then
    `r / 2 · (1 + cos(π (e − W − 1) / (E − W)))`.

    Args:
        optimisation: The schedule.
        epoch: The epoch, from 1.

    Returns:
        The rate used throughout the epoch.

    Source of the annealing: Loshchilov and Hutter, *SGDR* (ICLR 2017), equation 5.
    """
    warmup = optimisation.warmup_epochs
    if epoch <= warmup:
        return optimisation.learning_rate * epoch / warmup
    progress = (epoch - warmup - 1) / (optimisation.epochs - warmup)
    return optimisation.learning_rate / 2 * (1 + math.cos(math.pi * progress))


@dataclass
class Progressed:
    """The part of a run's state that is not tensors of the network or the optimiser."""

    history: list[Epoch] = field(default_factory=list)
    best_epoch: int = 0
    best_accuracy_pct: float = -1.0
    seconds: float = 0.0
    step_seconds: float = 0.0
    epoch_s: list[float] = field(default_factory=list)
    resumptions: int = 0
    stored_epochs: int = 0
    energy_j: float | None = 0.0

    @property
    def epoch(self) -> int:
        return len(self.history)


class Trainer:
    """A run in training: its network, teacher, data stream, optimiser and state."""

    def __init__(
        self,
        spec: Spec,
        data_root: Path,
        run_dir: Path,
        device: torch.device,
        teacher: Path | None = None,
        weights: Path | None = None,
        capture: bool = False,
    ) -> None:
        """Prepare a run.

        Args:
            spec: The run.
            data_root: Folder under which each data set has its own.
            run_dir: Folder of the run's outputs; the state stands beside them.
            device: Where to compute.
            teacher: Weights file of the teacher; None for a run without one.
            weights: ImageNet weights of the run's own network, where it starts from them.
            capture: Whether to make the step one CUDA graph; ignored on a CPU.

        Raises:
            CrossresError: When something that the spec needs is missing or does not fit.
        """
        self.spec, self.run_dir, self.device = spec, run_dir, device
        self.precision = spec.optimisation.precision if device.type == "cuda" else "fp32"
        self.images: Images = load(spec.dataset, spec.view, data_root, device)
        self.stream = Stream.of(spec, *self.images.train)
        self.network = build(spec.model, spec.dataset.classes, spec.seed, weights)
        self.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
        self.teacher = Teacher(spec, teacher, device) if spec.teacher else None
        self.stored = self._stored_logits()
        self.probe = Probe(spec, self.images.train, self.teacher) if self.teacher and spec.probe_images else None
        steps = self.stream.steps_per_epoch
        self.step = Step(self.network, spec.objective, spec.optimisation, steps, self.precision, self.teacher, capture)
        self.progressed = Progressed()
        teacher_sha256 = self.teacher.sha256 if self.teacher else None
        key = canonical_json([spec.digest(), self.images.digest, teacher_sha256, self.precision])
        self.state_dir = run_dir / "state" / hashlib.sha256(key.encode()).hexdigest()[:12]

    def _stored_logits(self) -> StoredLogits | None:
        if self.teacher is None:
            return None
        expected = describe(self.spec, self.teacher, self.images.digest, self.stream.steps_per_epoch, self.precision)
        return StoredLogits(logits_dir(self.teacher.path.parent, pass_key(self.spec)), expected, self.device)

    def fit(self, progress: ProgressBar) -> TrainingResult:
        """Train to the end, from the last state if there is one, and write the weights.

        Args:
            progress: Where to report.

        Returns:
            History, cost and provenance; `weights.safetensors` and `last.safetensors` are then in the run's folder. The
            state is kept until `discard_state`: until then a rerun only writes the same outputs again.

        Raises:
            CrossresError: On a non-finite loss or gradient, where the spec says to stop.
        """
        with alone_in(self.run_dir, progress):
            self._resume(progress)
            if self.stored is not None and self.stored.stale:
                progress.note(f"{self.stored.folder}: logits of other weights or data; computing them live")
            while not self._finished():
                self._run_epoch(progress)
            return self._write_outputs()

    def _finished(self) -> bool:
        optimisation, done = self.spec.optimisation, self.progressed
        patience = optimisation.patience_epochs
        waited = done.epoch - done.best_epoch if optimisation.select != "last" else 0
        return done.epoch >= optimisation.epochs or (patience is not None and waited >= patience)

    def _run_epoch(self, progress: ProgressBar) -> None:
        epoch, started, energy = self.progressed.epoch + 1, time.perf_counter(), provenance.energy_j(self.device)
        rate = learning_rate(self.spec.optimisation, epoch)
        self.step.begin(epoch, rate)
        capturing = self.step.capture
        stored = self.stored.epoch(epoch) if self.stored is not None else None
        # Dropout and stochastic depth draw from the global generator: seeding it by epoch makes an epoch replayable.
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(_derived_seed(self.spec.seed, epoch))
            for step, batch in enumerate(self.stream.epoch(epoch)):
                self.step(batch, None if stored is None else stored[step])
                progress.step(epoch, step + 1, self.stream.steps_per_epoch)
        tally = self.step.end()
        stepped = time.perf_counter()
        self._stop_if_told(tally, epoch)
        entry = self._entry(epoch, rate, tally)
        done = self.progressed
        done.history.append(entry)
        done.stored_epochs += stored is not None
        done.step_seconds += stepped - started
        done.epoch_s.append(round(time.perf_counter() - started, 3))
        done.seconds += time.perf_counter() - started
        done.energy_j = provenance.energy_spent(done.energy_j, energy, provenance.energy_j(self.device))
        self._select(entry)
        self._save_state()
        images = self.stream.steps_per_epoch * self.spec.optimisation.batch_size
        progress.epoch(entry, images / (stepped - started), done.seconds / epoch)
        if capturing and not self.step.capture:
            progress.note(f"the step could not be captured as a CUDA graph ({self.step.not_captured}); it runs eagerly")

    def _stop_if_told(self, tally: Tally, epoch: int) -> None:
        # A scale below 1 means that gradients overflow without any help of the loss scaler.
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
        normalisation, held_out = self.spec.dataset.info.normalisation, self.images.validation
        accuracy, loss = _score(self.network, self.images.test, normalisation)
        validation = _score(self.network, held_out, normalisation)[0] if len(held_out.labels) else None
        entry = {
            "epoch": epoch,
            "learning_rate": rate,
            "train_loss": means.pop("total"),
            "losses": means,
            "test_loss": loss,
            "test_accuracy_pct": accuracy,
            "validation_accuracy_pct": validation,
            "grad_norm": tally.grad_norm,
            "clipped_share": tally.clipped_share,
            "nonfinite_steps": tally.nonfinite,
            "overflow_steps": tally.overflow,
            "probe": self.probe.measure(self.network) if self.probe else {},
        }
        return Epoch.parse(entry, where)

    def _select(self, entry: Epoch) -> None:
        """Keep this epoch's weights if they are the best so far, by the accuracy that the spec selects by."""
        by_validation = self.spec.optimisation.select == "best_on_validation"
        accuracy = entry.validation_accuracy_pct if by_validation else entry.test_accuracy_pct
        assert accuracy is not None
        if self.spec.optimisation.select == "last" or accuracy > self.progressed.best_accuracy_pct:
            self.progressed.best_epoch, self.progressed.best_accuracy_pct = entry.epoch, accuracy
            write_atomic(self._best_file(entry.epoch), pack_weights(self.network, self.spec, entry.epoch))

    def _best_file(self, epoch: int) -> Path:
        return self.state_dir / f"best-{epoch:04d}.safetensors"

    def _save_state(self) -> None:
        done = self.progressed
        state = {
            "network": self.network.state_dict(),
            "optimiser": self.step.optimiser.state_dict(),
            "scaler": self.step.scaler.state_dict(),
            "progressed": {**vars(done), "history": [entry.model_dump() for entry in done.history]},
        }
        write_atomic(self.state_dir / "state.pt", lambda file: torch.save(state, file))
        document = self._checkpoint().model_dump()
        document["history"] = [entry.model_dump(mode="json", exclude_defaults=True) for entry in done.history]
        write_json(self.state_dir / CHECKPOINT, document)
        for old in self.state_dir.glob("best-*.safetensors"):
            if old != self._best_file(done.best_epoch):
                old.unlink()

    def _checkpoint(self) -> Checkpoint:
        done, spec = self.progressed, self.spec
        mean_s, best_pct = done.seconds / done.epoch, max(done.best_accuracy_pct, 0.0)
        return Checkpoint(
            spec_sha256=spec.digest(),
            epoch=done.epoch,
            epochs=spec.optimisation.epochs,
            epoch_s=mean_s,
            best_accuracy_pct=best_pct,
            history=done.history,
        )

    def _resume(self, progress: ProgressBar) -> None:
        path = self.state_dir / "state.pt"
        others = sorted(other for other in self.run_dir.glob("state/*") if other != self.state_dir)
        if others:
            kept = f"a state of another spec, data set or teacher is kept in {others[0]}"
            progress.note(f"{kept}; delete it if it is not needed")
        if not path.is_file():
            return
        try:
            self._restore(torch.load(path, map_location=self.device, weights_only=True))
        except Exception as error:  # torch.load raises many kinds on a damaged file
            reason = " ".join(str(error).split())[:120]
            raise CrossresError(f"{path}: not a whole state ({reason}); move it away to start the run afresh") from None
        best = self._best_file(self.progressed.best_epoch)
        if not best.is_file():
            raise CrossresError(f"{best}: missing; move {self.state_dir} away to start the run afresh")
        progress.resumed(self.progressed.epoch)

    def _restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.step.optimiser.load_state_dict(state["optimiser"])
        self.step.scaler.load_state_dict(state["scaler"])
        history = [Epoch.model_validate(entry) for entry in state["progressed"].pop("history")]
        self.progressed = Progressed(history=history, **state["progressed"])
        self.progressed.resumptions += 1

    def _write_outputs(self) -> TrainingResult:
        done = self.progressed
        best = self._best_file(done.best_epoch).read_bytes()
        write_atomic(self.run_dir / "weights.safetensors", best)
        write_atomic(self.run_dir / "last.safetensors", pack_weights(self.network, self.spec, done.epoch))
        images = self.stream.steps_per_epoch * self.spec.optimisation.batch_size * done.epoch
        training = TrainingResult(
            state=self.state_dir.name,
            history=done.history,
            stopped_early=done.epoch < self.spec.optimisation.epochs,
            cost=Cost(
                parameters=parameter_count(self.network),
                gmacs=gmacs(self.network, self.spec.view.resolution_px),
                train_minutes=done.seconds / 60,
                images_per_s=images / done.step_seconds,
                peak_memory_mib=provenance.peak_memory_mib(self.device),
                energy_wh=None if done.energy_j is None else done.energy_j / 3600,
                resumptions=done.resumptions,
                stored_epochs=done.stored_epochs if self.teacher else None,
                epoch_s=done.epoch_s,
            ),
            provenance=provenance.collect(
                device=self.device,
                precision=self.precision,
                data_sha256=self.images.digest,
                weights_sha256=hashlib.sha256(best).hexdigest(),
                teacher_sha256=self.teacher.sha256 if self.teacher else None,
            ),
        )
        write_json(self.run_dir / "training.json", training.model_dump(mode="json"))
        return training


def discard_state(run_dir: Path, training: TrainingResult) -> None:
    """Delete the state of a run whose record is written: the run is done, and a forced rerun is to start afresh."""
    shutil.rmtree(run_dir / "state" / training.state, ignore_errors=True)
    with contextlib.suppress(OSError):  # states of other specs are kept
        (run_dir / "state").rmdir()


def _score(network: nn.Module, split: Split, normalisation: Normalisation) -> tuple[float, float]:
    """Return accuracy in percent and mean cross entropy over every image of a split."""
    logits = predict(network, split.images, normalisation)
    correct = int((logits.argmax(1) == split.labels).sum())
    return 100 * correct / len(split.labels), nn.functional.cross_entropy(logits, split.labels).item()


def _derived_seed(seed: int, epoch: int) -> int:
    return int.from_bytes(hashlib.sha256(f"network/{seed}/{epoch}".encode()).digest()[:8], "big") >> 1
