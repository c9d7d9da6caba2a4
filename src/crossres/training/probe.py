"""The gradients of the loss terms at a student's logits and parameters: clean, under Mixup and under CutMix.

The thesis explains the failure of DKD's NCKD term by gradients that conflict on mixed images. A run with `probe_images`
measures them after every epoch, on a fixed batch and in the precision of the training. The networks are in evaluation
mode and no state is touched, so a run with a probe has the same weights as one without.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from crossres.records.record import ParameterGradients, Probed
from crossres.suites.methods.base import Targets, cross_entropy
from crossres.suites.methods.dkd import DKD, decoupled_divergences
from crossres.suites.spec import Spec
from crossres.training.augment import MixedBatch, draw_mixing, mix, normalise
from crossres.training.data import Split
from crossres.training.device import autocast
from crossres.training.models import evaluating
from crossres.training.teacher import Teacher

GROUP_IMAGES = 32
"""Images that share one lambda."""
BATCH_IMAGES = 128
"""Images of one gradient at the parameters."""
BACKWARD_NORM = 256.0
"""Norm at which a gradient at the logits enters the network; about that of training in fp16 with its loss scale."""
TEMPERATURE = 4.0
"""The temperature for methods without one."""
KINDS = {"clean": {"mix_prob": 0.0}, "mixup": {"cutmix_share": 0.0}, "cutmix": {"cutmix_share": 1.0}}


class Probe:
    """The first `probe_images` training images in three forms, and the teacher's logits for them."""

    def __init__(self, spec: Spec, train: Split, teacher: Teacher, seen: Split, precision: str) -> None:
        self.temperature = float(getattr(spec.objective, "temperature", TEMPERATURE))
        smoothed = {"temperature": self.temperature, "label_smoothing": spec.objective.label_smoothing}
        self._terms = spec.objective if isinstance(spec.objective, DKD) else DKD(**smoothed)
        self._precision = precision
        mixed = {kind: _mixed(spec, train, changes) for kind, changes in KINDS.items()}
        self._batches = {kind: batch for kind, (batch, _) in mixed.items()}
        self._partners = {kind: partner for kind, (_, partner) in mixed.items()}
        taught = {kind: _mixed(spec, seen, changes)[0].images for kind, changes in KINDS.items()}
        with autocast(train.labels.device, precision):
            self._teacher_logits = {kind: teacher(images).float() for kind, images in taught.items()}

    def measure(self, network: nn.Module, epoch: int) -> dict[str, Probed]:
        """Return the measurements after an epoch, by kind of image."""
        with evaluating(network):
            return {kind: self._measured(network, kind, epoch) for kind in self._batches}

    def _measured(self, network: nn.Module, kind: str, epoch: int) -> Probed:
        batch, taught = self._batches[kind], self._teacher_logits[kind]
        logits, gradients = [], []
        for start in range(0, len(taught), BATCH_IMAGES):
            part = slice(start, start + BATCH_IMAGES)
            with autocast(taught.device, self._precision):
                output = network(batch.images[part].contiguous(memory_format=torch.channels_last))
            targets = Targets(*(values[part] for values in batch.targets))
            at_logits = output.detach().requires_grad_()
            terms = self._terms.losses(at_logits, taught[part], targets, epoch)
            gradients.append(parameter_gradients(output, at_logits, terms, list(network.parameters())))
            logits.append(at_logits.detach().float())
        found = probed(torch.cat(logits), taught, self._superposed(kind), batch.targets, self.temperature)
        means = {name: sum(each[name] for each in gradients) / len(gradients) for name in gradients[0]}
        return found.model_copy(update={"parameter_gradients": ParameterGradients(**means)})

    def _superposed(self, kind: str) -> Tensor:
        """Return the teacher's logits of the two unmixed images, mixed by lambda."""
        clean, lam = self._teacher_logits["clean"], self._batches[kind].lam[:, None]
        return lam * clean + (1 - lam) * clean[self._partners[kind]]


