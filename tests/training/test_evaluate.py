"""Figures against plain NumPy, every image counted, and the record of a trained run."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import nn

from crossres import files
from crossres.base import CrossresError
from crossres.records.record import Record, TrainingResult, read_record, write_record
from crossres.suites.datasets import CIFAR100_NORMALISATION
from crossres.suites.spec import Budget, Spec
from crossres.suites.suite import load_suite
from crossres.training.augment import normalise
from crossres.training.evaluate import (
    BATCH_SIZE,
    CALIBRATION_BINS,
    _calibrated,
    _calibration_error,
    best_temperature,
    evaluate,
    figures_of,
    load_network,
    pack_weights,
    predict,
    reliability,
    superclass_confusion,
)
from crossres.training.loop import Trainer
from crossres.training.models import build
from crossres.training.progress import ProgressBar

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


# ------------------------------------------------------------------------------------------- figures against NumPy


def softmax(logits: Floats) -> Floats:
    shares = np.exp(logits - logits.max(1, keepdims=True))
    return shares / shares.sum(1, keepdims=True)


def log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def calibration_error(confidence: Floats, correct: NDArray[np.bool_]) -> float:
    """Equation 3 of Guo et al., bin after bin: bin m holds the confidences in ((m − 1) / 15, m / 15]."""
    error = 0.0
    for number in range(1, 16):
        inside = (confidence > (number - 1) / 15) & (confidence <= number / 15)
        if inside.any():
            error += inside.sum() / len(confidence) * abs(correct[inside].mean() - confidence[inside].mean())
    return error


def reference(logits: Floats, labels: Ints) -> dict[str, float]:
    rows = np.arange(len(labels))
    probabilities = softmax(logits)
    ranked = np.argsort(-logits, axis=1)
    squares = probabilities**2
    squares[rows, labels] = (probabilities[rows, labels] - 1) ** 2
    correct = ranked[:, 0] == labels
    return {
        "top1_pct": 100 * np.mean(correct),
        "top5_pct": 100 * np.mean([label in best for label, best in zip(labels, ranked[:, :5], strict=True)]),
        "nll": -np.mean(log_softmax(logits)[rows, labels]),
        "brier": np.mean(squares.sum(1)),
        "ece": calibration_error(probabilities.max(1), correct),
    }


def random_logits(count: int, classes: int, scale: float, seed: int) -> tuple[Floats, Ints]:
    """Draw logits that know something of their labels."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, classes, count)
    logits = draw.normal(0, 1, (count, classes))
    logits[np.arange(count), labels] += 1
    return logits * scale, labels


@pytest.mark.parametrize("shift", [0.0, 1e3])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 5.0, 100.0, 1e4])
@pytest.mark.parametrize("classes", [2, 20, 100])
def test_figures_equal_their_definitions(classes: int, scale: float, shift: float) -> None:
    logits, labels = random_logits(777, classes, scale, seed=classes)
    measured = figures_of(torch.from_numpy(logits + shift), torch.from_numpy(labels), epoch=7)
    for name, value in reference(logits, labels).items():
        assert getattr(measured, name) == pytest.approx(value, rel=1e-10, abs=1e-12), name
    assert measured.epoch == 7


def test_accuracy_of_each_class() -> None:
    logits, labels = random_logits(400, 20, 1.0, seed=3)
    labels[labels == 4] = 5
    per_class = figures_of(torch.from_numpy(logits), torch.from_numpy(labels), 1).per_class_pct
    correct = logits.argmax(1) == labels
    assert per_class is not None
    for label in range(20):
        expected = 100 * correct[labels == label].mean() if label != 4 else 0
        assert per_class[label] == pytest.approx(expected, abs=5e-5)


def test_the_bins_hold_what_the_calibration_error_is_made_of() -> None:
    logits, labels = random_logits(777, 20, 3.0, seed=5)
    confidence, correct = softmax(logits).max(1), logits.argmax(1) == labels
    bins = figures_of(torch.from_numpy(logits), torch.from_numpy(labels), 1).reliability
    assert bins is not None
    for number in range(CALIBRATION_BINS):
        inside = (confidence > number / 15) & (confidence <= (number + 1) / 15)
        assert bins.images[number] == inside.sum()
        means = (bins.confidence[number], bins.accuracy[number])
        assert means == (
            pytest.approx((confidence[inside].mean(), correct[inside].mean())) if inside.any() else (None, None)
        )


