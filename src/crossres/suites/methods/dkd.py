"""Decoupled knowledge distillation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from crossres.base import NonNegative
from crossres.suites.methods.base import CeWeight, Law, Method, Targets, Temperature, full

if TYPE_CHECKING:
    from torch import Tensor


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

    title = "DKD"
    order = 4
    formula = (
        r"L_{\mathrm{DKD}} = w_{\mathrm{CE}}\,\CE + T^2 \bigl(\alpha \KL(b^t_T \,\|\, b^s_T)"
        r" + \beta \KL(\hat p^t_T \,\|\, \hat p^s_T)\bigr);"
    )
    citation = "zhao2022decoupled"
    paragraph = (
        "DKD [cite] ([runs]) splits the divergence in two. With $b$ the pair of\n"
        r"the labelled class's probability and the rest, and $\hat p$ the distribution over the other classes alone,"
        "\n[equation]\nthe two divergences are called TCKD and NCKD."
    )
    laws = frozenset({Law.SHIFT, Law.EQUALITY, Law.TEMPERATURE, Law.IMAGES})

    @property
    def variant(self) -> str:
        return f"β = {self.nckd_weight:g}"

    def terms(self, student_logits: Tensor, teacher_logits: Tensor, targets: Targets) -> dict[str, Tensor]:
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
        return {"tckd": tckd.mean(), "nckd": nckd.mean()}

    def total(self, terms: dict[str, Tensor], epoch: int) -> Tensor:
        ramp = min(epoch / self.warmup_epochs, 1.0) if self.warmup_epochs else 1.0
        distilled = self.tckd_weight * terms["tckd"] + self.nckd_weight * terms["nckd"]
        return self.ce_weight * terms["ce"] + ramp * distilled


def decoupled_divergences(
    student_logits: Tensor, teacher_logits: Tensor, classes: tuple[Tensor, ...], temperature: float
) -> tuple[Tensor, Tensor]:
    """Return the target-class and non-target-class divergences, `T² · TCKD` and `T² · NCKD`, of each image, `[N]`.

    With the target classes S and everything else as one class "rest", TCKD is the KL divergence over S ∪ {rest}; NCKD
    is the one over the other classes, renormalised. Then `KL = TCKD + p_rest · NCKD`, with the teacher's `p_rest`.
    Where S is every class, NCKD is 0. Source: Zhao et al. (2022), equations 1 to 6, for one target class.

    Args:
        student_logits: `[N, C]`.
        teacher_logits: `[N, C]`.
        classes: The target classes, each int64 `[N]`; a class that is given twice counts once.
        temperature: T.
    """
    student = (full(student_logits) / temperature).log_softmax(1)
    teacher = (full(teacher_logits) / temperature).log_softmax(1)
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
