"""Knowledge distillation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from crossres.base import NonNegative
from crossres.suites.methods.base import CeWeight, Law, Method, Targets, Temperature, full

if TYPE_CHECKING:
    from torch import Tensor


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

    title = "KD"
    order = 2
    formula = r"L_{\mathrm{KD}} = w_{\mathrm{CE}}\,\CE + w_{\mathrm{KD}}\,T^2\,\KL\bigl(p^t_T \,\|\, p^s_T\bigr)."
    citation = "hinton2015distilling"
    paragraph = "Knowledge distillation [cite] ([runs]) minimises\n[equation]"
    laws = frozenset({Law.SHIFT, Law.EQUALITY, Law.TEMPERATURE, Law.LABELS, Law.IMAGES})

    def terms(self, student_logits: Tensor, teacher_logits: Tensor, targets: Targets) -> dict[str, Tensor]:
        return {"kd": kd_divergence(student_logits, teacher_logits, self.temperature)}


def kd_divergence(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Return `T² · KL(softmax(teacher / T) ‖ softmax(student / T))` of logits `[N, C]`, the mean over the batch."""
    student = (full(student_logits) / temperature).log_softmax(1)
    teacher = (full(teacher_logits) / temperature).log_softmax(1)
    return temperature**2 * (teacher.exp() * (teacher - student)).sum(1).mean()
