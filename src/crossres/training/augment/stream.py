"""The augmentation stream of a run: any batch of any epoch, in any order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from crossres.suites.datasets import Normalisation
from crossres.suites.methods import Targets
from crossres.suites.spec import Augmentation, Spec
from crossres.training.augment.draws import Draws, Ints, Mixing, draw_epoch, draw_mixing, generator
from crossres.training.augment.kernels import augment, cutmix, erase, mixup, normalise, to_device

BLOCK_IMAGES = 2048
"""Images augmented at a time, whatever the batch size: enough to make the cost of launching kernels small."""


class MixedBatch(NamedTuple):
    """One training batch, as the network of the run sees it."""

    images: Tensor
    """Normalised, erased and mixed, float32 `[N, 3, S, S]`."""
    target_a: Tensor
    """Class of each image, int64 `[N]`."""
    target_b: Tensor
    """Class of the image mixed into it, int64 `[N]`."""
    lam: Tensor
    """Share of `target_a`, float32 scalar; 1 when unmixed."""

    @property
    def targets(self) -> Targets:
        """The labels as the losses take them."""
        return Targets(self.target_a, self.target_b, self.lam)


class _Epoch(NamedTuple):
    number: int
    order: Ints
    draws: Draws


class Stream:
    """The augmentation stream of one run: a pure function of (seed, purpose, epoch, sample index).

    Args:
        images: The training set in the size of the run's view, uint8 `[M, 3, S, S]`, on the device to train on; or
            for its teacher, in a multiple of that size.
        labels: Its classes, int64 `[M]`, on the same device.
        batch_size: N; the incomplete last batch is dropped.
        drawn_px: Side of the run's view, for which geometry is drawn before it is scaled to S; S if absent.

    Raises:
        ValueError: When the images are not square uint8 images with one label each, or are fewer than a batch.
    """

    def __init__(
        self,
        augmentation: Augmentation,
        images: Tensor,
        labels: Tensor,
        seed: int,
        batch_size: int,
        normalisation: Normalisation,
        drawn_px: int | None = None,
    ) -> None:
        if images.dtype != torch.uint8 or images.shape[1:] != (3, images.shape[-1], images.shape[-1]):
            raise ValueError(f"images must be uint8 [M, 3, S, S], got {images.dtype} {list(images.shape)}")
        if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
            raise ValueError(f"labels must be int64 [{len(images)}], got {labels.dtype} {list(labels.shape)}")
        if not 1 <= batch_size <= len(images):
            raise ValueError(f"batch_size {batch_size} must be between 1 and the {len(images)} images")
        self.augmentation = augmentation
        self.images = images
        self.labels = labels
        self.seed = seed
        self.batch_size = batch_size
        self.normalisation = normalisation
        self.steps_per_epoch = len(images) // batch_size
        self._drawn_px = drawn_px or images.shape[-1]
        self._factor = images.shape[-1] // self._drawn_px
        self._steps_per_block = max(1, BLOCK_IMAGES // batch_size)
        self._drawn: _Epoch | None = None
        self._block: tuple[int, int, Tensor] | None = None

    @classmethod
    def of(cls, spec: Spec, images: Tensor, labels: Tensor) -> Stream:
        """Return the stream of a run over its training images, or those of its teacher's `resized` view."""
        batch_size, normalisation = spec.optimisation.batch_size, spec.dataset.info.normalisation
        drawn_px = spec.view.resolution_px
        return cls(spec.augmentation, images, labels, spec.seed_of_batches, batch_size, normalisation, drawn_px)

    def epoch(self, epoch: int) -> Iterator[MixedBatch]:
        """Yield the batches of an epoch (from 1) in order."""
        return (self.batch(epoch, step) for step in range(self.steps_per_epoch))

    def batch(self, epoch: int, step: int) -> MixedBatch:
        """Return one batch, whatever was asked for before; epochs count from 1, steps from 0.

        Raises:
            IndexError: When there is no such batch.
        """
        if epoch < 1 or not 0 <= step < self.steps_per_epoch:
            raise IndexError(
                f"no batch (epoch {epoch}, step {step}): {self.steps_per_epoch} steps per epoch, epochs from 1"
            )
        drawn = self._draw_epoch(epoch)
        rows = drawn.order[step * self.batch_size : (step + 1) * self.batch_size]
        images = erase(normalise(self._augmented(drawn, step), self.normalisation), drawn.draws.erase[rows])
        labels = self.labels[to_device(self.labels.device, rows)]
        mixing = draw_mixing(self.augmentation, self.batch_size, self._drawn_px, self.seed, epoch, step)
        return mix(images, labels, mixing.scaled(self._factor))

    def _draw_epoch(self, epoch: int) -> _Epoch:
        drawn = self._drawn
        if drawn is None or drawn.number != epoch:
            count = len(self.images)
            order = generator(self.seed, "shuffle", epoch).permutation(count)
            draws = draw_epoch(self.augmentation, count, self._drawn_px, self.seed, epoch)
            drawn = _Epoch(epoch, order, draws.scaled(self._factor))
            self._drawn = drawn
        return drawn

    def _augmented(self, drawn: _Epoch, step: int) -> Tensor:
        """Return the augmented uint8 images of a step; a block of steps is augmented together."""
        number, place = divmod(step, self._steps_per_block)
        block = self._block
        if block is None or block[:2] != (drawn.number, number):
            length = self._steps_per_block * self.batch_size
            rows = drawn.order[: self.steps_per_epoch * self.batch_size][number * length : (number + 1) * length]
            images = self.images.index_select(0, to_device(self.images.device, rows))
            images = augment(images, drawn.draws.rows(rows), self.augmentation.crop_padding_px * self._factor)
            block = self._block = (drawn.number, number, images)
        return block[2][place * self.batch_size : (place + 1) * self.batch_size]


def mix(images: Tensor, labels: Tensor, mixing: Mixing) -> MixedBatch:
    """Mix a batch with a permutation of itself: float32 `[N, 3, S, S]`, which stay as they are, and int64 `[N]`."""
    partner = to_device(images.device, mixing.partner)
    if mixing.method == "cutmix":
        images = cutmix(images, partner, mixing.box)
    elif mixing.method == "mixup":
        images = mixup(images, partner, mixing.lam)
    return MixedBatch(images, labels, labels[partner], torch.full((), mixing.lam, device=images.device))
