"""Training objectives: one class a method, its hyperparameters and its loss together.

To add a method, write one subclass of `Method` and name it in `METHODS`; suites can use it at once. Everything is
written in methods of the tensors handed in, so that a spec can be checked where torch is not installed.

Every loss is computed in float32 and in log space, whatever precision the networks ran in; float64 logits stay so.
Shapes: `N` images, `C` classes.
"""

from __future__ import annotations

import functools
import math
import operator
from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple

from pydantic import Field

from crossres.base import NonNegative, Positive, Probability, Strict

if TYPE_CHECKING:
    from torch import Tensor

# Hyperparameters of several methods; the title names one in the report's tables.
Temperature = Annotated[Positive, Field(title="Temperature T")]
CeWeight = Annotated[NonNegative, Field(title="CE weight")]


class Targets(NamedTuple):
    """The two labels of a mixed batch; an unmixed one has `lam` 1."""

    a: Tensor
    """Class of each image, int64 `[N]`."""
    b: Tensor
    """Class of the image mixed into it, int64 `[N]`."""
    lam: Tensor
    """Share of `a`, float32, scalar or `[N]`, in [0, 1]."""


class Method(Strict):
    """Base of the training objectives."""

    method: str
    label_smoothing: Probability = Field(default=0.0, title="Label smoothing")
    """Label smoothing of the cross entropy, and of nothing else."""

    title: ClassVar[str]
    """Name of the method in tables, legends and prose."""
    needs_teacher: ClassVar[bool] = True

    @property
    def variant(self) -> str:
        """What names beside the title to tell runs of this method apart: `β = 8`; empty where nothing need be said."""
        return ""

    @abstractmethod
    def losses(
        self, student_logits: Tensor, teacher_logits: Tensor | None, targets: Targets, epoch: int
    ) -> dict[str, Tensor]:
        """Return the named terms of the loss.

        Args:
            student_logits: Logits of the network in training, `[N, C]`.
            teacher_logits: Logits of the teacher for the same images, `[N, C]`; None where `needs_teacher` is False.
            targets: The two labels of each image and their shares.
            epoch: The current epoch, from 1.

        Returns:
            Scalar float32 terms, each a mean over the batch; `ce` and `total`, which is minimised, are always there.
        """


class CrossEntropy(Method):
    """Cross entropy with the labels alone, for teachers and for students without one."""

    method: Literal["ce"] = "ce"
    """Name of the method."""

    title: ClassVar[str] = "CE"
    needs_teacher: ClassVar[bool] = False

    def losses(
        self, student_logits: Tensor, teacher_logits: Tensor | None, targets: Targets, epoch: int
    ) -> dict[str, Tensor]:
        ce = cross_entropy(student_logits, targets, self.label_smoothing)
        return {"ce": ce, "total": ce}


class KD(Method):
    """Knowledge distillation: `ce_weight · CE + kd_weight · T² · KL(teacher ‖ student)`.

    Source: Hinton, Vinyals and Dean, *Distilling the knowledge in a neural network* (2015), section 2.
    """

    method: Literal["kd"] = "kd"
    """Name of the method."""
    temperature: Temperature = 4.0
    """T; both distributions are softened by it, and the divergence is scaled by its square."""
    kd_weight: NonNegative = Field(default=0.7, title="KD weight")
    """Weight of the divergence from the teacher."""
    ce_weight: CeWeight = 0.3
    """Weight of the cross entropy with the labels."""

    title: ClassVar[str] = "KD"

    def losses(
        self, student_logits: Tensor, teacher_logits: Tensor | None, targets: Targets, epoch: int
    ) -> dict[str, Tensor]:
        ce = cross_entropy(student_logits, targets, self.label_smoothing)
        kd = kd_divergence(student_logits, _given(teacher_logits), self.temperature)
        return {"ce": ce, "kd": kd, "total": self.ce_weight * ce + self.kd_weight * kd}


class StandardisedKD(KD):
    """Knowledge distillation of standardised logits, so that the student need not match the teacher's logit range.

    Source: Sun, Ren, Li, Wang and Cao, *Logit standardization in knowledge distillation* (CVPR 2024), algorithm 1.
    """

    method: Literal["kd_standardised"] = "kd_standardised"  # type: ignore[assignment]
    """Name of the method."""
    temperature: Temperature = 2.0
    """T; both logits are divided by it."""
    kd_weight: NonNegative = Field(default=9.0, title="KD weight")
    """Weight of the divergence from the teacher."""
    ce_weight: CeWeight = 0.1
    """Weight of the cross entropy with the labels."""

    title: ClassVar[str] = "KD (standardised)"

    def losses(
        self, student_logits: Tensor, teacher_logits: Tensor | None, targets: Targets, epoch: int
    ) -> dict[str, Tensor]:
        ce = cross_entropy(student_logits, targets, self.label_smoothing)
        kd = kd_divergence(standardise(student_logits), standardise(_given(teacher_logits)), self.temperature)
        return {"ce": ce, "kd": kd, "total": self.ce_weight * ce + self.kd_weight * kd}