def _mixed(spec: Spec, train: Split, changes: dict[str, float]) -> tuple[MixedBatch, Tensor]:
    """Return the probe's images in one form, and which image is mixed into each."""
    augmentation = spec.augmentation.model_copy(update={"mix_prob": 1.0, **changes})
    count = min(spec.probe_images, len(train.labels))
    images = normalise(train.images[:count], spec.dataset.info.normalisation)
    labels, drawn_px = train.labels[:count], spec.view.resolution_px
    groups, partners = [], []
    for number, start in enumerate(range(0, count, GROUP_IMAGES)):
        part = slice(start, min(start + GROUP_IMAGES, count))
        size = part.stop - part.start
        mixing = draw_mixing(augmentation, size, drawn_px, spec.seed_of_batches, epoch=0, step=number)
        batch = mix(images[part], labels[part], mixing.scaled(images.shape[-1] // drawn_px))
        groups.append(batch._replace(lam=batch.lam.expand(size)))
        partners.append(torch.from_numpy(start + mixing.partner).to(images.device))
    return MixedBatch(*(torch.cat(parts) for parts in zip(*groups, strict=True))), torch.cat(partners)


def parameter_gradients(
    output: Tensor, logits: Tensor, terms: dict[str, Tensor], parameters: list[nn.Parameter]
) -> dict[str, float]:
    """Return norms and cosines of the gradients of CE, TCKD and NCKD at the parameters.

    Args:
        output: The network's logits `[N, C]`, with their graph.
        logits: The same, from which the terms were computed.
        terms: The terms of a loss, scalars.
        parameters: Of the network.
    """
    found, norms = {}, {}
    for name in ("ce", "tckd", "nckd"):
        (at_logits,) = torch.autograd.grad(terms[name], logits, retain_graph=True)
        size = at_logits.double().norm().clamp_min(1e-30)
        # Of a fixed size on its way through the network, so that nothing underflows in half precision.
        scaled = (at_logits * (BACKWARD_NORM / size)).to(output.dtype)
        parts = torch.autograd.grad(output, parameters, scaled, retain_graph=True, materialize_grads=True)
        found[name] = torch.cat([part.flatten().float() for part in parts])
        norms[name] = found[name].norm().double()
        found[name] /= norms[name].clamp_min(1e-30)
        norms[name] *= size / BACKWARD_NORM

    pairs = (("ce", "tckd"), ("ce", "nckd"), ("tckd", "nckd"))
    return {
        **{f"{name}_norm": norm.item() for name, norm in norms.items()},
        **{f"cos_{one}_{other}": torch.dot(found[one], found[other]).item() for one, other in pairs},
    }


def probed(
    student_logits: Tensor, teacher_logits: Tensor, superposed: Tensor, targets: Targets, temperature: float
) -> Probed:
    """Measure the gradients of CE, TCKD and NCKD at the student's logits, and the teacher's prediction.

    All logits are `[N, C]`; `superposed` is what the teacher's would be if they were linear in the image. With two
    labels, TCKD and NCKD are taken once with each and mixed by lambda `[N]`, as in the thesis. Returns means over the
    images.
    """
    gradients = {
        name: _gradient(name, student_logits, teacher_logits, targets, temperature) for name in ("ce", "tckd", "nckd")
    }

    def cosine(one: str, other: str) -> Tensor:
        return functional.cosine_similarity(gradients[one], gradients[other], dim=1, eps=1e-20)

    probabilities = teacher_logits.softmax(1)
    mass_a, mass_b = (probabilities.gather(1, label[:, None])[:, 0] for label in (targets.a, targets.b))
    largest, same = probabilities.argmax(1), targets.a == targets.b
    first_label, second_label = mass_a.where(targets.lam >= 0.5, mass_b), mass_b.where(targets.lam >= 0.5, mass_a)
    measured = {
        **{f"{name}_norm": gradient.norm(dim=1) for name, gradient in gradients.items()},
        "cos_ce_tckd": cosine("ce", "tckd"),
        "cos_ce_nckd": cosine("ce", "nckd"),
        "cos_tckd_nckd": cosine("tckd", "nckd"),
        "conflict_share": (cosine("ce", "nckd") < 0).float(),
        "teacher_entropy": -(probabilities * probabilities.clamp_min(1e-30).log()).sum(1),
        "teacher_mass_a": mass_a,
        "teacher_mass_b": mass_b,
        "order_violation_share": ((first_label < second_label) & ~same).float(),
        "superposition_error": _relative_distance(teacher_logits, superposed),
        "off_label_share": ((largest != targets.a) & (largest != targets.b)).float(),
    }
    return Probed(**{name: values.double().mean().item() for name, values in measured.items()})


def _relative_distance(logits: Tensor, other: Tensor) -> Tensor:
    """Return `‖x − y‖ / ‖x‖`, `[N]`, of logits `[N, C]` minus their mean, which does not affect a prediction."""
    x, y = (values - values.mean(1, keepdim=True) for values in (logits, other))
    return (x - y).norm(dim=1) / x.norm(dim=1).clamp_min(1e-12)


def _gradient(
    name: str, student_logits: Tensor, teacher_logits: Tensor, targets: Targets, temperature: float
) -> Tensor:
    """Return the gradient of one term of each image at its own logits, `[N, C]`."""
    logits = student_logits.detach().requires_grad_()
    if name == "ce":
        loss = cross_entropy(logits, targets) * len(logits)
    else:
        index = ("tckd", "nckd").index(name)
        of_a, of_b = (
            decoupled_divergences(logits, teacher_logits, (label,), temperature)[index] for label in targets[:2]
        )
        loss = of_b.lerp(of_a, targets.lam.to(of_a.dtype)).sum()
    return torch.autograd.grad(loss, logits)[0]
