"""From weights to test figures and the record of a run."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from crossres.base import CrossresError, canonical_json
from crossres.files import sha256
from crossres.records.record import (
    Calibrated,
    Evaluation,
    Record,
    Reliability,
    Teaching,
    TrainingResult,
    pack_bits,
)
from crossres.suites.datasets import Normalisation
from crossres.suites.methods.kd import kd_divergence
from crossres.suites.spec import Spec
from crossres.training.augment import normalise, upsample
from crossres.training.data import Split, Splits, load_splits
from crossres.training.fast_conv import accelerate
from crossres.training.imagenet import load_state
from crossres.training.models import build, evaluating

if TYPE_CHECKING:
    from crossres.training.teacher import Teacher

BATCH_SIZE = 500
CALIBRATION_BINS = 15


@torch.no_grad()
def predict(network: nn.Module, images: Tensor, normalisation: Normalisation, seen_px: int | None = None) -> Tensor:
    """Return the logits `[M, C]` of uint8 images `[M, 3, S, S]`, in float32 and in evaluation mode.

    With `seen_px`, the network sees them upsampled to that side, as a teacher does.
    """
    batches = (
        upsample(normalise(part, normalisation), seen_px or images.shape[-1]) for part in images.split(BATCH_SIZE)
    )
    with evaluating(network):
        return torch.cat([network(batch.contiguous(memory_format=torch.channels_last)).float() for batch in batches])


class Score(NamedTuple):
    """How well a network does on a split."""

    accuracy_pct: float
    loss: float | None
    """Mean cross entropy over the images; None where it is not finite."""
    loss_of_batches: float | None
    """Mean of the batches' mean cross entropy where the spec evaluates as the thesis did and it is finite."""


def score(network: nn.Module, split: Split, spec: Spec) -> Score:
    """Return the figures of a network over every image of a split."""
    logits = predict(network, split.images, spec.dataset.info.normalisation)
    losses = nn.functional.cross_entropy(logits, split.labels, reduction="none")
    batches = losses.split(spec.optimisation.batch_size) if spec.evaluation == "thesis" else ()
    of_batches = _finite(torch.stack([batch.mean() for batch in batches]).mean()) if batches else None
    loss = _finite(nn.functional.cross_entropy(logits, split.labels))
    return Score(_percent(logits.argmax(1) == split.labels), loss, of_batches)


def _finite(value: Tensor) -> float | None:
    return value.item() if value.isfinite() else None


def figures_of(logits: Tensor, labels: Tensor, epoch: int) -> Evaluation:
    """Return the test figures of one set of weights from logits `[M, C]` and labels `[M]`, over all M images.

    Top-1 and top-5 accuracy; `nll = −mean log p_label`; `brier = mean Σ_k (p_k − 1[k = label])²`; and the expected
    calibration error `Σ_b n_b / M · |accuracy_b − confidence_b|` over 15 equal bins of confidence.

    A logit that is not finite leaves the accuracies alone.

    Source of the calibration error: Guo et al., *On calibration of modern neural networks* (ICML 2017), equation 3.
    """
    logits, labels = logits.double().cpu(), labels.cpu()
    classes = logits.shape[1]
    probabilities = logits.softmax(1)
    confidence, predicted = probabilities.max(1)
    correct = predicted == labels
    bins = reliability(confidence, correct) if logits.isfinite().all() else None
    top5 = (logits.topk(min(5, classes), 1).indices == labels[:, None]).any(1)
    one_hot = nn.functional.one_hot(labels, classes)
    per_class = torch.bincount(labels[correct], minlength=classes) / torch.bincount(labels, minlength=classes)
    return Evaluation(
        epoch=epoch,
        top1_pct=_percent(correct),
        top5_pct=_percent(top5),
        nll=_finite(nn.functional.cross_entropy(logits, labels)),
        ece=_calibration_error(bins) if bins else None,
        brier=_finite((probabilities - one_hot).square().sum(1).mean()),
        per_class_pct=[round(100 * share, 4) for share in per_class.nan_to_num().tolist()],
        reliability=bins,
    )