def test_superclasses_are_confused_where_classes_of_two_are() -> None:
    predicted, labels = torch.tensor([0, 1, 2, 3, 3]), torch.tensor([1, 1, 3, 3, 0])
    assert superclass_confusion(predicted, labels, (0, 0, 1, 1)) == [[2, 1], [0, 2]]


def test_a_perfect_and_a_hopeless_network() -> None:
    labels = torch.arange(20).repeat(3)
    sure = nn.functional.one_hot(labels, 20) * 1e3
    perfect, hopeless = figures_of(sure, labels, 1), figures_of(sure, (labels + 1) % 20, 1)
    assert (perfect.top1_pct, perfect.nll, perfect.ece, perfect.brier) == (100, 0, 0, 0)
    assert (hopeless.top1_pct, hopeless.nll, hopeless.ece, hopeless.brier) == (0, 1e3, 1, 2)


def test_confidences_on_an_edge_belong_to_the_bin_below() -> None:
    """Every edge of a bin, its neighbours among the floats, and a confidence of exactly 1."""
    edges = np.arange(1, CALIBRATION_BINS + 1) / CALIBRATION_BINS
    confidence = np.concatenate([edges, np.nextafter(edges, 0), np.nextafter(edges[:-1], 1)])
    for position in range(len(confidence)):
        correct = np.arange(len(confidence)) == position
        ours = _calibration_error(reliability(torch.from_numpy(confidence), torch.from_numpy(correct)))
        assert ours == pytest.approx(calibration_error(confidence, correct), abs=1e-14)


# ------------------------------------------------------------------------------------------------------- prediction


@pytest.fixture(scope="module")
def network() -> nn.Module:
    spec = load_suite(files.suite_file("demo")).resolve("kd_32", 1)
    return build(spec.model, spec.dataset.classes, seed=1)


