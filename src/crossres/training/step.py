"""One training step, from batch to optimiser, that never waits for the device.

Every step writes one row of the epoch's ledger on the device, and the host reads the ledger once per epoch. The
optimiser's kernel skips a step whose loss or gradient is not finite. The host therefore runs ahead of a GPU, and the
whole step can be one CUDA graph.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from crossres.base import CrossresError
from crossres.suites.methods import Method
from crossres.suites.spec import Optimisation
from crossres.training.augment import MixedBatch
from crossres.training.device import autocast

WARM_STEPS = 3
"""Eager steps before the first capture, in which libraries and the optimiser allocate their state."""


class Tally(NamedTuple):
    """The steps of one epoch, summed up."""

    means: dict[str, float]
    """Mean of each term over the steps that had it."""
    grad_norm: float | None
    """Mean norm of the gradients before clipping, over the steps taken; None without one."""
    clipped_share: float | None
    """Share of those steps that were clipped."""
    nonfinite: int
    """Steps whose loss or gradient was not finite."""
    overflow: int
    """Steps that the loss scaler of fp16 skipped while it searched for its scale."""
    first_bad: tuple[int, str] | None
    """The first step counted as not finite, from 0, and the term at fault."""
    last_overflow: int | None
    """The last step that the loss scaler skipped, from 0."""


class Ledger:
    """One row per step, on the device: every term of the loss, and the norm of the gradients."""

    def __init__(self, steps: int, device: torch.device) -> None:
        self.names: tuple[str, ...] = ()
        self._steps, self._rows = steps, torch.empty(0)
        self._at = torch.zeros(1, dtype=torch.int64, device=device)

    def clear(self) -> None:
        """Start an epoch."""
        self._at.zero_()

    def add(self, terms: dict[str, Tensor], norm: Tensor) -> None:
        """Write the row of one step; every step has the same terms."""
        row = torch.stack([*terms.values(), norm]).detach().float()
        if not self.names:
            self.names = tuple(terms)
            self._rows = row.new_zeros(self._steps, len(row))
        self._rows.index_copy_(0, self._at, row[None])
        self._at += 1

    def read(self) -> NDArray[np.float64]:
        """Wait for the device, and return the rows written since `clear`, `[steps, terms + 1]`."""
        return self._rows[: int(self._at)].double().cpu().numpy()


def tally(rows: NDArray[np.float64], names: tuple[str, ...], optimisation: Optimisation, scaled: bool) -> Tally:
    """Sum up an epoch's ledger; each mean is over the steps that have the term.

    Args:
        rows: `[steps, terms + 1]`, the gradients' norm last.
        names: The terms, `ce` and `total` among them.
        optimisation: Decides what becomes of a loss that is not finite, and the norm that gradients are clipped to.
        scaled: Whether a loss scaler takes care of gradients that overflow.
    """
    terms, norm = dict(zip(names, rows.T[:-1], strict=True)), rows[:, -1]
    finite = np.isfinite(terms["total"])
    fell_back = ~finite & np.isfinite(terms["ce"]) & (optimisation.nonfinite == "thesis_fallback")
    used = finite | fell_back
    terms["total"] = np.where(fell_back, terms["ce"], terms["total"])
    having = {name: used if name in ("ce", "total") else finite for name in names}
    overflown = used & ~np.isfinite(norm)
    bad = ~finite if scaled else ~finite | overflown
    norms = norm[used & ~overflown]
    limit = math.inf if optimisation.grad_clip_norm is None else optimisation.grad_clip_norm
    return Tally(
        means={name: float(terms[name][steps].mean()) for name, steps in having.items() if steps.any()},
        grad_norm=float(norms.mean()) if norms.size else None,
        clipped_share=float((norms > limit).mean()) if norms.size else None,
        nonfinite=int(bad.sum()),
        overflow=int(overflown.sum()) if scaled else 0,
        first_bad=_first_bad(bad, rows, names),
        last_overflow=int(overflown.nonzero()[0][-1]) if scaled and overflown.any() else None,
    )


def _first_bad(bad: NDArray[np.bool_], rows: NDArray[np.float64], names: tuple[str, ...]) -> tuple[int, str] | None:
    if not bad.any():
        return None
    step = int(bad.argmax())
    wrong = [name for name, value in zip(names, rows[step], strict=False) if not math.isfinite(value)]
    parts = [name for name in wrong if name != "total"]
    return step, (parts or wrong or ["gradient"])[0]


class Step:
    """The step of one run: network, objective, optimiser, loss scaler and the epoch's ledger.

    Args:
        network: The network in training, on its device.
        objective: What is minimised.
        optimisation: How it is minimised.
        steps_per_epoch: Steps of an epoch.
        precision: The type that the networks run in under autocast: `fp32`, `bf16` or `fp16`.
        teacher: Maps the batch's images to the teacher's logits, where these are not handed in.
        capture: Whether to make the step one CUDA graph; ignored on a CPU.
    """

    def __init__(
        self,
        network: nn.Module,
        objective: Method,
        optimisation: Optimisation,
        steps_per_epoch: int,
        precision: str = "fp32",
        teacher: Callable[[Tensor], Tensor] | None = None,
        capture: bool = False,
    ) -> None:
        self.network, self.objective, self.optimisation = network, objective, optimisation
        self.precision, self.teacher = precision, teacher
        self.device = next(network.parameters()).device
        self.optimiser = adamw(network, optimisation)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "fp16")
        self.ledger = Ledger(steps_per_epoch, self.device)
        self.capture = capture and self.device.type == "cuda"
        self._epoch, self._warmed, self._live = 1, 0, True
        self._captured: Captured | None = None
        self._buffers = _floating(network.buffers()) if optimisation.nonfinite != "stop" else []

    def begin(self, epoch: int, learning_rate: float) -> None:
        """Start an epoch, from 1, with its learning rate."""
        for group in self.optimiser.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(learning_rate)
            else:
                group["lr"] = learning_rate
        self.ledger.clear()
        # An objective may depend on the epoch, which a graph holds as a constant.
        self._epoch, self._captured = epoch, None

    def __call__(self, batch: MixedBatch, teacher_logits: Tensor | None = None) -> None:
        """Take one step, with the teacher's stored logits for the batch, `[N, C]`, where there are any.

        Raises:
            CrossresError: When the step cannot be captured as a CUDA graph.
        """
        if not self.capture:
            self._eager(batch, teacher_logits)
            return
        if self._live != (teacher_logits is None):  # the teacher's network starts or stops to be part of the step
            self._live, self._warmed, self._captured = teacher_logits is None, 0, None
        if self._captured is None and self._warmed < WARM_STEPS:
            _on_a_side_stream(self._eager, batch, teacher_logits)
            self._warmed += 1
            return
        if self._captured is None:
            self.optimiser.zero_grad(set_to_none=True)  # they lie in the memory of the graph before
            self._captured = Captured(self._eager, batch, teacher_logits)
        self._captured.replay(batch, teacher_logits)

    def end(self) -> Tally:
        """Wait for the epoch's steps, and sum them up."""
        return tally(self.ledger.read(), self.ledger.names, self.optimisation, self.scaler.is_enabled())

    def _eager(self, batch: MixedBatch, teacher_logits: Tensor | None) -> None:
        images = batch.images.contiguous(memory_format=torch.channels_last)
        before = [buffer.clone() for buffer in self._buffers]
        with autocast(self.device, self.precision):
            if teacher_logits is None and self.teacher is not None:
                teacher_logits = self.teacher(batch.images)
            student_logits = self.network(images)
        logits = student_logits.detach().requires_grad_()
        terms = self.objective.losses(logits, teacher_logits, batch.targets, self._epoch)
        gradient, loss = self._gradient(terms, logits)
        self.optimiser.zero_grad(set_to_none=True)
        student_logits.backward(gradient)
        self.scaler.unscale_(self.optimiser)
        norm = self._clip()
        # The fused kernel reads this, and changes no weight, moment or step count where it is not 0.
        self.optimiser.found_inf = (~(loss.isfinite() & norm.isfinite())).float()  # type: ignore[attr-defined]
        self.optimiser.step()
        self.scaler.update()
        self._restore_buffers(before)
        self.ledger.add(terms, norm)

    def _restore_buffers(self, before: list[Tensor]) -> None:
        """Undo the step's change of the buffers if one became not finite: they would spoil every later evaluation."""
        if before:
            finite = torch.stack([buffer.isfinite().all() for buffer in self._buffers]).all()
            for buffer, old in zip(self._buffers, before, strict=True):
                buffer.copy_(buffer.where(finite, old))

    def _gradient(self, terms: dict[str, Tensor], logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scaled gradient at the logits, and the loss that it belongs to.

        Under `thesis_fallback` that loss is the cross entropy where the total is not finite. The choice is made at the
        logits: after a `where` of the losses, a NaN of one would reach the gradient of the other.
        """
        total, falls_back = terms["total"], self.optimisation.nonfinite == "thesis_fallback"
        (gradient,) = torch.autograd.grad(self.scaler.scale(total), logits, retain_graph=falls_back)
        if not falls_back:
            return gradient, total.detach()
        (of_ce,) = torch.autograd.grad(self.scaler.scale(terms["ce"]), logits)
        finite = total.detach().isfinite()
        return gradient.where(finite, of_ce), total.detach().where(finite, terms["ce"].detach())

    def _clip(self) -> Tensor:
        limit = self.optimisation.grad_clip_norm
        return nn.utils.clip_grad_norm_(self.network.parameters(), limit if limit is not None else math.inf)


class Captured:
    """A step as one CUDA graph: each batch is copied into fixed buffers, and the graph is replayed.

    A batch and stored logits are given for their shapes; nothing is executed.

    Raises:
        CrossresError: When an operation cannot be captured. CUDA's state is then undefined, so the job has to end.
    """

    def __init__(
        self, step: Callable[[MixedBatch, Tensor | None], None], batch: MixedBatch, teacher_logits: Tensor | None
    ) -> None:
        self._batch = MixedBatch(*(part.clone() for part in batch))
        self._teacher_logits = None if teacher_logits is None else teacher_logits.clone()
        self._graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(self._graph):
                step(self._batch, self._teacher_logits)
        except RuntimeError as error:
            reason = str(error).splitlines()[0][:120]
            raise CrossresError(
                f"the step could not be captured as a CUDA graph ({reason}); run without one: "
                "cuda_graph: false in the config, or --no-cuda-graph"
            ) from None

    def replay(self, batch: MixedBatch, teacher_logits: Tensor | None) -> None:
        """Take the step with another batch."""
        for fixed, part in zip(self._batch, batch, strict=True):
            fixed.copy_(part, non_blocking=True)
        if self._teacher_logits is not None and teacher_logits is not None:
            self._teacher_logits.copy_(teacher_logits, non_blocking=True)
        self._graph.replay()


@functools.cache
def _side_stream() -> torch.cuda.Stream:
    return torch.cuda.Stream()


def _on_a_side_stream(step: Callable[..., None], *arguments: object) -> None:
    """Run a step before a capture, as PyTorch requires, so that no state is bound to the default stream."""
    side = _side_stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step(*arguments)
    torch.cuda.current_stream().wait_stream(side)


def _floating(buffers: Iterable[Tensor]) -> list[Tensor]:
    return [buffer for buffer in buffers if buffer.is_floating_point()]


def adamw(network: nn.Module, optimisation: Optimisation) -> torch.optim.AdamW:
    """Return the fused AdamW of a run; on CUDA its learning rate is a tensor, which a graph reads at every replay."""
    parameters = list(network.parameters())
    exempt = [p for p in parameters if p.ndim < 2 and optimisation.decay_matrices_only]
    decayed = [p for p in parameters if p.ndim > 1 or not optimisation.decay_matrices_only]
    groups = [{"params": decayed, "weight_decay": optimisation.weight_decay}, {"params": exempt, "weight_decay": 0.0}]
    on_cuda = parameters[0].is_cuda
    rate = torch.tensor(optimisation.learning_rate, device=parameters[0].device) if on_cuda else None
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=optimisation.learning_rate if rate is None else rate,
        fused=True,
        capturable=on_cuda,
    )