def _percent(hits: Tensor) -> float:
    return 100 * int(hits.sum()) / len(hits)


def reliability(confidence: Tensor, correct: Tensor) -> Reliability:
    """Return the mean confidence and the accuracy of each bin; `((b − 1) / 15, b / 15]` is the b-th."""
    bins = (confidence * CALIBRATION_BINS).ceil().long().clamp(1, CALIBRATION_BINS) - 1
    images = torch.bincount(bins, minlength=CALIBRATION_BINS)

    def means(values: Tensor) -> list[float | None]:
        sums = torch.zeros(CALIBRATION_BINS, dtype=torch.float64).index_add_(0, bins, values.double())
        return [
            min(total / count, 1.0) if count else None
            for total, count in zip(sums.tolist(), images.tolist(), strict=True)
        ]

    return Reliability(images=images.tolist(), confidence=means(confidence), accuracy=means(correct))


def _calibration_error(bins: Reliability) -> float:
    rows = zip(bins.images, bins.confidence, bins.accuracy, strict=True)
    return sum(n * abs(a - c) for n, c, a in rows if c is not None and a is not None) / sum(bins.images)


def teaching(spec: Spec, weights: Path, teacher: Teacher, own: Split, seen: Split) -> Teaching:
    """Measure a run's teacher on the test images, and how far the student with these weights follows it.

    Args:
        own: The test images as the student sees them.
        seen: The same as the teacher sees them, before it upsamples any.
    """
    network, _, _ = load_network(weights, own.labels.device)
    accelerate(network, own.labels.device)
    normalisation = spec.dataset.info.normalisation
    student = predict(network, own.images, normalisation).double()
    logits = predict(teacher.network, seen.images, normalisation, teacher.view.resolution_px).double()
    return Teaching(
        top1_pct=_percent(logits.argmax(1) == seen.labels),
        nll=_finite(nn.functional.cross_entropy(logits, seen.labels)),
        agreement_pct=_percent(logits.argmax(1) == student.argmax(1)),
        kl=_finite(kd_divergence(student, logits, 1.0)),
    )


def superclass_confusion(predicted: Tensor, labels: Tensor, superclasses: Sequence[int]) -> list[list[int]]:
    """Count images by superclass (row) and predicted superclass (column), `[superclasses, superclasses]`."""
    of, count = torch.tensor(superclasses), max(superclasses) + 1
    pairs = of[labels.cpu()] * count + of[predicted.cpu()]
    return torch.bincount(pairs, minlength=count**2).view(count, count).tolist()


