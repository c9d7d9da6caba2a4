"""What every training objective is, and the mathematics that several share.

Everything is written in methods of the tensors handed in, so that a spec can be checked where torch is not installed.
Shapes: `N` images, `C` classes.
"""

from __future__ import annotations

import functools
import operator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple

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


class Law(StrEnum):
    """What may hold for the distillation terms of a method, that is for all but `ce` and `total`."""

    SHIFT = "a constant added to all logits of an image changes no term"
    EQUALITY = "every term is zero where the student's logits are the teacher's plus a constant for each image"
    TEMPERATURE = "logits and temperature multiplied by c multiply every term by c²"
    STUDENT_SCALE = "the scale of the student's logits changes no term"
    LABELS = "no term depends on the labels"
    IMAGES = "every term is the mean of its values for each image alone"


class Method(Strict):
    """Base of the training objectives."""

    method: str
    label_smoothing: Probability = Field(default=0.0, title="Label smoothing")
    """Label smoothing of the cross entropy, and of nothing else."""

    title: ClassVar[str]
    """Name of the method in tables, legends and prose."""
    order: ClassVar[int] = 100
    """Place among the methods in the report and the reference; equal ones are sorted by name."""
    needs_teacher: ClassVar[bool] = True
    formula: ClassVar[str] = ""
    """The loss in LaTeX, set as an equation. The report defines `\\CE`, `\\KL`, the logits `z`, the softened
    distribution `p_T`, and the superscripts `s` and `t`."""
    citation: ClassVar[str] = ""
    """Key of the source in `paper/references.bib`."""
    paragraph: ClassVar[str] = "[title] [cite] ([runs]) minimises\n[equation]"
    """What the report says of the method, in LaTeX: `[title]`, `[cite]`, `[runs]` and `[equation]` are filled in."""
    laws: ClassVar[frozenset[Law]] = frozenset()
    """The laws that hold for the method; the shared tests check that these hold, and that no other does."""

    @property
    def variant(self) -> str:
        """What names beside the title to tell runs of this method apart: `β = 8`; empty where the title is enough."""
        return ""

    @classmethod
    def in_report(cls, runs: str) -> str:
        """Return the paragraph of the report for runs that are named in LaTeX."""
        equation = f"\\begin{{equation}}\n  {cls.formula}\n\\end{{equation}}" if cls.formula else ""
        cite = f"\\citep{{{cls.citation}}}" if cls.citation else ""
        text = cls.paragraph.replace("[cite] ", f"{cite} " if cite else "")
        return text.replace("[title]", cls.title).replace("[equation]", equation).replace("[runs]", runs)

    def losses(
        self, student_logits: Tensor, teacher_logits: Tensor | None, targets: Targets, epoch: int
    ) -> dict[str, Tensor]:
        """Return the named terms of the loss, scalar means over the batch: `ce`, those of `terms`, and `total`.

        They are computed in log space, and in float32 whatever precision the networks ran in; float64 logits stay so.

        Args:
            student_logits: `[N, C]`.
            teacher_logits: For the same images, `[N, C]`; None where `needs_teacher` is False.
            targets: The two labels of each image and their shares.
            epoch: From 1.
        """
        ce = cross_entropy(student_logits, targets, self.label_smoothing)
        if not self.needs_teacher:
            return {"ce": ce, "total": ce}
        if teacher_logits is None:
            raise ValueError("this method needs teacher_logits")
        terms = {"ce": ce, **self.terms(student_logits, teacher_logits, targets)}
        return {**terms, "total": self.total(terms, epoch)}

    def terms(self, student_logits: Tensor, teacher_logits: Tensor, targets: Targets) -> dict[str, Tensor]:
        """Return the distillation terms by name, without their weights, each a scalar mean over the batch."""
        raise NotImplementedError

    def total(self, terms: dict[str, Tensor], epoch: int) -> Tensor:
        """Return what is minimised: the sum of the terms, each multiplied by the hyperparameter `TERM_weight`."""
        return functools.reduce(operator.add, (getattr(self, f"{name}_weight") * term for name, term in terms.items()))


def cross_entropy(logits: Tensor, targets: Targets, label_smoothing: float = 0.0) -> Tensor:
    """Return the cross entropy with two labels: `−Σ_k q_k log p_k`, `q = (1 − ε)(lam · a + (1 − lam) · b) + ε / C`.

    The logits are `[N, C]`, ε is the label smoothing; the result is the mean over the batch.
    """
    log_probs = full(logits).log_softmax(1)
    nll_a = -log_probs.gather(1, targets.a[:, None]).squeeze(1)
    nll_b = -log_probs.gather(1, targets.b[:, None]).squeeze(1)
    labelled = nll_b.lerp(nll_a, targets.lam.to(nll_a.dtype))
    return ((1 - label_smoothing) * labelled - label_smoothing * log_probs.mean(1)).mean()


def unit_deviation(x: Tensor, dim: int) -> Tensor:
    """Divide the deviation from the mean along a dimension by its norm; 0 where it is no more than rounding error.

    A lower bound on the norm instead would blow up the gradient of constant input, past the range of float16.
    """
    deviation = x - x.mean(dim, keepdim=True)
    square = deviation.square().sum(dim, keepdim=True)
    rounding = (1e-12 * x.square().sum(dim, keepdim=True)).clamp_min(1e-24)
    return deviation / square.where(square > rounding, float("inf")).sqrt()


def full(logits: Tensor) -> Tensor:
    """Return the logits in float32, or in float64 if that is what they are."""
    return logits if logits.dtype.itemsize > 4 else logits.float()
