"""Distillation of relations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from crossres.base import NonNegative
from crossres.suites.methods.base import CeWeight, Law, Method, Targets, Temperature, full, unit_deviation

if TYPE_CHECKING:
    from torch import Tensor


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

    title = "DIST"
    order = 5
    citation = "huang2022stronger"
    paragraph = (
        "DIST [cite] ([runs]) replaces the divergence by one minus Pearson's\n"
        "correlation of the softened distributions, over the classes of each image and over the images of each class."
    )
    laws = frozenset({Law.SHIFT, Law.EQUALITY, Law.TEMPERATURE, Law.LABELS})

    def terms(self, student_logits: Tensor, teacher_logits: Tensor, targets: Targets) -> dict[str, Tensor]:
        student = (full(student_logits) / self.temperature).softmax(1)
        teacher = (full(teacher_logits) / self.temperature).softmax(1)
        scale = self.temperature**2
        inter = scale * (1 - pearson(student, teacher, dim=1)).mean()
        intra = scale * (1 - pearson(student, teacher, dim=0)).mean()
        return {"inter": inter, "intra": intra}


def pearson(x: Tensor, y: Tensor, dim: int) -> Tensor:
    """Return Pearson's correlation of two float matrices along a dimension; 0, with no gradient, if one is constant."""
    return (unit_deviation(x, dim) * unit_deviation(y, dim)).sum(dim)