def pack_weights(network: nn.Module, spec: Spec, epoch: int) -> bytes:
    """Return the content of a weights file, which names its run and epoch; equal weights give equal bytes."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    origin = {"spec": spec.model_dump(mode="json"), "epoch": epoch}
    # Under one key: safetensors writes several in an order that changes from file to file.
    return save(tensors, {"crossres": canonical_json(origin)})


def read_weights(path: Path) -> tuple[Mapping[str, Tensor], dict[str, Any]]:
    """Read a weights file and its own description, `spec` and `epoch`.

    Raises:
        CrossresError: When it is missing, cut short, or was not written by `train`.
    """
    if not path.exists():
        raise CrossresError(f"{path}: no such file; its rule `train` has to run first")
    path.open("rb").close()  # safetensors says of a file that may not be read that there is none
    try:
        with safe_open(path, framework="pt") as file:
            described = (file.metadata() or {}).get("crossres")
        weights, origin = load_file(path), json.loads(described or "null")
    except Exception as error:  # safetensors raises its own class, which is not public
        raise CrossresError(f"{path}: not a whole weights file ({error}); delete it and run its rule again") from None
    if not isinstance(origin, dict) or not origin.keys() >= {"spec", "epoch"}:
        raise CrossresError(f"{path}: weights that do not name their run; train the run again")
    return weights, origin


def load_network(path: Path, device: torch.device) -> tuple[nn.Module, Spec, int]:
    """Rebuild a trained network from a weights file alone, and return it with its spec and epoch.

    Raises:
        CrossresError: When the file is damaged, or does not fit the architecture that it names.
    """
    weights, origin = read_weights(path)
    spec = Spec.parse(origin["spec"], f"{path}, its spec")
    network = build(spec.model.model_copy(update={"pretrained": False}), spec.dataset.classes, spec.seed)
    load_state(network, weights, f"{path}: does not fit {spec.model.name}")
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    return network, spec, origin["epoch"]


def evaluate(spec: Spec, run_dir: Path, training: TrainingResult, data_root: Path, device: torch.device) -> Record:
    """Evaluate the selected and the last weights of a run on every test image, and return its record.

    Raises:
        CrossresError: When a weights file or the data are not those of the training.
    """
    images = load_splits(spec.dataset, spec.view, data_root, device)
    if images.digest != training.provenance.data_sha256:
        raise CrossresError(
            f"{data_root}: not the {spec.dataset.name} that {run_dir} was trained on; train the run again"
        )
    best_path, last_path = run_dir / "weights.safetensors", run_dir / "last.safetensors"
    for path, digest in ((best_path, training.provenance.weights_sha256), (last_path, training.last_sha256)):
        if path.is_file() and sha256(path) != digest:
            raise CrossresError(f"{path}: not the weights that {run_dir}/training.json describes; train the run again")
    network, logits, best = _evaluate_file(best_path, spec, images.test, device)
    _, _, last = _evaluate_file(last_path, spec, images.test, device)
    predictions, superclasses = logits.argmax(1), spec.dataset.info.superclasses
    return Record(
        spec=spec,
        history=training.history,
        stopped_early=training.stopped_early,
        best=best,
        last=last,
        teaching=training.teaching,
        superclass_confusion=superclass_confusion(predictions, images.test.labels, superclasses)
        if superclasses
        else None,
        predictions=predictions.tolist(),
        correct=pack_bits((predictions == images.test.labels).tolist()),
        calibrated=_calibrated(network, logits, images, spec.dataset.info.normalisation),
        cost=training.cost,
        provenance=training.provenance,
    )


def best_temperature(logits: Tensor, labels: Tensor) -> float:
    """Return the temperature T between 0.05 and 20 that minimises the cross entropy of `logits / T`, `[M, C]`.

    Source: Guo et al., *On calibration of modern neural networks* (ICML 2017), section 4.2.
    """
    from scipy.optimize import minimize_scalar  # takes half a second, and few runs need it

    logits, labels = logits.double().cpu(), labels.cpu()

    def loss(log_temperature: float) -> float:
        return nn.functional.cross_entropy(logits / math.exp(log_temperature), labels).item()

    bounds = (math.log(0.05), math.log(20.0))
    return math.exp(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6}).x)


def _calibrated(network: nn.Module, logits: Tensor, images: Splits, normalisation: Normalisation) -> Calibrated | None:
    """Return the figures at the temperature that fits the validation images best; None where there are none."""
    if not len(images.validation.labels):
        return None
    temperature = best_temperature(predict(network, images.validation.images, normalisation), images.validation.labels)
    scaled = figures_of(logits.double() / temperature, images.test.labels, epoch=1).model_dump()
    return Calibrated(temperature=temperature, **{name: scaled[name] for name in ("nll", "ece", "brier")})


def _evaluate_file(path: Path, spec: Spec, test: Split, device: torch.device) -> tuple[nn.Module, Tensor, Evaluation]:
    """Return the network of a weights file, its test logits and its test figures."""
    network, own_spec, epoch = load_network(path, device)
    if own_spec.differing_in_training(spec):
        raise CrossresError(f"{path}: weights of a spec other than {path.parent}/spec.json; train the run again")
    accelerate(network, device)
    logits = predict(network, test.images, spec.dataset.info.normalisation)
    return network, logits, figures_of(logits, test.labels, epoch)
