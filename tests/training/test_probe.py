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
from crossres.suites.methods.dkd import DKD, decoupled_divergences
from crossres.suites.passes import pass_key
from crossres.suites.spec import Budget, Spec, View
from crossres.suites.suite import load_suite, merge
from crossres.training.data import Split, load_splits
from crossres.training.evaluate import load_network, predict
from crossres.training.loop import Trainer
from crossres.training.probe import Probe, parameter_gradients, probed
from crossres.training.progress import ProgressBar
from crossres.training.teacher import store_pass

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


@pytest.fixture(scope="module")
def taught(shapes_root: Path, tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    fit(shapes_root, folder, spec_of("teacher_64"))
    return folder / "weights.safetensors"


def test_a_teacher_of_resized_images_teaches_alike_live_and_stored_and_is_measured(
    taught: Path, shapes_root: Path, tmp_path: Path
) -> None:
    resized = {"teacher_view": {"resolution_px": 64, "kind": "resized"}, "probe_images": 40}
    spec, upsampled = spec_of("kd_64_to_32", **resized), spec_of("kd_64_to_32", probe_images=40)
    live, history = fit(shapes_root, tmp_path / "live", spec, taught)
    other, _ = fit(shapes_root, tmp_path / "upsampled", upsampled, taught)
    assert live[-100_000:] != other[-100_000:], "the view makes no difference"
    quiet = ProgressBar("quiet", 2, io.StringIO())
    store_pass(spec, taught, shapes_root, 2, files.logits_dir(taught.parent, pass_key(spec)), CPU, quiet)
    trainer = Trainer(spec, shapes_root, tmp_path / "stored", CPU, taught)
    result = trainer.fit(quiet)
    assert result.cost.stored_epochs == 2
    assert (tmp_path / "stored/last.safetensors").read_bytes() == live
    assert [entry.model_dump(mode="json") for entry in result.history] == history
    own = load_network(taught, CPU)[0]
    seen = load_splits(spec.dataset, View(resolution_px=64, kind="resized"), shapes_root, CPU).test
    logits = predict(own, seen.images, spec.dataset.info.normalisation)
    student = load_network(tmp_path / "live/weights.safetensors", CPU)[0]
    followed = predict(student, trainer.images.test.images, spec.dataset.info.normalisation)
    found = result.teaching
    assert found is not None
    assert found.top1_pct == pytest.approx(100 * (logits.argmax(1) == seen.labels).float().mean().item())
    assert found.agreement_pct == pytest.approx(100 * (logits.argmax(1) == followed.argmax(1)).float().mean().item())
    divergence = torch.nn.functional.kl_div(
        followed.log_softmax(1), logits.log_softmax(1), reduction="batchmean", log_target=True
    )
    assert found.kl == pytest.approx(divergence.item(), rel=1e-4)


def test_gradients_at_the_parameters_are_those_of_the_terms(taught: Path) -> None:
    network = load_network(taught, CPU)[0].eval()
    draw = torch.Generator().manual_seed(1)
    images, teacher = torch.rand(8, 3, 32, 32, generator=draw), torch.randn(8, 20, generator=draw)
    targets = Targets(torch.arange(8), torch.arange(8) + 1, torch.full((8,), 0.7))
    method = DKD(label_smoothing=0.1)
    expected = {}
    for name in ("ce", "tckd", "nckd"):
        term = method.losses(network(images), teacher, targets, 1)[name]
        parts = torch.autograd.grad(term, list(network.parameters()))
        expected[name] = torch.cat([part.flatten() for part in parts]).double()
    output = network(images)
    logits = output.detach().requires_grad_()
    terms = method.losses(logits, teacher, targets, 1)
    found = parameter_gradients(output, logits, terms, list(network.parameters()))
    for name, gradient in expected.items():
        assert found[f"{name}_norm"] == pytest.approx(gradient.norm().item(), rel=1e-3)
    for one, other in (("ce", "tckd"), ("ce", "nckd"), ("tckd", "nckd")):
        cosine = torch.nn.functional.cosine_similarity(expected[one], expected[other], dim=0)
        assert found[f"cos_{one}_{other}"] == pytest.approx(cosine.item(), abs=1e-3)


def test_a_probe_measures_in_the_precision_of_the_training(taught: Path) -> None:
    network = load_network(taught, CPU)[0]
    draw = torch.Generator().manual_seed(1)
    split = Split(torch.randint(256, (40, 3, 32, 32), generator=draw).byte(), torch.arange(40) % 20)
    spec, seen = spec_of("kd_32", probe_images=40), []

    def teacher(images: Tensor) -> Tensor:
        seen.append(network.eval()(images).detach())
        return seen[-1]

    measured = {}
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        measured[precision] = Probe(spec, split, teacher, split, precision).measure(network, 1)["mixup"]  # type: ignore[arg-type]
        assert seen[-1].dtype == dtype
    one, other = measured.values()
    assert one != other
    assert one.ce_norm == pytest.approx(other.ce_norm, rel=0.05)


def test_a_probe_takes_a_teacher() -> None:
    suite = load_suite(files.suite_file("demo"))
    document = {**suite.run("teacher_32").model_dump(), "probe_images": 8}
    with pytest.raises(CrossresError, match="probe_images: what is measured takes a teacher"):
        type(suite.run("teacher_32")).parse(document, "run")
