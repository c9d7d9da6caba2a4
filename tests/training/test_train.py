"""The training loop: schedule, resuming to the bit, teacher, non-finite steps, clipping, state and selection."""

from __future__ import annotations

import errno
import fcntl
import functools
import hashlib
import io
import json
import math
import os
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import StochasticDepth

from crossres import files
from crossres.base import CrossresError
from crossres.records.record import Checkpoint, Epoch, TrainingResult, read_record
from crossres.suites.datasets import CIFAR100_NORMALISATION
from crossres.suites.methods import Targets
from crossres.suites.methods.ce import CrossEntropy
from crossres.suites.methods.dkd import DKD
from crossres.suites.methods.kd import KD
from crossres.suites.passes import pass_key
from crossres.suites.spec import Budget, Model, Optimisation, Spec
from crossres.suites.suite import Suite, load_suite, merge
from crossres.training import evaluate, models, smallnet
from crossres.training import loop as train
from crossres.training import step as step_module
from crossres.training.augment import MixedBatch
from crossres.training.checkpoint import discard_state
from crossres.training.loop import Trainer, learning_rate
from crossres.training.progress import ProgressBar
from crossres.training.step import Step, Tally, adamw
from crossres.training.teacher import store_pass

pytestmark = pytest.mark.usefixtures("one_thread")
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
EPOCHS = 3
STEPS, BATCH = 3, 16
TINY = Budget(train_images=STEPS * BATCH + 12, test_images=60, epochs=EPOCHS)
"""Three steps of 16 an epoch; twelve images are left over in each."""


@functools.cache
def demo() -> Suite:
    return load_suite(files.suite_file("demo"))


def spec_of(run: str = "kd_32", /, **changes: Any) -> Spec:
    """Return a small run of the demonstration, with changes merged in."""
    document = demo().resolve(run, 1, TINY).model_dump()
    return Spec.parse(merge(merge(document, {"optimisation": {"batch_size": BATCH}}), changes), run)


def quiet(spec: Spec) -> ProgressBar:
    return ProgressBar(spec.run, spec.optimisation.epochs, io.StringIO())


class Killed(KeyboardInterrupt):
    """What stops a run in these tests."""


class Killing(ProgressBar):
    """Kills the run at one point: after the state of an epoch is saved (step None), or after a step."""

    def __init__(self, epoch: int, step: int | None = None) -> None:
        super().__init__("killed", EPOCHS, io.StringIO())
        self.point = (epoch, step)

    def step(self, epoch: int, done: int, steps: int) -> None:
        if (epoch, done) == self.point:
            raise Killed

    def epoch(self, entry: Epoch, images_per_s: float, epoch_s: float) -> None:
        if (entry.epoch, None) == self.point:
            raise Killed


Results = tuple[bytes, bytes, list[Any]]
POINTS: list[tuple[int, int | None]] = [(epoch, step) for epoch in range(1, EPOCHS + 1) for step in (1, STEPS, None)]


class Bench:
    """Starts runs in folders of their own, beside one trained teacher."""

    def __init__(self, root: Path, folder: Path, teachers: Path) -> None:
        self.root, self.folder, self.teachers = root, folder, teachers

    def trainer(self, spec: Spec, name: str = "run") -> Trainer:
        teacher = self.teachers / f"{spec.teacher}.safetensors" if spec.teacher else None
        return Trainer(spec, self.root, self.folder / name, CPU, teacher)

    def fit(self, spec: Spec, name: str = "run", progress: ProgressBar | None = None) -> TrainingResult:
        training = self.trainer(spec, name).fit(progress or quiet(spec))
        discard_state(self.folder / name, training)
        return training

    def fit_on_cuda(
        self, spec: Spec, name: str, capture: bool = True, progress: ProgressBar | None = None
    ) -> TrainingResult:
        teacher = self.teachers / f"{spec.teacher}.safetensors" if spec.teacher else None
        trainer = Trainer(spec, self.root, self.folder / name, CUDA, teacher, capture=capture)
        training = trainer.fit(progress or quiet(spec))
        return training

    def kill(self, spec: Spec, name: str, *point: int | None) -> None:
        with pytest.raises(Killed):
            self.fit(spec, name, Killing(*point))  # type: ignore[arg-type]

    def results(self, name: str = "run") -> Results:
        """Return everything of a run's outputs that may not depend on the clock."""
        folder = self.folder / name
        history = json.loads((folder / "training.json").read_text())["history"]
        return (folder / "weights.safetensors").read_bytes(), (folder / "last.safetensors").read_bytes(), history

    def state_dir(self, name: str = "run") -> Path:
        (folder,) = (self.folder / name / "state").iterdir()
        return folder


@pytest.fixture(scope="session")
def teachers(shapes_root: Path, tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """Return a folder with the weights of both teachers, trained for an epoch."""
    folder = tmp_path_factory.mktemp("teachers")
    for run in ("teacher_32", "teacher_64"):
        spec = spec_of(run, optimisation={"epochs": 1, "warmup_epochs": 0})
        Trainer(spec, shapes_root, folder / run, CPU).fit(quiet(spec))
        (folder / run / "weights.safetensors").rename(folder / f"{run}.safetensors")
    return folder


@pytest.fixture
def bench(shapes_root: Path, tmp_path: Path, teachers: Path) -> Bench:
    return Bench(shapes_root, tmp_path, teachers)


@pytest.fixture(scope="session")
def uninterrupted(
    shapes_root: Path, teachers: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Spec], Results]:
    """Return what gives the results of a run that was trained without a break; each is trained once."""
    bench = Bench(shapes_root, tmp_path_factory.mktemp("whole"), teachers)

    @functools.cache
    def results(digest: str, spec: Spec) -> Results:
        bench.fit(spec, digest)
        return bench.results(digest)

    return lambda spec: results(spec.digest(), spec)


@pytest.fixture(scope="session")
def whole(uninterrupted: Callable[[Spec], Results]) -> Results:
    """Return the results of the plain student, trained without a break."""
    return uninterrupted(spec_of())


def take(trainer: Trainer, batch: MixedBatch) -> Tally:
    """Take one step of the first epoch, and return what it came to."""
    trainer.step.begin(1, trainer.spec.optimisation.learning_rate)
    trainer.step(batch)
    return trainer.step.end()


def epoch_of(path: Path) -> int:
    return evaluate.read_weights(path)[1]["epoch"]


# ----------------------------------------------------------------------------------------------------------- schedule


def rates_of_the_thesis(epochs: int, peak: float) -> list[float]:
    """Return the rate that each epoch trains with, by PyTorch's scheduler as the thesis steps it."""
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=peak)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=epochs - 5)
    rates = []
    for epoch in range(1, epochs + 1):
        if epoch <= 5:
            optimiser.param_groups[0]["lr"] = peak * epoch / 5
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        if epoch >= 6:
            cosine.step()
    return rates


