"""Knowledge distillation of standardised logits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from crossres.base import NonNegative
from crossres.suites.methods.base import CeWeight, Law, Method, Targets, Temperature, full, unit_deviation
from crossres.suites.methods.kd import kd_divergence

if TYPE_CHECKING:
    from torch import Tensor


class StandardisedKD(Method):
    """Knowledge distillation of standardised logits, so that the student need not match the teacher's logit range.

    Source: Sun, Ren, Li, Wang and Cao, *Logit standardization in knowledge distillation* (CVPR 2024), algorithm 1.
    """

    method: Literal["kd_standardised"] = "kd_standardised"
    """Name of the method."""
    temperature: Temperature = 2.0
    """T; both logits are divided by it."""
    kd_weight: NonNegative = Field(default=9.0, title="KD weight")
    """Weight of the divergence from the teacher."""
    ce_weight: CeWeight = 0.1
    """Weight of the cross entropy with the labels."""

    title = "KD (standardised)"
    order = 3
    citation = "sun2024logit"
    paragraph = (
        "Standardised distillation [cite] ([runs]) is the same with the\n"
        "logits of each image standardised to mean zero and unit deviation first."
    )
    laws = frozenset({Law.SHIFT, Law.EQUALITY, Law.STUDENT_SCALE, Law.LABELS, Law.IMAGES})

    def terms(self, student_logits: Tensor, teacher_logits: Tensor, targets: Targets) -> dict[str, Tensor]:
        return {"kd": kd_divergence(standardise(student_logits), standardise(teacher_logits), self.temperature)}


def standardise(logits: Tensor) -> Tensor:
    """Shift and scale the logits of each image, `[N, C]`, to mean 0 and standard deviation 1 (divisor C − 1).

    Constant logits become 0 and pass no gradient.
    """
    return unit_deviation(full(logits), dim=1) * math.sqrt(logits.shape[1] - 1)