@pytest.mark.parametrize("count", [1, BATCH_SIZE - 1, BATCH_SIZE, BATCH_SIZE + 1, 2 * BATCH_SIZE + 3])
def test_every_image_is_predicted_once_and_in_order(count: int, network: nn.Module) -> None:
    images = torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(count))
    logits = predict(network, images, CIFAR100_NORMALISATION)
    assert logits.shape == (count, 20)
    assert logits.dtype == torch.float32
    assert not logits.requires_grad
    network.eval()
    with torch.no_grad():
        for row in {0, count // 2, count - 1}:
            expected = network(normalise(images[row : row + 1], CIFAR100_NORMALISATION))
            torch.testing.assert_close(logits[row : row + 1], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_predicting_changes_nothing(training: bool, network: nn.Module) -> None:
    network.train(training)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    predict(network, torch.randint(0, 256, (40, 3, 8, 8), dtype=torch.uint8), CIFAR100_NORMALISATION)
    assert network.training is training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


# --------------------------------------------------------------------------------------------- a record of a run


class Trained:
    """A run, trained for real."""

    def __init__(self, root: Path, run_dir: Path) -> None:
        cut = Budget(train_images=256, test_images=130, epochs=4)
        spec = load_suite(files.suite_file("demo")).resolve("teacher_32", 1, cut)
        optimisation = spec.optimisation.model_copy(update={"warmup_epochs": 0, "learning_rate": 0.01})
        model = spec.model.model_copy(update={"name": "crossres/tiny_student"})
        self.spec: Spec = spec.model_copy(update={"optimisation": optimisation, "model": model})
        self.root, self.run_dir = root, run_dir
        self.training: TrainingResult = Trainer(self.spec, root, run_dir, CPU).fit(ProgressBar("run", 4))

    def evaluate(self, **changed: Any) -> Record:
        given = {"spec": self.spec, "run_dir": self.run_dir, "training": self.training, "data_root": self.root}
        return evaluate(**{**given, **changed}, device=CPU)


@pytest.fixture(scope="module")
def trained(shapes_root: Path, tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Trained:
    return Trained(shapes_root, tmp_path_factory.mktemp("run"))


@pytest.fixture
def copied(trained: Trained, tmp_path: Path) -> Path:
    """Return a copy of the run's folder, to be damaged."""
    for path in filter(Path.is_file, trained.run_dir.iterdir()):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_the_record_says_what_the_training_saw(trained: Trained) -> None:
    record = trained.evaluate()
    best = max(record.history, key=lambda entry: entry.test_accuracy_pct)
    assert record.best.epoch == best.epoch
    assert record.last.epoch == record.history[-1].epoch == 4
    for evaluation in (record.best, record.last):
        entry = record.history[evaluation.epoch - 1]
        assert evaluation.top1_pct == entry.test_accuracy_pct
        assert evaluation.nll == pytest.approx(entry.test_loss, rel=1e-5)
    assert record.history == trained.training.history
    assert (record.cost, record.provenance) == (trained.training.cost, trained.training.provenance)
    assert record.cost.parameters == 55_624


def test_predictions_are_those_of_the_selected_weights(trained: Trained) -> None:
    from crossres.training.data import load_splits

    record = trained.evaluate()
    labels = load_splits(trained.spec.dataset, trained.spec.view, trained.root, CPU).test.labels.tolist()
    assert record.predictions is not None
    assert len(record.predictions) == len(labels) == 130
    hits = [one == other for one, other in zip(record.predictions, labels, strict=True)]
    assert 100 * sum(hits) / len(hits) == record.best.top1_pct
    assert record.correct_images() == hits
    assert record.calibrated is None, "no validation images, no temperature"


def test_a_temperature_is_fitted_on_validation_images_and_measured_on_test_images(trained: Trained) -> None:
    from crossres.training.data import load_splits

    dataset = trained.spec.dataset.model_copy(update={"validation_images": 60})
    images = load_splits(dataset, trained.spec.view, trained.root, CPU)
    network, _, _ = load_network(trained.run_dir / "weights.safetensors", CPU)
    calibrated = _calibrated(
        network, predict(network, images.test.images, CIFAR100_NORMALISATION), images, CIFAR100_NORMALISATION
    )
    logits = predict(network, images.validation.images, CIFAR100_NORMALISATION).double().numpy()
    labels = images.validation.labels.numpy()
    grid = np.exp(np.linspace(np.log(0.05), np.log(20), 4001))
    losses = [-log_softmax(logits / t)[np.arange(60), labels].mean() for t in grid]
    assert calibrated is not None
    assert calibrated.temperature == pytest.approx(grid[int(np.argmin(losses))], rel=2e-3)
    test = predict(network, images.test.images, CIFAR100_NORMALISATION).double().numpy() / calibrated.temperature
    expected = reference(test, images.test.labels.numpy())
    assert [calibrated.nll, calibrated.ece, calibrated.brier] == pytest.approx(
        [expected[name] for name in ("nll", "ece", "brier")], rel=1e-6
    )


def test_overconfidence_is_undone() -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(20_000, 10, generator=generator, dtype=torch.float64)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
    assert best_temperature(2.5 * logits, labels) == pytest.approx(2.5, rel=0.03)
    assert best_temperature(logits / 2, labels) == pytest.approx(0.5, rel=0.03)


def test_the_record_survives_being_written_and_read(trained: Trained, tmp_path: Path) -> None:
    record = trained.evaluate()
    path = tmp_path / "record.json"
    write_record(path, record)
    assert read_record(path) == record == trained.evaluate()
    assert TrainingResult.parse(TrainingResult.model_dump(trained.training, mode="json"), "again") == trained.training


def test_weights_of_another_spec_are_refused(trained: Trained) -> None:
    with pytest.raises(CrossresError, match=r"weights\.safetensors: weights of a spec other than .*spec\.json"):
        trained.evaluate(spec=trained.spec.model_copy(update={"seed": 2}))


def test_other_weights_of_the_same_spec_are_refused(trained: Trained, copied: Path) -> None:
    (copied / "weights.safetensors").write_bytes((copied / "last.safetensors").read_bytes())
    with pytest.raises(CrossresError, match=r"not the weights that .*training\.json describes"):
        trained.evaluate(run_dir=copied)


def test_damaged_weights_of_the_last_epoch_are_refused(trained: Trained, copied: Path) -> None:
    content = bytearray((copied / "last.safetensors").read_bytes())
    content[-1] ^= 1
    (copied / "last.safetensors").write_bytes(content)
    with pytest.raises(CrossresError, match=r"last\.safetensors: not the weights that .*training\.json describes"):
        trained.evaluate(run_dir=copied)


@pytest.mark.parametrize("state", ["/some/folder", "..", "", "0123456789abc"])
def test_no_folder_but_a_state_is_ever_named_as_one(trained: Trained, state: str) -> None:
    document = trained.training.model_dump(mode="json") | {"state": state}
    with pytest.raises(CrossresError, match="state"):
        TrainingResult.parse(document, "training.json")


def test_other_data_are_refused(trained: Trained) -> None:
    other = trained.training.provenance.model_copy(update={"data_sha256": "0" * 64})
    with pytest.raises(CrossresError, match="not the shapes that .* was trained on"):
        trained.evaluate(training=trained.training.model_copy(update={"provenance": other}))


@pytest.mark.parametrize("name", ["weights", "last"])
def test_a_weights_file_cut_short_or_missing_is_refused(name: str, trained: Trained, copied: Path) -> None:
    path = copied / f"{name}.safetensors"
    content = path.read_bytes()
    for kept in (0, 5, 200, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:kept])
        with pytest.raises(CrossresError, match=rf"{name}\.safetensors: not the weights that") as caught:
            trained.evaluate(run_dir=copied)
        assert "\n" not in str(caught.value)
        assert path.read_bytes() == content[:kept]
    path.unlink()
    with pytest.raises(CrossresError, match=rf"{name}\.safetensors: no such file"):
        trained.evaluate(run_dir=copied)


@pytest.mark.parametrize("described", [None, {"crossres": "{"}, {"crossres": "[]"}, {"crossres": "{}"}])
def test_weights_that_do_not_say_whose_they_are_are_refused(described: Any, trained: Trained, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(load_file(trained.run_dir / "weights.safetensors"), path, described)
    with pytest.raises(
        CrossresError, match=r"weights\.safetensors: (weights that do not name|not a whole weights file)"
    ):
        load_network(path, CPU)


def test_weights_that_cannot_be_read_are_not_called_missing_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=re.escape(str(tmp_path))):
        load_network(tmp_path, CPU)


def test_weights_of_another_shape_or_version_are_refused(trained: Trained, tmp_path: Path) -> None:
    path, weights = tmp_path / "weights.safetensors", load_file(trained.run_dir / "weights.safetensors")
    origin = {"spec": trained.spec.model_dump(mode="json"), "epoch": 1}
    save_file({**weights, "classifier.bias": torch.zeros(100)}, path, {"crossres": json.dumps(origin)})
    with pytest.raises(CrossresError, match="does not fit crossres/tiny_student: size mismatch for classifier"):
        load_network(path, CPU)
    save_file(weights, path, {"crossres": json.dumps({**origin, "spec": {"suite": "demo", "colour": "red"}})})
    with pytest.raises(CrossresError, match=r"weights\.safetensors, its spec: "):
        load_network(path, CPU)


def test_equal_weights_give_equal_files(trained: Trained) -> None:
    path = trained.run_dir / "weights.safetensors"
    network, spec, epoch = load_network(path, CPU)
    assert {pack_weights(network, spec, epoch) for _ in range(20)} == {path.read_bytes()}


def test_a_network_is_rebuilt_from_its_file_alone(trained: Trained) -> None:
    path = trained.run_dir / "weights.safetensors"
    network, spec, epoch = load_network(path, CPU)
    assert spec == trained.spec
    assert epoch == trained.evaluate().best.epoch
    saved = load_file(path)
    assert saved.keys() == network.state_dict().keys()
    assert all(torch.equal(tensor, saved[name]) for name, tensor in network.state_dict().items())


def test_logits_that_are_not_finite_leave_the_accuracies_alone() -> None:
    logits = torch.eye(4)
    logits[3] = math.inf
    figures = figures_of(logits, torch.arange(4), epoch=1)
    assert figures.top1_pct == 75
    assert (figures.nll, figures.ece, figures.brier, figures.reliability) == (None, None, None, None)