@pytest.mark.parametrize("epochs", [7, 200, 300])
@pytest.mark.parametrize("peak", [1e-3, 0.1])
def test_learning_rate_is_that_of_pytorchs_schedulers(epochs: int, peak: float) -> None:
    optimisation = Optimisation(epochs=epochs, learning_rate=peak)
    ours = [learning_rate(optimisation, epoch) for epoch in range(1, epochs + 1)]
    assert ours == pytest.approx(rates_of_the_thesis(epochs, peak), rel=0, abs=1e-12 * peak)
    assert ours[4] == ours[5] == peak


@pytest.mark.parametrize(
    "path", sorted(Path("paper/records/published").rglob("*.json")), ids=lambda path: path.parent.name
)
def test_learning_rate_is_what_the_thesis_logged(path: Path) -> None:
    record = read_record(path)
    for entry in record.history:
        trained_with = entry.epoch + 1 if entry.epoch >= 6 else entry.epoch  # from epoch 6 on it logged the next rate
        assert entry.learning_rate == pytest.approx(
            learning_rate(record.spec.optimisation, trained_with), rel=0, abs=1e-8
        )


@pytest.mark.parametrize(("epochs", "warmup"), [(1, 0), (2, 1), (10, 0), (10, 9)])
def test_learning_rate_without_and_with_little_warm_up(epochs: int, warmup: int) -> None:
    optimisation = Optimisation(epochs=epochs, warmup_epochs=warmup, learning_rate=1.0)
    rates = [learning_rate(optimisation, epoch) for epoch in range(1, epochs + 1)]
    assert rates[:warmup] == [epoch / warmup for epoch in range(1, warmup + 1)]
    assert rates[warmup] == 1
    assert all(one > other > 0 for one, other in zip(rates[warmup:], rates[warmup + 1 :], strict=False))


