"""The probe: gradients by hand and by finite differences, what the teacher says, and a run that is left as it was."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from crossres import files
from crossres.base import CrossresError
from crossres.records.record import Epoch
from crossres.suites.methods.base import Targets, cross_entropy
from crossres.suites.methods.dkd import decoupled_divergences
from crossres.suites.spec import Budget, Spec
from crossres.suites.suite import load_suite, merge
from crossres.training.loop import Trainer
from crossres.training.probe import probed
from crossres.training.progress import ProgressBar

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
N, C, T = 6, 7, 3.0


def data(lam: Tensor) -> tuple[Tensor, Tensor, Targets]:
    draw = torch.Generator().manual_seed(3)
    student, teacher = (2 * torch.randn(N, C, generator=draw, dtype=torch.float64) for _ in range(2))
    a, b = (torch.randint(C, (N,), generator=draw) for _ in range(2))
    return student, teacher, Targets(a, b, lam)


def numeric(loss: Any, logits: Tensor) -> Tensor:
    """Central differences of one image's loss, `[C]`."""
    step = 1e-6 * torch.eye(C, dtype=torch.float64)
    return torch.stack([(loss(logits + h) - loss(logits - h)) / 2e-6 for h in step])


def test_the_gradients_are_those_of_each_image_alone() -> None:
    lam = torch.linspace(0.1, 0.9, N)
    student, teacher, targets = data(lam)
    measured = probed(student, teacher, teacher, targets, T)
    norms: dict[str, list[float]] = {"ce": [], "tckd": [], "nckd": []}
    cosines = []
    for i in range(N):
        one = Targets(targets.a[i : i + 1], targets.b[i : i + 1], lam[i : i + 1])

        def divergence(logits: Tensor, index: int, i: int = i, one: Targets = one) -> Tensor:
            a, b = (
                decoupled_divergences(logits[None], teacher[i : i + 1], (label,), T)[index] for label in (one.a, one.b)
            )
            return (one.lam * a + (1 - one.lam) * b).squeeze()

        gradients = {
            "ce": numeric(lambda z, one=one: cross_entropy(z[None], one), student[i]),
            "tckd": numeric(lambda z: divergence(z, 0), student[i]),
            "nckd": numeric(lambda z: divergence(z, 1), student[i]),
        }
        for name, gradient in gradients.items():
            norms[name].append(float(gradient.norm()))
        ce, nckd = gradients["ce"], gradients["nckd"]
        cosines.append(float(ce @ nckd / (ce.norm() * nckd.norm())))
    for name, values in norms.items():
        assert getattr(measured, f"{name}_norm") == pytest.approx(sum(values) / N, rel=1e-4)
    assert measured.cos_ce_nckd == pytest.approx(sum(cosines) / N, abs=1e-5)
    assert measured.conflict_share == sum(value < 0 for value in cosines) / N


def test_terms_that_pull_together_and_apart() -> None:
    """A student all for a wrong class: NCKD pulls with CE where the teacher doubts that class, against it elsewhere."""
    student = torch.tensor([[0.0, 6.0, 0.0, 0.0]])
    targets = Targets(torch.tensor([0]), torch.tensor([0]), torch.tensor([1.0]))
    doubting, agreeing = torch.tensor([[5.0, 0.0, 2.0, 2.0]]), torch.tensor([[5.0, 12.0, 0.0, 0.0]])
    assert probed(student, doubting, doubting, targets, 1.0).cos_ce_nckd > 0
    assert probed(student, agreeing, agreeing, targets, 1.0).cos_ce_nckd < 0
    assert probed(student, student, student, targets, 1.0).nckd_norm == pytest.approx(0, abs=1e-6)


def test_what_the_teacher_says() -> None:
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7], [0.5, 0.3, 0.2]])
    targets = Targets(torch.tensor([0, 0, 0, 1]), torch.tensor([1, 1, 1, 1]), torch.tensor([0.8, 0.8, 0.3, 1.0]))
    measured = probed(torch.zeros(4, 3), probabilities.log(), 2 + 0.5 * probabilities.log(), targets, 4.0)
    assert measured.teacher_mass_a == pytest.approx((0.7 + 0.2 + 0.1 + 0.3) / 4)
    assert measured.teacher_mass_b == pytest.approx((0.2 + 0.7 + 0.2 + 0.3) / 4)
    assert measured.order_violation_share == 1 / 4
    assert measured.off_label_share == 2 / 4
    assert measured.superposition_error == pytest.approx(0.5)
    expected = -(probabilities * probabilities.log()).sum(1).mean()
    assert measured.teacher_entropy == pytest.approx(float(expected), rel=1e-6)


def spec_of(run: str, **changes: Any) -> Spec:
    suite = load_suite(files.suite_file("demo"))
    document = suite.resolve(run, 1, Budget(train_images=60, test_images=40, epochs=2)).model_dump()
    return Spec.parse(merge(merge(document, {"optimisation": {"batch_size": 16}}), changes), run)


def fit(root: Path, folder: Path, spec: Spec, teacher: Path | None = None) -> tuple[bytes, list[dict[str, Any]]]:
    Trainer(spec, root, folder, CPU, teacher).fit(ProgressBar("quiet", 2, io.StringIO()))
    return (folder / "last.safetensors").read_bytes(), json.loads((folder / "training.json").read_text())["history"]


@pytest.mark.parametrize("run", ["kd_32", "kd_64_to_32", "dkd_beta8"])
def test_a_probed_run_has_the_weights_of_one_without(run: str, shapes_root: Path, tmp_path: Path) -> None:
    teacher = spec_of(run).teacher
    assert teacher is not None
    fit(shapes_root, tmp_path / teacher, spec_of(teacher))
    weights = tmp_path / teacher / "weights.safetensors"
    plain, history = fit(shapes_root, tmp_path / "plain", spec_of(run, probe_images=0), weights)
    measured, probes = fit(shapes_root, tmp_path / "probed", spec_of(run, probe_images=40), weights)
    # The weights file holds the spec, and the two specs differ: the tensors come after it.
    assert plain[-100_000:] == measured[-100_000:]
    assert [{**entry, "probe": {}} for entry in probes] == history
    for entry in probes:
        kinds = Epoch.model_validate(entry).probe
        assert list(kinds) == ["clean", "mixup", "cutmix"]
        assert kinds["clean"].order_violation_share == kinds["clean"].superposition_error == 0
        assert kinds["mixup"].superposition_error > 0
        assert kinds["clean"].teacher_mass_a == kinds["clean"].teacher_mass_b
        assert kinds["mixup"].teacher_mass_a != kinds["mixup"].teacher_mass_b


def test_a_probe_takes_a_teacher() -> None:
    suite = load_suite(files.suite_file("demo"))
    document = {**suite.run("teacher_32").model_dump(), "probe_images": 8}
    with pytest.raises(CrossresError, match="probe_images: what is measured takes a teacher"):
        type(suite.run("teacher_32")).parse(document, "run")