class DKD(Method):
    """Decoupled knowledge distillation: `ce_weight · CE + ramp · T² · (tckd_weight · TCKD + nckd_weight · NCKD)`.

    Source: Zhao, Cui, Song, Qiu and Liang, *Decoupled knowledge distillation* (CVPR 2022), equations 6 and 7; the
    paper's alpha and beta are `tckd_weight` and `nckd_weight`. `ramp` is `min(epoch / warmup_epochs, 1)`, as in its
    code.
    """

    method: Literal["dkd"] = "dkd"
    """Name of the method."""
    temperature: Temperature = 4.0
    """T; both distributions are softened by it, and both terms are scaled by its square."""
    tckd_weight: NonNegative = Field(default=1.0, title="TCKD weight α")
    """Weight of the target-class term (the paper's alpha)."""
    nckd_weight: NonNegative = Field(default=8.0, title="NCKD weight β")
    """Weight of the non-target-class term (the paper's beta)."""
    ce_weight: CeWeight = 1.0
    """Weight of the cross entropy with the labels."""
    warmup_epochs: int = Field(default=0, ge=0, title="DKD warm-up (epochs)")
    """Epochs over which both distillation terms are ramped up; 0 for none."""
    mixed_target: Literal["interpolate", "joint", "dominant"] = Field("interpolate", title="Target of mixed images")
    """What the target class of an image with two labels is. `interpolate`: each in turn, the losses mixed by lambda.
    `joint`: both, so that TCKD is over {a, b, rest} and NCKD over the others. `dominant`: that of the larger share."""

    title: ClassVar[str] = "DKD"

    @property
    def variant(self) -> str:
        return f"β = {self.nckd_weight:g}"

    def losses(
        self, student_logits: Tensor, teacher_logits: Tensor | None, targets: Targets, epoch: int
    ) -> dict[str, Tensor]:
        ce = cross_entropy(student_logits, targets, self.label_smoothing)
        tckd, nckd = self._decoupled(student_logits, _given(teacher_logits), targets)
        ramp = min(epoch / self.warmup_epochs, 1.0) if self.warmup_epochs else 1.0
        total = self.ce_weight * ce + ramp * (self.tckd_weight * tckd + self.nckd_weight * nckd)
        return {"ce": ce, "tckd": tckd, "nckd": nckd, "total": total}

    def _decoupled(self, student_logits: Tensor, teacher_logits: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        a, b, lam = targets

        def divergences(*classes: Tensor) -> tuple[Tensor, Tensor]:
            return decoupled_divergences(student_logits, teacher_logits, classes, self.temperature)

        if self.mixed_target == "joint":
            tckd, nckd = divergences(a.where(lam > 0, b), b.where(lam < 1, a))
        elif self.mixed_target == "dominant":
            tckd, nckd = divergences(a.where(lam > 0.5, b.where(lam < 0.5, a.minimum(b))))
        else:
            (tckd_a, nckd_a), (tckd_b, nckd_b) = divergences(a), divergences(b)
            share = lam.to(tckd_a.dtype)
            tckd, nckd = tckd_b.lerp(tckd_a, share), nckd_b.lerp(nckd_a, share)
        return tckd.mean(), nckd.mean()


class DIST(Method):
    """Distillation of relations: `ce_weight · CE + T² · (inter_weight · inter + intra_weight · intra)`.

    `inter` is one minus Pearson's correlation of the two class distributions, averaged over images; `intra` is the same
    over the images of the batch, averaged over classes.

    Source: Huang, You, Wang, Qian and Xu, *Knowledge distillation from a stronger teacher* (NeurIPS 2022),
    equations 8 to 10.
    """

    method: Literal["dist"] = "dist"
    """Name of the method."""
    temperature: Temperature = 4.0
    """T; both logits are divided by it."""
    inter_weight: NonNegative = Field(default=2.0, title="Inter-class weight")
    """Weight of the relations between the classes of an image."""
    intra_weight: NonNegative = Field(default=2.0, title="Intra-class weight")
    """Weight of the relations between the images of a class."""
    ce_weight: CeWeight = 1.0
    """Weight of the cross entropy with the labels."""

    title: ClassVar[str] = "DIST"

    def losses(
        self, student_logits: Tensor, teacher_logits: Tensor | None, targets: Targets, epoch: int
    ) -> dict[str, Tensor]:
        ce = cross_entropy(student_logits, targets, self.label_smoothing)
        student = (_full(student_logits) / self.temperature).softmax(1)
        teacher = (_full(_given(teacher_logits)) / self.temperature).softmax(1)
        scale = self.temperature**2
        inter = scale * (1 - pearson(student, teacher, dim=1)).mean()
        intra = scale * (1 - pearson(student, teacher, dim=0)).mean()
        total = self.ce_weight * ce + self.inter_weight * inter + self.intra_weight * intra
        return {"ce": ce, "inter": inter, "intra": intra, "total": total}


METHODS: tuple[type[Method], ...] = (CrossEntropy, KD, StandardisedKD, DKD, DIST)
if TYPE_CHECKING:
    Objective = Method
else:
    Objective = Annotated[functools.reduce(operator.or_, METHODS), Field(discriminator="method")]


def cross_entropy(logits: Tensor, targets: Targets, label_smoothing: float = 0.0) -> Tensor:
    """Cross entropy with two labels: `−Σ_k q_k log p_k`, `q = (1 − ε)(lam · a + (1 − lam) · b) + ε / C`.

    Args:
        logits: `[N, C]`.
        targets: The two labels of each image and their shares.
        label_smoothing: ε.

    Returns:
        Mean over the batch, a float32 scalar.
    """
    log_probs = _full(logits).log_softmax(1)
    nll_a = -log_probs.gather(1, targets.a[:, None]).squeeze(1)
    nll_b = -log_probs.gather(1, targets.b[:, None]).squeeze(1)
    labelled = nll_b.lerp(nll_a, targets.lam.to(nll_a.dtype))
    return ((1 - label_smoothing) * labelled - label_smoothing * log_probs.mean(1)).mean()


def kd_divergence(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Softened divergence `T² · KL(softmax(teacher / T) ‖ softmax(student / T))`.

    Args:
        student_logits: `[N, C]`.
        teacher_logits: `[N, C]`.
        temperature: T.

    Returns:
        Sum over classes, mean over the batch, a float32 scalar.
    """
    student = (_full(student_logits) / temperature).log_softmax(1)
    teacher = (_full(teacher_logits) / temperature).log_softmax(1)
    return temperature**2 * (teacher.exp() * (teacher - student)).sum(1).mean()


def decoupled_divergences(
    student_logits: Tensor, teacher_logits: Tensor, classes: tuple[Tensor, ...], temperature: float
) -> tuple[Tensor, Tensor]:
    """Target-class and non-target-class divergences of each image, `T² · TCKD` and `T² · NCKD`.

    With the target classes S and everything else as one class "rest", TCKD is the KL divergence over S ∪ {rest}; NCKD
    is the one over the other classes, renormalised. Then `KL = TCKD + p_rest · NCKD`, with the teacher's `p_rest`.
    Where S is every class, NCKD is 0.

    Args:
        student_logits: `[N, C]`.
        teacher_logits: `[N, C]`.
        classes: The target classes, each int64 `[N]`; one given twice counts once.
        temperature: T.

    Returns:
        `(tckd, nckd)`, float32 `[N]` each.

    Source: Zhao et al., *Decoupled knowledge distillation* (CVPR 2022), equations 1 to 6, for one target class.
    """
    student = (_full(student_logits) / temperature).log_softmax(1)
    teacher = (_full(teacher_logits) / temperature).log_softmax(1)
    target = teacher.new_zeros(teacher.shape).bool()
    for chosen in classes:
        target = target.scatter(1, chosen[:, None], True)
    nothing = -1e30  # a log probability that stays finite, since "rest" may be empty
    student_rest = student.masked_fill(target, nothing).logsumexp(1, keepdim=True)
    teacher_rest = teacher.masked_fill(target, nothing).logsumexp(1, keepdim=True)
    rest = (teacher_rest.exp() * (teacher_rest - student_rest)).squeeze(1)
    tckd = rest + (teacher.exp() * (teacher - student)).masked_fill(~target, 0.0).sum(1)
    others = (teacher - teacher_rest).masked_fill(target, -float("inf")).exp()
    nckd = (others * ((teacher - teacher_rest) - (student - student_rest))).sum(1)
    return temperature**2 * tckd, temperature**2 * nckd


def standardise(logits: Tensor) -> Tensor:
    """Shift and scale the logits of each image, `[N, C]`, to mean 0 and standard deviation 1 (divisor C − 1).

    Constant logits become 0 and pass no gradient.
    """
    return _unit_deviation(_full(logits), dim=1) * math.sqrt(logits.shape[1] - 1)


def pearson(x: Tensor, y: Tensor, dim: int) -> Tensor:
    """Return Pearson's correlation of two float matrices along a dimension; 0, with no gradient, if one is constant."""
    return (_unit_deviation(x, dim) * _unit_deviation(y, dim)).sum(dim)


def _unit_deviation(x: Tensor, dim: int) -> Tensor:
    """Divide the deviation from the mean along a dimension by its norm; 0 where it is no more than rounding error.

    Flooring the norm instead would blow up the gradient of constant input, past the range of float16.
    """
    deviation = x - x.mean(dim, keepdim=True)
    square = deviation.square().sum(dim, keepdim=True)
    rounding = (1e-12 * x.square().sum(dim, keepdim=True)).clamp_min(1e-24)
    return deviation / square.where(square > rounding, float("inf")).sqrt()


def _full(logits: Tensor) -> Tensor:
    """Return the logits in float32, or in float64 if that is what they are."""
    return logits if logits.dtype.itemsize > 4 else logits.float()


def _given(teacher_logits: Tensor | None) -> Tensor:
    if teacher_logits is None:
        raise ValueError("this method needs teacher_logits")
    return teacher_logits