def test_every_epoch_trains_with_its_rate(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, used = spec_of(optimisation={"decay_matrices_only": True}), []
    trainer = bench.trainer(spec)
    step = trainer.step.optimiser.step
    groups = trainer.step.optimiser.param_groups
    monkeypatch.setattr(trainer.step.optimiser, "step", lambda: (used.append({g["lr"] for g in groups}), step()))
    history = trainer.fit(quiet(spec)).history
    expected = [learning_rate(spec.optimisation, epoch) for epoch in range(1, EPOCHS + 1)]
    assert [entry.learning_rate for entry in history] == expected
    assert used == [{rate} for rate in expected for _ in range(STEPS)]


# ----------------------------------------------------------------------------------------------------------- resuming


def noisy(build: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """Give what `build` builds dropout before its head and stochastic depth in every block."""

    def noisy_build(*args: Any, **options: Any) -> nn.Module:
        network = build(*args, **options)
        for block in [module for module in network.modules() if isinstance(module, smallnet.FusedBlock)]:
            block.body.append(StochasticDepth(0.2, "row"))
        network.features.append(nn.Dropout(0.3))  # type: ignore[operator, union-attr]
        return network

    return noisy_build


def accuracy_by_chance(network: nn.Module, split: Any, spec: Spec) -> evaluate.Score:
    """Score a network with a number that depends on every bit of its logits, so that any epoch may be the best."""
    logits = evaluate.predict(network, split.images, spec.dataset.info.normalisation)
    bits = logits.numpy().view(np.uint32).sum(dtype=np.uint64)
    loss = functional.cross_entropy(logits, split.labels).item()
    return evaluate.Score(float(bits % 10_007) / 10_007 * 100, loss, None)


RESUMED = {
    "KD": spec_of(),
    "DKD": spec_of("dkd_beta8"),
    "teacher": spec_of("teacher_32"),
    "cross-resolution": spec_of("kd_64_to_32"),
    "last": spec_of(optimisation={"select": "last", "patience_epochs": 1}),
    "early stop": spec_of(optimisation={"epochs": 9, "patience_epochs": 1}),
    "validation": spec_of(
        optimisation={"select": "best_on_validation"}, dataset={"train_images": 80, "validation_images": 20}
    ),
}


@pytest.mark.parametrize("spec", RESUMED.values(), ids=RESUMED)
def test_a_run_killed_at_every_point_in_turn_ends_as_if_it_had_not_been(
    spec: Spec, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "build", noisy(train.build))
    monkeypatch.setattr(train, "score", accuracy_by_chance)
    whole = bench.fit(spec, "whole")
    for epoch, step in POINTS:
        if epoch <= len(whole.history):
            bench.kill(spec, "killed", epoch, step)
    killed = bench.fit(spec, "killed")
    assert bench.results("killed") == bench.results("whole")
    assert killed.cost.resumptions == len(whole.history)
    assert len(killed.cost.epoch_s) == len(whole.history)
    assert killed.stopped_early == whole.stopped_early == (spec.optimisation.epochs == 9)
    assert killed.provenance.weights_sha256 == whole.provenance.weights_sha256


def test_dropout_is_drawn_anew_in_every_epoch_and_run(
    bench: Bench, whole: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "build", noisy(train.build))
    once, other = bench.fit(spec_of(), "once").history, bench.fit(spec_of(seed=2), "other").history
    assert once[0].train_loss != whole[2][0]["train_loss"]
    assert once[0].train_loss != other[0].train_loss
    assert train._derived_seed(1, 1) != train._derived_seed(1, 2)


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def test_global_generators_neither_matter_nor_change(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "build", noisy(train.build))
    for seed in (1, 2):
        seed_everything(seed)
        expected = random.random(), np.random.random(), torch.rand(3).tolist()
        seed_everything(seed)
        bench.fit(spec_of(), f"seed{seed}")
        assert (random.random(), np.random.random(), torch.rand(3).tolist()) == expected
    assert bench.results("seed1") == bench.results("seed2")


# ------------------------------------------------------------------------------------------------------------ teacher


def test_the_teacher_stays_as_it_is_and_in_evaluation(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of()
    trainer = bench.trainer(spec)
    teacher = trainer.teacher and trainer.teacher.network
    assert teacher is not None
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    modes = []
    teacher.register_forward_pre_hook(lambda module, inputs: modes.append(any(m.training for m in module.modules())))
    trainer.network.register_forward_pre_hook(lambda module, inputs: modes.append(None))
    trainer.network.train()
    trainer.fit(quiet(spec))
    assert modes.count(False) == EPOCHS * STEPS + 1, "every step, and the test images once"
    assert True not in modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in teacher.parameters())
    optimised = {id(p) for group in trainer.step.optimiser.param_groups for p in group["params"]}
    assert optimised == {id(parameter) for parameter in trainer.network.parameters()}


def test_the_teacher_sees_the_mixed_batch_upsampled(bench: Bench) -> None:
    trainer = bench.trainer(spec_of("kd_64_to_32"))
    seen: list[Tensor] = []
    assert trainer.teacher is not None
    trainer.teacher.network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    batch = trainer.stream.batch(1, 0)
    take(trainer, batch)
    expected = functional.interpolate(batch.images, size=(64, 64), mode="bilinear", align_corners=False)
    assert torch.equal(seen[0], expected)


def test_the_loss_of_a_step_is_that_of_the_teachers_logits(bench: Bench) -> None:
    trainer = bench.trainer(spec_of())
    batch = trainer.stream.batch(1, 0)
    assert trainer.teacher is not None
    with torch.no_grad():
        teacher_logits = trainer.teacher(batch.images)
        student_logits = models.build(trainer.spec.model, 20, 1).to(memory_format=torch.channels_last)(batch.images)
    expected = trainer.spec.objective.losses(student_logits, teacher_logits, batch.targets, 1)
    means = take(trainer, batch).means
    assert means.keys() == {"ce", "kd", "total"}
    for name, value in expected.items():
        assert means[name] == pytest.approx(value.item(), rel=1e-6)


@pytest.mark.parametrize("changes", [{"seed": 2, "teacher_seed": 2}, {"teacher": "teacher_64"}])
def test_weights_of_another_teacher_are_refused(changes: dict[str, Any], bench: Bench) -> None:
    path = bench.teachers / "teacher_32.safetensors"
    wanted = "teacher_32 seed 2" if "seed" in changes else "teacher_64 seed 1"
    with pytest.raises(CrossresError, match=f"weights of teacher_32 seed 1, but the spec names {wanted}"):
        Trainer(spec_of(**changes), bench.root, bench.folder, CPU, path)


def test_a_missing_teacher_is_named(bench: Bench) -> None:
    with pytest.raises(CrossresError, match="run kd_32: no weights of its teacher teacher_32; use --teacher FILE"):
        Trainer(spec_of(), bench.root, bench.folder, CPU)
    with pytest.raises(CrossresError, match=r"nowhere: no such file"):
        Trainer(spec_of(), bench.root, bench.folder, CPU, Path("nowhere"))


def test_a_teacher_cannot_be_shown_what_is_not_there(bench: Bench) -> None:
    with pytest.raises(CrossresError, match="teacher_view: the batch is 32 px, not 64; use kind: upsampled"):
        bench.trainer(spec_of("kd_64_to_32", teacher_view={"kind": "native"}))


# --------------------------------------------------------------------------------------------------- non-finite steps


def break_losses(
    monkeypatch: pytest.MonkeyPatch, *broken: tuple[int, int], terms: tuple[str, ...] = ("kd", "total")
) -> None:
    """Make terms of KD's loss NaN at some steps, given as (epoch, step), both from 1."""
    losses, calls = KD.losses, {"count": 0}

    def losses_of_step(self: KD, student: Tensor, teacher: Tensor, targets: Targets, epoch: int) -> dict[str, Tensor]:
        step = calls["count"] % STEPS + 1
        calls["count"] += 1
        computed = losses(self, student, teacher, targets, epoch)
        spoilt = {name: value * math.nan for name, value in computed.items() if name in terms}
        return {**computed, **spoilt} if (epoch, step) in broken else computed

    monkeypatch.setattr(KD, "losses", losses_of_step)


def test_a_nonfinite_loss_stops_and_keeps_the_state(bench: Bench, whole: Results) -> None:
    spec = spec_of()
    with pytest.MonkeyPatch.context() as patch:
        break_losses(patch, (2, 3))
        with pytest.raises(
            CrossresError, match=r"seed 1: kd is not finite at epoch 2, step 3; the state of epoch 1 is kept"
        ) as stop:
            bench.fit(spec, "stopped")
    assert str(bench.state_dir("stopped")) in str(stop.value)
    assert "\n" not in str(stop.value)
    assert not (bench.folder / "stopped" / "weights.safetensors").exists()
    bench.fit(spec, "stopped")
    assert bench.results("stopped") == whole


def test_a_nonfinite_loss_in_the_first_epoch_says_so(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    break_losses(monkeypatch, (1, 1), terms=("total",))
    with pytest.raises(CrossresError, match="total is not finite at epoch 1, step 1; no epoch was finished"):
        bench.fit(spec_of())


@pytest.mark.parametrize("terms", [("kd", "total"), ("ce", "kd", "total")])
def test_a_skipped_step_is_counted_and_leaves_no_trace(
    terms: tuple[str, ...], bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(optimisation={"nonfinite": "skip"})
    trainer = bench.trainer(spec)
    left_out = []
    optimiser = trainer.step.optimiser
    step = optimiser.step
    monkeypatch.setattr(optimiser, "step", lambda: (left_out.append(float(optimiser.found_inf)), step()))
    break_losses(monkeypatch, (2, 1), (2, 3), terms=terms)
    history = trainer.fit(quiet(spec)).history
    assert [entry.nonfinite_steps for entry in history] == [0, 2, 0]
    assert left_out == [0, 0, 0, 1, 0, 1, 0, 0, 0]
    assert {float(state["step"]) for state in optimiser.state.values()} == {EPOCHS * STEPS - 2}
    assert all(math.isfinite(value) for entry in history for value in entry.losses.values())


@pytest.mark.parametrize("nonfinite", ["skip", "thesis_fallback"])
def test_a_forward_pass_that_is_not_finite_does_not_spoil_the_running_statistics(nonfinite: str, bench: Bench) -> None:
    trainer = bench.trainer(spec_of(optimisation={"nonfinite": nonfinite}))
    batch = next(iter(trainer.stream.epoch(1)))
    trainer.step.begin(1, 0.1)
    trainer.step(batch)
    before = {name: value.clone() for name, value in trainer.network.state_dict().items() if "running" in name}
    trainer.step(batch._replace(images=batch.images * math.inf))
    after = trainer.network.state_dict()
    assert before
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    trainer.step(batch)
    tally = trainer.step.end()
    assert tally.nonfinite == 1
    assert tally.first_bad is not None
    assert all(value.isfinite().all() for value in trainer.network.state_dict().values())


def test_a_test_loss_that_is_not_finite_is_recorded_as_null(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "score", lambda *arguments: evaluate.Score(31.25, None, None))
    heard = io.StringIO()
    trainer = bench.trainer(spec_of(optimisation={"epochs": 1, "warmup_epochs": 0}))
    (entry,) = trainer.fit(ProgressBar("kd_32", 1, heard)).history
    assert entry.test_loss is None
    assert "test loss not finite" in heard.getvalue()


def test_the_thesis_falls_back_to_cross_entropy_alone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    fallback, alone = spec_of(optimisation={"nonfinite": "thesis_fallback"}), spec_of()
    with pytest.MonkeyPatch.context() as patch:
        break_losses(patch, *[(epoch, step) for epoch in (1, 2, 3) for step in range(1, STEPS + 1)])
        history = bench.fit(fallback, "fallback").history
    patched = CrossEntropy(label_smoothing=alone.objective.label_smoothing).losses
    monkeypatch.setattr(KD, "losses", lambda self, *args: patched(*args))
    expected = bench.fit(alone, "alone").history
    assert [entry.nonfinite_steps for entry in history] == [STEPS] * EPOCHS
    assert [entry.train_loss for entry in history] == [entry.train_loss for entry in expected]
    assert [entry.losses for entry in history] == [entry.losses for entry in expected]
    weights = [evaluate.read_weights(bench.folder / name / "last.safetensors")[0] for name in ("fallback", "alone")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_the_means_are_over_the_steps_that_had_the_term(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of(optimisation={"nonfinite": "thesis_fallback", "epochs": 1, "warmup_epochs": 0})
    break_losses(monkeypatch, (1, 2))
    trainer = bench.trainer(spec)
    (entry,) = trainer.fit(quiet(spec)).history
    (ce, kd, total, _) = trainer.step.ledger.read().T
    assert trainer.step.ledger.names == ("ce", "kd", "total")
    assert np.isnan([kd[1], total[1]]).all()
    assert entry.losses == pytest.approx({"ce": ce.mean(), "kd": kd[[0, 2]].mean()})
    assert entry.train_loss == pytest.approx(np.mean([total[0], ce[1], total[2]]))


def test_an_epoch_without_a_step_stops(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    break_losses(monkeypatch, *[(2, step) for step in range(1, STEPS + 1)])
    with pytest.raises(CrossresError, match="epoch 2: every step was skipped as not finite"):
        bench.fit(spec_of(optimisation={"nonfinite": "skip"}))
    assert (bench.state_dir() / "state-0001.pt").exists()


@pytest.mark.parametrize("nonfinite", ["stop", "skip", "thesis_fallback"])
def test_a_run_that_diverges_ends_with_one_line(nonfinite: str, bench: Bench) -> None:
    changes = {"learning_rate": 1e30, "nonfinite": nonfinite, "warmup_epochs": 0, "grad_clip_norm": None}
    with pytest.raises(CrossresError, match="run kd_32 seed 1") as stop:
        bench.fit(spec_of(optimisation=changes))
    assert "\n" not in str(stop.value)


def break_gradient(trainer: Trainer, at: int) -> None:
    """Make one gradient infinite in the n-th backward pass."""
    parameter, calls = next(trainer.network.parameters()), iter(range(1, 1000))
    parameter.register_hook(lambda gradient: gradient * math.inf if next(calls) == at else gradient)


@pytest.mark.parametrize("nonfinite", ["stop", "skip"])
def test_a_nonfinite_gradient_is_told_or_skipped(nonfinite: str, bench: Bench) -> None:
    spec = spec_of(optimisation={"nonfinite": nonfinite})
    trainer = bench.trainer(spec)
    break_gradient(trainer, at=STEPS + 2)
    if nonfinite == "stop":
        with pytest.raises(
            CrossresError, match="gradient is not finite at epoch 2, step 2; the state of epoch 1 is kep"
        ):
            trainer.fit(quiet(spec))
        return
    history = trainer.fit(quiet(spec)).history
    assert [entry.nonfinite_steps for entry in history] == [0, 1, 0]
    assert all(parameter.isfinite().all() for parameter in trainer.network.parameters())


# ------------------------------------------------------------------------------------------- clipping and the scaler


def gradient_norm(network: nn.Module) -> float:
    return math.sqrt(sum(float(p.grad.double().square().sum()) for p in network.parameters() if p.grad is not None))


@pytest.mark.parametrize("limit", [0.05, 1e3, None])
def test_gradients_are_clipped_and_their_norm_is_recorded_before(
    limit: float | None, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(optimisation={"grad_clip_norm": limit})
    trainer = bench.trainer(spec)
    before: list[float] = []
    after: list[float] = []
    clip, step = trainer.step._clip, trainer.step.optimiser.step
    monkeypatch.setattr(trainer.step, "_clip", lambda: (before.append(gradient_norm(trainer.network)), clip())[1])
    monkeypatch.setattr(trainer.step.optimiser, "step", lambda: (after.append(gradient_norm(trainer.network)), step()))
    history = trainer.fit(quiet(spec)).history
    largest = math.inf if limit is None else limit
    assert after == pytest.approx([min(norm, largest) for norm in before], rel=1e-4)
    for number, entry in enumerate(history):
        norms = before[number * STEPS : (number + 1) * STEPS]
        assert entry.grad_norm == pytest.approx(np.mean(norms), rel=1e-5)
        assert entry.clipped_share == np.mean([norm > largest for norm in norms])


@pytest.mark.parametrize("limit", [1e3, 0.05])
def test_a_loss_scaler_changes_nothing_and_is_resumed(
    limit: float, bench: Bench, uninterrupted: Callable[[Spec], Results]
) -> None:
    """A scale of 2¹² changes no bit, if gradients are unscaled before they are clipped; an overflow is skipped."""
    spec = spec_of(optimisation={"grad_clip_norm": limit})

    def scaled(name: str) -> Trainer:
        trainer = bench.trainer(spec, name)
        trainer.step.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12, growth_interval=4)
        return trainer

    scaled("plain").fit(quiet(spec))
    assert bench.results("plain") == uninterrupted(spec)
    assert all((entry["clipped_share"] > 0) == (limit < 1) for entry in uninterrupted(spec)[2])
    for name in ("once", "killed"):
        trainer = scaled(name)
        break_gradient(trainer, at=2)
        if name == "killed":
            with pytest.raises(Killed):
                trainer.fit(Killing(1))
            assert torch.load(bench.state_dir(name) / "state-0001.pt", weights_only=True)["scaler"]["scale"] == 2.0**11
            trainer = scaled(name)
        history = trainer.fit(quiet(spec)).history
        assert [(entry.overflow_steps, entry.nonfinite_steps) for entry in history] == [(1, 0), (0, 0), (0, 0)]
        assert all(entry.grad_norm is not None and math.isfinite(entry.grad_norm) for entry in history)
        assert trainer.step.scaler.get_scale() == 2.0**12
    assert bench.results("killed") == bench.results("once")


def test_an_overflow_without_a_scale_left_stops(bench: Bench) -> None:
    trainer = bench.trainer(spec_of())
    trainer.step.scaler = torch.amp.GradScaler("cpu", init_scale=1.0)
    break_gradient(trainer, at=2)
    with pytest.raises(CrossresError, match="gradient is not finite at epoch 1, step 2"):
        trainer.fit(quiet(spec_of()))


def test_an_epoch_of_overflows_is_no_failure(bench: Bench) -> None:
    trainer = bench.trainer(spec_of(dataset={"train_images": BATCH}))
    trainer.step.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
    break_gradient(trainer, at=1)
    first = trainer.fit(quiet(trainer.spec)).history[0]
    assert (first.overflow_steps, first.grad_norm, first.clipped_share) == (1, None, None)


def test_a_cpu_computes_in_full_precision_whatever_the_spec_says(bench: Bench, whole: Results) -> None:
    assert spec_of().optimisation.precision == "fp32"
    training = bench.fit(spec_of(optimisation={"precision": "fp16"}))
    assert bench.results()[2] == whole[2]
    assert training.provenance.precision == "fp32"


@pytest.mark.parametrize("matrices_only", [True, False])
def test_weight_decay_reaches_what_it_should(matrices_only: bool) -> None:
    network = models.build(spec_of().model, 20, 1)
    optimiser = adamw(network, Optimisation(epochs=9, weight_decay=0.1, decay_matrices_only=matrices_only))
    matrices = {id(module.weight) for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)}
    decay = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    expected = {id(p): 0.1 if id(p) in matrices or not matrices_only else 0.0 for p in network.parameters()}
    assert decay == expected
    assert sum(len(group["params"]) for group in optimiser.param_groups) == len(expected)


def test_a_step_is_adamws(bench: Bench) -> None:
    """One step against PyTorch's plain AdamW on the same gradients."""
    spec = spec_of(optimisation={"decay_matrices_only": False, "grad_clip_norm": None})
    trainer = bench.trainer(spec)
    copies = [parameter.detach().clone().requires_grad_() for parameter in trainer.network.parameters()]
    settings = spec.optimisation
    plain = torch.optim.AdamW(copies, lr=settings.learning_rate, weight_decay=settings.weight_decay, foreach=False)
    take(trainer, trainer.stream.batch(1, 0))
    for copy, parameter in zip(copies, trainer.network.parameters(), strict=True):
        copy.grad = parameter.grad
    plain.step()
    for copy, parameter in zip(copies, trainer.network.parameters(), strict=True):
        torch.testing.assert_close(parameter.detach(), copy.detach(), rtol=1e-5, atol=1e-7)


def test_the_incomplete_batch_is_dropped(bench: Bench) -> None:
    trainer = bench.trainer(spec_of())
    assert len(trainer.images.train.labels) == 60
    batches = list(trainer.stream.epoch(1))
    assert [len(batch.images) for batch in batches] == [BATCH] * STEPS


# -------------------------------------------------------------------------------------------------------------- state


def damage(path: Path, how: str) -> None:
    """Do to a file what a power loss or a bad disk does."""
    content = bytearray(path.read_bytes())
    if how == "missing":
        path.unlink()
        return
    if how == "cut":
        content = content[: len(content) // 2]
    elif how == "zeroed":
        content[-min(4096, len(content)) :] = bytes(min(4096, len(content)))
    elif how == "flipped":
        content[len(content) // 2] ^= 1
    path.write_bytes(content if how != "empty" else b"")


DAMAGE = ("missing", "empty", "cut", "zeroed", "flipped")
STATE = ("state-0001.pt", "best-0001.safetensors", "checkpoint.json")


@pytest.mark.parametrize("name", STATE)
@pytest.mark.parametrize("how", DAMAGE[1:])
def test_a_run_whose_first_state_is_damaged_starts_afresh(name: str, how: str, bench: Bench, last: Results) -> None:
    spec = spec_of(optimisation={"select": "last"})
    bench.kill(spec, "run", 1)
    damage(bench.state_dir() / name, how)
    heard = io.StringIO()
    bench.trainer(spec).fit(ProgressBar("kd_32", EPOCHS, heard))
    assert bench.results() == last
    assert name in heard.getvalue()
    assert "resumed" not in heard.getvalue()


@pytest.mark.parametrize("name", STATE)
def test_two_damaged_states_are_refused_and_left(name: str, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "score", scripted([5, 4, 3]))
    bench.kill(spec_of(), "run", 2)
    both = {"state-0001.pt": "state-0002.pt", "checkpoint.json": files.PREVIOUS_CHECKPOINT}
    for damaged in {name, both.get(name, name)}:
        damage(bench.state_dir() / damaged, "cut")
    before = {path.name: path.read_bytes() for path in bench.state_dir().iterdir()}
    with pytest.raises(CrossresError, match=r"not a whole state \(.*\); move .* away to start afresh") as stop:
        bench.fit(spec_of())
    assert name.replace("state-0001", "state-0002") in str(stop.value)
    assert "\n" not in str(stop.value)
    assert {path.name: path.read_bytes() for path in bench.state_dir().iterdir()} == before


@pytest.mark.parametrize(("name", "how"), [(name.replace("1", "2"), how) for name in STATE for how in DAMAGE])
def test_a_run_whose_newest_state_is_damaged_goes_on_from_the_one_before(
    name: str, how: str, bench: Bench, last: Results
) -> None:
    spec = spec_of(optimisation={"select": "last"})
    bench.kill(spec, "run", 2)
    damage(bench.state_dir() / name, how)
    heard = io.StringIO()
    bench.trainer(spec).fit(ProgressBar("kd_32", EPOCHS, heard))
    assert bench.results() == last
    assert "resumed after epoch 1" in heard.getvalue()
    assert (name in heard.getvalue()) != (how == "missing" and name == "checkpoint.json")


@pytest.fixture(scope="module")
def last(uninterrupted: Callable[[Spec], Results]) -> Results:
    return uninterrupted(spec_of(optimisation={"select": "last"}))


@pytest.mark.parametrize("changed", ["sources", "torch", "device", "compiler"])
def test_a_run_is_gone_on_with_by_what_began_it_alone(
    changed: str, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.kill(spec_of(), "run", 1)
    (began,) = json.loads((bench.state_dir() / files.CHECKPOINT).read_text())["computed_with"]
    monkeypatch.setattr(train.provenance, "computed_with", lambda *arguments: began | {changed: "another"})
    with pytest.raises(CrossresError, match=rf"\({changed} .* → another.*--accept-sources"):
        bench.fit(spec_of())
    trainer = Trainer(
        spec_of(), bench.root, bench.folder / "run", CPU, bench.teachers / "teacher_32.safetensors", accept_sources=True
    )
    (earlier,) = trainer.fit(quiet(spec_of())).provenance.earlier
    assert earlier[changed] != "another"


@pytest.mark.parametrize("point", ["best-0002", "state-0002", "checkpoint.json"])
def test_a_run_killed_between_the_writes_of_a_state_loses_one_epoch(
    point: str, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "score", scripted([5, 7, 6]))
    bench.fit(spec_of(), "whole")
    monkeypatch.setattr(train, "score", scripted([5, 7, 7, 6]))
    write = files.os.replace

    def killed(source: Path, target: Path) -> None:
        if target.name.startswith(point) and (target.parent / files.CHECKPOINT).exists():
            raise Killed
        write(source, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files.os, "replace", killed)
        with pytest.raises(Killed):
            bench.fit(spec_of())
    progress = Killing(0)
    bench.fit(spec_of(), "run", progress)
    assert "resumed after epoch 1" in progress.stream.getvalue()  # type: ignore[attr-defined]
    assert bench.results() == bench.results("whole")


def test_how_far_a_run_is_can_be_read_without_torch(bench: Bench) -> None:
    bench.kill(spec_of(), "run", 2)
    path = bench.state_dir() / files.CHECKPOINT
    reached = Checkpoint.parse(json.loads(path.read_text()), str(path))
    assert (reached.epoch, reached.epochs, reached.spec_sha256) == (2, EPOCHS, spec_of().digest())
    assert reached.epoch_s == pytest.approx(sum(reached.wall_s) / 2)
    assert reached.epoch_s > 0
    assert 0 <= reached.best_accuracy_pct <= 100


def test_a_state_of_another_version_is_refused(bench: Bench) -> None:
    spec = spec_of()
    bench.kill(spec, "run", 2)
    for path in (bench.state_dir() / files.CHECKPOINT, bench.state_dir() / files.PREVIOUS_CHECKPOINT):
        path.write_text(json.dumps({**json.loads(path.read_text()), "colour": "red"}))
    with pytest.raises(CrossresError, match=r"not a whole state \(its content: colour: unknown key.*start afresh"):
        bench.fit(spec)


@pytest.mark.parametrize(
    "changes",
    [{"optimisation": {"select": "last"}}, {"objective": {"kd_weight": 0.6}}],
)
def test_a_changed_spec_starts_afresh_and_keeps_the_old_state(
    changes: dict[str, Any], bench: Bench, uninterrupted: Callable[[Spec], Results]
) -> None:
    bench.kill(spec_of(), "run", 2)
    old = bench.state_dir()
    before = {path.name: path.read_bytes() for path in old.iterdir()}
    progress = Killing(0)
    bench.fit(spec_of(**changes), "run", progress)
    assert f"a state of another spec, data set or teacher is kept in {old}" in progress.stream.getvalue()  # type: ignore[attr-defined]
    assert {path.name: path.read_bytes() for path in old.iterdir()} == before
    shutil.rmtree(old.parent)
    assert bench.results("run") == uninterrupted(spec_of(**changes))


def test_another_teacher_starts_afresh(bench: Bench) -> None:
    bench.kill(spec_of(), "run", 1)
    other = spec_of("teacher_32", optimisation={"epochs": 2, "warmup_epochs": 0})
    bench.fit(other, "teacher")
    weights = bench.folder / "teacher" / "weights.safetensors"
    trainer = Trainer(spec_of(), bench.root, bench.folder / "run", CPU, weights)
    assert trainer.state_dir != bench.state_dir()


def test_a_finished_state_is_kept_until_the_record_is_written(bench: Bench) -> None:
    """Whatever kills the workflow between training and its bookkeeping: the outputs are written again, not trained."""
    training = bench.trainer(spec_of()).fit(quiet(spec_of()))
    outputs = bench.results()
    for name in ("weights.safetensors", "last.safetensors", "training.json"):
        (bench.folder / "run" / name).unlink()
    again = bench.trainer(spec_of()).fit(Killing(1, 1))
    assert (bench.results(), again.cost.epoch_s) == (outputs, training.cost.epoch_s)
    (bench.folder / "run/state/another").mkdir()
    discard_state(bench.folder / "run", again)
    assert [path.name for path in (bench.folder / "run/state").iterdir()] == ["another"]


def test_a_teacher_must_be_the_one_that_its_training_describes(bench: Bench) -> None:
    spec = spec_of("teacher_32", optimisation={"epochs": 1, "warmup_epochs": 0})
    bench.fit(spec, "teacher")
    weights, described = (bench.folder / "teacher" / name for name in ("weights.safetensors", "training.json"))
    Trainer(spec_of(), bench.root, bench.folder / "run", CPU, weights)
    described.write_text(described.read_text().replace('"weights_sha256": "', '"weights_sha256": "0'))
    with pytest.raises(CrossresError, match="not the weights that .* describes; train teacher_32 again"):
        Trainer(spec_of(), bench.root, bench.folder / "run", CPU, weights)


def test_energy_is_counted_over_epochs_and_forgotten_without_a_counter(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bench.fit(spec_of(), "uncounted").cost.energy_wh is None
    readings = iter(range(0, 36_000, 1_800))
    monkeypatch.setattr(train.provenance, "energy_j", lambda device: float(next(readings)))
    assert bench.fit(spec_of(), "counted").cost.energy_wh == EPOCHS * 1_800 / 3_600


def test_a_second_process_waits_for_the_first(bench: Bench) -> None:
    heard = io.StringIO()
    (bench.folder / "run").mkdir()
    with open(bench.folder / "run/.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = threading.Thread(target=bench.trainer(spec_of()).fit, args=(ProgressBar("second", EPOCHS, heard),))
        second.start()
        second.join(1)
        assert second.is_alive()
        assert "another process is working here" in heard.getvalue()
    second.join(60)
    assert (bench.folder / "run/training.json").is_file()


def test_two_generations_of_the_state_are_kept_and_the_best_weights(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "score", scripted([5, 7, 6]))
    bench.kill(spec_of(), "run", 3)
    assert sorted(path.name for path in bench.state_dir().iterdir()) == [
        "best-0002.safetensors",
        "checkpoint.json",
        "previous.json",
        "state-0002.pt",
        "state-0003.pt",
    ]


class FillsTheDisk(ProgressBar):
    """Lets every later write of some file fail for want of space."""

    def __init__(self, patch: pytest.MonkeyPatch, file: str) -> None:
        super().__init__("run", EPOCHS, io.StringIO())
        self.patch, self.file = patch, file

    def epoch(self, entry: Epoch, images_per_s: float, epoch_s: float) -> None:
        sync = os.fsync

        def full(descriptor: int) -> None:
            if self.file in os.readlink(f"/proc/self/fd/{descriptor}"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            sync(descriptor)

        self.patch.setattr(files.os, "fsync", full)


@pytest.mark.parametrize("file", ["state-", "checkpoint", "best-", "weights.safetensors", "training.json"])
def test_a_full_disk_leaves_the_old_state_and_the_run_goes_on_later(
    file: str, bench: Bench, uninterrupted: Callable[[Spec], Results]
) -> None:
    spec = spec_of(optimisation={"select": "last"})
    message = r"could not be written \(.*No space left on device"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(CrossresError, match=message) as stop:
        bench.fit(spec, "run", FillsTheDisk(patch, file))
    assert "the old file is untouched" in str(stop.value)
    assert not list(bench.folder.rglob("*.part"))
    bench.fit(spec, "run")
    assert bench.results("run") == uninterrupted(spec)


# ---------------------------------------------------------------------------------------------------------- selection


def scripted(test: list[float], validation: list[float] | None = None) -> Callable[..., evaluate.Score]:
    """Return what stands for the scores of one epoch after another; the validation split is the smaller one."""
    scores = {"test": iter(test), "validation": iter(validation or [])}

    def score(network: nn.Module, split: Any, spec: Spec) -> evaluate.Score:
        return evaluate.Score(next(scores["validation" if len(split.labels) == 20 else "test"]), 1.0, None)

    return score


@pytest.mark.parametrize(
    ("accuracies", "patience", "best", "epochs"),
    [
        ([5, 7, 7, 6, 7], None, 2, 5),
        ([5, 7, 7, 6, 7], 2, 2, 4),
        ([5, 4, 3, 2, 1], 1, 1, 2),
        ([5, 4, 6, 5, 4], 2, 3, 5),
        ([0, 0, 0, 0, 0], 5, 1, 5),
        ([1, 2, 3, 4, 5], 1, 5, 5),
    ],
)
def test_selection_and_early_stopping(
    accuracies: list[float],
    patience: int | None,
    best: int,
    epochs: int,
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(train, "score", scripted(accuracies))
    training = bench.fit(spec_of(optimisation={"epochs": 5, "patience_epochs": patience}))
    assert len(training.history) == epochs
    assert training.stopped_early == (epochs < 5)
    assert epoch_of(bench.folder / "run" / "weights.safetensors") == best
    assert epoch_of(bench.folder / "run" / "last.safetensors") == epochs


def test_selection_by_validation_looks_at_nothing_else(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "score", scripted([9, 1, 1], [1, 3, 2]))
    spec = spec_of(optimisation={"select": "best_on_validation"}, dataset={"validation_images": 20})
    history = bench.fit(spec).history
    assert epoch_of(bench.folder / "run" / "weights.safetensors") == 2
    assert [entry.validation_accuracy_pct for entry in history] == [1, 3, 2]
    assert [entry.test_accuracy_pct for entry in history] == [9, 1, 1]


def test_the_last_epoch_is_selected_and_waited_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "score", scripted([9, 1, 1]))
    training = bench.fit(spec_of(optimisation={"select": "last", "patience_epochs": 1}))
    assert not training.stopped_early
    weights, last, _ = bench.results()
    assert weights == last
    assert epoch_of(bench.folder / "run" / "weights.safetensors") == EPOCHS


def test_a_part_of_a_schedule_is_the_beginning_of_the_whole(bench: Bench) -> None:
    whole = bench.fit(spec_of(optimisation={"epochs": 4, "warmup_epochs": 1})).history
    part = bench.fit(spec_of(optimisation={"epochs": 2, "warmup_epochs": 1, "schedule_epochs": 4}))
    assert [entry.train_loss for entry in part.history] == [entry.train_loss for entry in whole[:2]]
    assert not part.stopped_early


@pytest.mark.parametrize("evaluation", ["exact", "thesis"])
def test_the_score_counts_every_image(evaluation: str, bench: Bench) -> None:
    spec = spec_of(dataset={"test_images": 503}, evaluation=evaluation)
    trainer = bench.trainer(spec)
    accuracy, loss, of_batches = evaluate.score(trainer.network, trainer.images.test, trainer.spec)
    logits = evaluate.predict(trainer.network, trainer.images.test.images, CIFAR100_NORMALISATION).double().numpy()
    labels = trainer.images.test.labels.numpy()
    assert accuracy == 100 * np.mean(logits.argmax(1) == labels)
    log_probabilities = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    losses = -log_probabilities[np.arange(503), labels]
    assert loss == pytest.approx(losses.mean(), rel=1e-6)
    size = spec.optimisation.batch_size
    batches = [losses[start : start + size].mean() for start in range(0, 503, size)]
    assert of_batches == (pytest.approx(np.mean(batches), rel=1e-6) if evaluation == "thesis" else None)


# ------------------------------------------------------------------------------------------------- what a run leaves


def test_what_a_run_leaves(bench: Bench) -> None:
    spec = spec_of("dkd_beta8")
    assert isinstance(spec.objective, DKD)
    training = bench.fit(spec)
    folder = bench.folder / "run"
    left = {path.name for path in folder.iterdir()}
    assert left == {"weights.safetensors", "last.safetensors", "training.json", ".lock"}
    assert TrainingResult.parse(json.loads((folder / "training.json").read_text()), "training") == training
    assert [entry.epoch for entry in training.history] == [1, 2, 3]
    assert training.history[0].losses.keys() == {"ce", "tckd", "nckd"}
    cost, origin = training.cost, training.provenance
    assert (cost.parameters, cost.resumptions, len(cost.epoch_s)) == (55_624, 0, EPOCHS)
    assert cost.gmacs == pytest.approx(models.gmacs(spec.model, 20, 32))
    assert cost.images_per_s is not None
    assert cost.images_per_s * cost.train_minutes * 60 > EPOCHS * STEPS * BATCH
    assert origin.weights_sha256 == sha256(folder / "weights.safetensors")
    assert origin.teacher_sha256 == sha256(bench.teachers / "teacher_32.safetensors")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# ----------------------------------------------------------------------------------------------------------- progress


ENTRY = Epoch(epoch=4, learning_rate=0.1, train_loss=1.5, test_loss=2.0, test_accuracy_pct=31.25, nonfinite_steps=2)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_has_one_plain_line_an_epoch() -> None:
    stream = io.StringIO()
    progress = ProgressBar("kd seed 1", 10, stream)
    progress.resumed(3)
    progress.step(4, 1, 8)
    progress.epoch(ENTRY, 1234.5, 2.0)
    progress.epoch(ENTRY.model_copy(update={"epoch": 5, "validation_accuracy_pct": 20.5}), 1234.5, 2.0)
    progress.close()
    assert stream.getvalue().splitlines() == [
        "kd seed 1: resumed after epoch 3",
        "kd seed 1: epoch 4/10, loss 1.500, test 31.25 %, 1234 images/s, 2 steps not finite, 00:12 left",
        "kd seed 1: epoch 5/10, loss 1.500, validation 20.50 %, 1234 images/s, 2 steps not finite, 00:10 left",
    ]


def test_a_log_hears_of_a_slow_epoch_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 10.0, 40.0, 40.0, 50.0, 100.0])
    monkeypatch.setattr("crossres.training.progress.time.monotonic", lambda: next(clock))
    stream = io.StringIO()
    progress = ProgressBar("kd", 10, stream)
    for done in (1, 2, 3, 8):
        progress.step(1, done, 8)
    assert stream.getvalue() == "kd: epoch 1/10, step 2/8\n"


def test_a_terminal_has_a_bar_that_knows_where_it_resumed() -> None:
    stream = Terminal()
    progress = ProgressBar("kd", 10, stream)
    progress.resumed(3)
    progress.step(4, 1, 8)
    progress.epoch(ENTRY, 1234.5, 2.0)
    assert progress.bar is not None
    assert (progress.bar.n, progress.bar.initial) == (4, 3)
    progress.close()
    assert "resumed after epoch 3\n" in stream.getvalue()
    assert "40%" in stream.getvalue()
    assert "31.25 %" in stream.getvalue()


def on_cuda(test: Callable[..., None]) -> Callable[..., None]:
    return pytest.mark.gpu(pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")(test))


PRECISIONS = pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])


@on_cuda
@PRECISIONS
@pytest.mark.parametrize("run", ["teacher_32", "kd_32", "kd_64_to_32"])
def test_a_captured_step_is_the_eager_one(bench: Bench, run: str, precision: str) -> None:
    """Three steps an epoch are eager, so the batches are made smaller: most of the steps are replayed."""
    spec = spec_of(run, optimisation={"precision": precision, "batch_size": 4})
    eager, captured = (bench.fit_on_cuda(spec, str(capture), capture).history for capture in (False, True))
    for one, other in zip(eager, captured, strict=True):
        assert other.train_loss == pytest.approx(one.train_loss, rel=1e-3)
        assert other.grad_norm == pytest.approx(one.grad_norm, rel=1e-2)


@on_cuda
@PRECISIONS
def test_a_run_on_cuda_learns_and_is_repeatable_and_resumable(bench: Bench, precision: str) -> None:
    spec = spec_of(optimisation={"precision": precision})
    training = bench.fit_on_cuda(spec, "whole")
    assert training.provenance.precision == precision
    assert training.history[-1].train_loss < training.history[0].train_loss
    assert all(entry.nonfinite_steps == 0 for entry in training.history)
    bench.fit_on_cuda(spec, "again")
    assert bench.results("again") == bench.results("whole")
    with pytest.raises(Killed):
        bench.fit_on_cuda(spec, "killed", progress=Killing(2, 2))
    resumed = bench.fit_on_cuda(spec, "killed")
    assert resumed.cost.resumptions == 1
    for one, other in zip(training.history, resumed.history, strict=True):
        assert other.train_loss == pytest.approx(one.train_loss, rel=1e-3)


@on_cuda
@PRECISIONS
def test_stored_and_live_are_equal_on_cuda(bench: Bench, precision: str) -> None:
    spec = spec_of(optimisation={"precision": precision})
    bench.fit_on_cuda(spec, "live")
    weights = bench.folder / "teacher" / "weights.safetensors"
    weights.parent.mkdir()
    shutil.copy(bench.teachers / f"{spec.teacher}.safetensors", weights)
    folder = files.logits_dir(weights.parent, pass_key(spec))
    store_pass(spec, weights, bench.root, EPOCHS, folder, CUDA, quiet(spec))
    trainer = Trainer(spec, bench.root, bench.folder / "stored", CUDA, weights, capture=True)
    assert trainer.fit(quiet(spec)).cost.stored_epochs == EPOCHS
    assert bench.results("stored") == bench.results("live")


def efficientnet_step(size: str) -> Step:
    """Return a step of a network of the thesis, which has dropout and stochastic depth."""
    network = models.build(Model(name=f"torchvision/efficientnet_v2_{size}"), 100, 1)
    network.to(CUDA, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Step(network, CrossEntropy(), Optimisation(epochs=9), 8, "fp16", capture=True)


def random_batch(size_px: int, count: int) -> MixedBatch:
    labels = torch.randint(100, (count,), device=CUDA)
    return MixedBatch(torch.randn(count, 3, size_px, size_px, device=CUDA), labels, labels, torch.ones((), device=CUDA))


@on_cuda
def test_a_replayed_step_draws_anew_for_dropout_and_stochastic_depth() -> None:
    """At a rate of 0 nothing else differs between two steps with the same batch."""
    found, batch = [], random_batch(32, 16)
    for _ in range(2):
        step = efficientnet_step("s")
        step.begin(1, 0.0)
        torch.manual_seed(1)
        for _ in range(8):
            step(batch)
        found.append(step.ledger.read()[:, step.ledger.names.index("total")].tolist())
    assert len(set(found[0])) == 8
    assert found[0] == pytest.approx(found[1], rel=1e-3)


@on_cuda
def test_a_capture_that_fails_ends_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = CrossEntropy.losses

    def waiting(self: CrossEntropy, *given: Any) -> dict[str, Tensor]:
        terms = losses(self, *given)
        return {**terms, "total": terms["total"] * (1 + 0 * terms["total"].detach().item())}

    monkeypatch.setattr(CrossEntropy, "losses", waiting)
    step, batch = efficientnet_step("s"), random_batch(32, 16)
    step.begin(1, 1e-4)
    for _ in range(step_module.WARM_STEPS):
        step(batch)
    with pytest.raises(CrossresError, match=r"could not be captured as a CUDA graph .*--no-cuda-graph"):
        step(batch)


@on_cuda
def test_the_largest_run_of_the_thesis_fits_into_8_gb() -> None:
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    images = torch.empty(60_000, 3, 64, 64, dtype=torch.uint8, device=CUDA)
    step, batch = efficientnet_step("l"), random_batch(64, 64)
    step.begin(1, 1e-4)
    for _ in range(8):
        step(batch)
    assert len(images) == 60_000
    assert torch.cuda.max_memory_reserved() < 7.5e9, "the driver and the libraries take the rest"


def test_capturing_is_for_cuda_alone(bench: Bench) -> None:
    weights = bench.teachers / "teacher_32.safetensors"
    assert not Trainer(spec_of(), bench.root, bench.folder / "run", CPU, weights, capture=True).step.capture


def test_a_step_that_cannot_be_captured_ends_the_job_with_the_fix(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CUDA's state is undefined after a failed capture: going on would compute on the wrong stream."""

    @contextmanager
    def capturing(graph: object) -> Iterator[None]:
        yield
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "graph", capturing)
    monkeypatch.setattr(step_module, "_on_a_side_stream", lambda step, *arguments: step(*arguments))
    trainer = bench.trainer(spec_of())
    trainer.step.capture = True
    with pytest.raises(CrossresError, match="operation not permitted when stream is capturing.*--no-cuda-graph"):
        trainer.fit(quiet(spec_of()))


class Replayed:
    """Stands in for a graph: holds fixed buffers, and takes the step with what was copied into them."""

    def __init__(self, step: Callable[[MixedBatch, Tensor | None], None], batch: MixedBatch, logits: Tensor | None):
        self.step, self.batch = step, batch

    def replay(self, batch: MixedBatch, logits: Tensor | None) -> None:
        self.step(batch, logits)


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Capture on the CPU in pretence; return the number of warm-up steps before each capture."""
    counts, warmed = [], [0]

    def warm_up(step: Callable[..., None], *arguments: object) -> None:
        warmed[0] += 1
        step(*arguments)

    def capture(step: Callable[..., None], batch: MixedBatch, logits: Tensor | None) -> Replayed:
        counts.append(warmed[0])
        warmed[0] = 0
        return Replayed(step, batch, logits)

    monkeypatch.setattr(step_module, "Captured", capture)
    monkeypatch.setattr(step_module, "_on_a_side_stream", warm_up)
    return counts


def test_steps_are_captured_after_warming_up_and_in_every_epoch_anew(
    bench: Bench, whole: Results, captured: list[int]
) -> None:
    trainer = bench.trainer(spec_of())
    trainer.step.capture = True
    trainer.fit(quiet(spec_of()))
    assert captured == [step_module.WARM_STEPS, *[0] * (EPOCHS - 2)]
    assert bench.results() == whole


def test_a_change_from_stored_to_live_logits_warms_up_again(bench: Bench, captured: list[int]) -> None:
    trainer = bench.trainer(spec_of())
    trainer.step.capture = True
    batch = next(iter(trainer.stream.epoch(1)))
    stored = torch.zeros(len(batch.images), trainer.spec.dataset.classes)
    for epoch, logits in enumerate([stored, stored, None, None], 1):
        trainer.step.begin(epoch, 0.1)
        for _ in range(STEPS):
            trainer.step(batch, logits)
    assert captured == [step_module.WARM_STEPS] * 2
