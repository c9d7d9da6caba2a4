"""What an epoch on CUDA would do, on a pretended device: nothing may wait for it, mix devices, or freeze a value."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from crossres import files
from crossres.suites.methods import METHODS, Method
from crossres.suites.methods.kd import KD
from crossres.suites.spec import Budget, Model, Optimisation, Spec
from crossres.suites.suite import load_suite, merge
from crossres.training.augment import MixedBatch
from crossres.training.data import Split, Splits
from crossres.training.evaluate import predict
from crossres.training.loop import Trainer
from crossres.training.models import build
from crossres.training.progress import ProgressBar
from crossres.training.step import Step

from .simulated_cuda import CUDA, Forbidden, Watch, simulated

CLASSES, IMAGES, STEPS = 20, 4, 3


@pytest.fixture(scope="module")
def networks() -> tuple[nn.Module, nn.Module]:
    student, teacher = (build(Model(name=f"crossres/tiny_{role}"), CLASSES, 1) for role in ("student", "teacher"))
    return student, teacher.eval().requires_grad_(False)


def batch() -> MixedBatch:
    labels = torch.zeros(IMAGES, dtype=torch.int64, device=CUDA)
    return MixedBatch(torch.empty(IMAGES, 3, 32, 32, device=CUDA), labels, labels, torch.full((), 0.5, device=CUDA))


def take_steps(
    patch: pytest.MonkeyPatch,
    networks: tuple[nn.Module, nn.Module],
    objective: Method,
    precision: str,
    nonfinite: str = "thesis_fallback",
) -> tuple[Step, Watch]:
    copies = copy.deepcopy(networks)
    optimisation = Optimisation(epochs=9, precision=precision, nonfinite=nonfinite)  # type: ignore[arg-type]
    with simulated(patch) as watch:
        student, teacher = (network.to(CUDA) for network in copies)
        forward: Callable[[Tensor], Tensor] | None = torch.no_grad()(teacher) if objective.needs_teacher else None
        step = Step(student, objective, optimisation, STEPS, precision, forward, capture=True)
        step.begin(1, 1e-3)
        with watch:
            for _ in range(STEPS):
                step(batch())
    return step, watch


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
def test_a_step_of_every_method_is_captured_and_never_waits(
    networks: tuple[nn.Module, nn.Module], method: type[Method], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, watch = take_steps(monkeypatch, networks, method(), precision)
    assert (watch.captures, watch.replays) == (1, STEPS - 1)


FAULTS: dict[str, Callable[[Tensor], Tensor]] = {
    "a number read": lambda total: total * float(total.detach()),
    "a tensor on the CPU": lambda total: total * torch.ones(2),
    "a tensor copied from the host": lambda total: total * torch.ones(2).to(CUDA).sum(),
    "one copied without waiting": lambda total: total * torch.ones(2).to(CUDA, non_blocking=True).sum(),
    "a tensor made of a list": lambda total: total * torch.tensor([1.0, 2.0], device=CUDA).sum(),
    "a boolean mask": lambda total: total[total > 0].sum(),
    "indices of what is true": lambda total: total * (total > 0).nonzero().sum(),
    "a result on the CPU": lambda total: total.cpu().cuda(),
    "a decision": lambda total: total if total > 0 else -total,
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_in_a_loss_is_caught(
    networks: tuple[nn.Module, nn.Module], fault: Callable[[Tensor], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = KD.losses

    def with_fault(self: KD, *given: Any) -> dict[str, Tensor]:
        terms = losses(self, *given)
        return {**terms, "total": fault(terms["total"])}

    monkeypatch.setattr(KD, "losses", with_fault)
    with pytest.raises(Forbidden):
        take_steps(monkeypatch, networks, KD(), "fp32")


def trainer(patch: pytest.MonkeyPatch, networks: tuple[nn.Module, nn.Module], spec: Spec, folder: Path) -> Trainer:
    """Return a run whose networks and images are fake; call it within a simulation, with networks of its own."""
    teacher_spec = load_suite(files.suite_file("demo")).resolve("teacher_32", 1)
    student, teacher = networks
    train, validation, test = (
        Split(torch.zeros(count, 3, 32, 32, dtype=torch.uint8, device=CUDA), torch.zeros(count, device=CUDA).long())
        for count in (STEPS * IMAGES, 0, 8)
    )
    patch.setattr("crossres.training.loop.load_splits", lambda *_: Splits(train, validation, test, "0" * 64))
    patch.setattr("crossres.training.loop.build", lambda *_: student)
    patch.setattr("crossres.training.teacher.load_network", lambda *_: (teacher.to(CUDA), teacher_spec, 1))
    (folder / "teacher.safetensors").touch()
    return Trainer(spec, folder, folder / "run", CUDA, folder / "teacher.safetensors", capture=True)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_an_epoch_waits_for_nothing_but_its_ledger_and_what_is_measured(
    networks: tuple[nn.Module, nn.Module], precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream, the teacher, the steps, the evaluation and the probe of one run."""
    kd_32 = load_suite(files.suite_file("demo")).resolve("kd_32", 1, Budget(epochs=2)).model_dump()
    changes = {"optimisation": {"precision": precision, "batch_size": IMAGES}, "probe_images": 8}
    spec, copies = Spec.parse(merge(kd_32, changes), "kd_32"), copy.deepcopy(networks)
    with simulated(monkeypatch) as watch:
        run = trainer(monkeypatch, copies, spec, tmp_path)
        rows = np.ones((STEPS, 4))
        monkeypatch.setattr("crossres.training.step.Ledger.read", lambda ledger: rows[:, : len(ledger.names) + 1])
        with watch:
            tally = run._take_steps(1, 1e-3, None, ProgressBar("kd_32", 2, io.StringIO()))
            logits = predict(run.network, run.images.test.images, spec.dataset.info.normalisation)
            watch.may_wait = True
            entry = run._entry(1, 1e-3, tally)
    assert watch.replays == STEPS - 1
    assert logits.is_cuda and logits.dtype == torch.float32
    assert set(entry.probe) == {"clean", "mixup", "cutmix"}
