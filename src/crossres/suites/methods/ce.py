"""Cross entropy."""

from __future__ import annotations

from typing import Literal

from crossres.suites.methods.base import Law, Method


class CrossEntropy(Method):
    """Cross entropy with the labels alone, for teachers and for students without one."""

    method: Literal["ce"] = "ce"
    """Name of the method."""

    title = "CE"
    order = 1
    needs_teacher = False
    paragraph = r"Runs without a teacher ([runs]) minimise the cross entropy $\CE$."
    laws = frozenset(Law)  # it has no distillation term
