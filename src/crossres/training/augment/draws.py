"""What chance decides, drawn from counter-based generators: no state is kept, so any epoch can be drawn at any time.

A sample's draws stand in the row of its index in the data set. Shapes: `M` images in the data set, `N` in a batch.
"""

from __future__ import annotations

import hashlib
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crossres.suites.spec import Augmentation
from crossres.training.augment.policy import operations

ERASE_TRIES = 10
"""Boxes that RandomErasing draws before it gives up."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def generator(seed: int, purpose: str, *counters: int) -> np.random.Generator:
    """Return the generator of one purpose, keyed by a hash of `(seed, purpose, *counters)`."""
    name = "/".join(map(str, (seed, purpose, *counters)))
    key = hashlib.sha256(name.encode()).digest()[:16]
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))


class Draws(NamedTuple):
    """What chance decides for each image; one row per image."""

    crop: Ints
    """Top and left edge of the crop in the padded image, px, `[M, 2]`."""
    flip: Bools
    """Whether the crop is mirrored, `[M]`."""
    policy: Ints
    """Sub-policy of AutoAugment, −1 for none, `[M]`."""
    chance: Floats
    """Each of its two operations is applied where this is at most the operation's probability, `[M, 2]`."""
    positive: Bools
    """Sign of each operation's magnitude, where it has one, `[M, 2]`."""
    erase: Ints
    """Box to erase as top, bottom, left, right, px, ends excluded; empty for none, `[M, 4]`."""

    def rows(self, index: Ints | slice) -> Draws:
        """Return the draws of some of the images."""
        return Draws._make(field[index] for field in self)

    def scaled(self, factor: int) -> Draws:
        """Return the same draws for images of `factor` times the side."""
        return self._replace(crop=self.crop * factor, erase=self.erase * factor)


def draw_epoch(augmentation: Augmentation, images: int, size_px: int, seed: int, epoch: int) -> Draws:
    """Draw one epoch's augmentation of `M = images` images of side `size_px`; the first rows do not depend on M."""
    offsets = 2 * augmentation.crop_padding_px + 1
    crop = (generator(seed, "crop", epoch).random((images, 2)) * offsets).astype(np.int64)
    flip = generator(seed, "flip", epoch).random(images) < augmentation.flip_prob
    policy, chance, positive = np.full(images, -1), np.ones((images, 2)), np.zeros((images, 2), bool)
    if augmentation.auto_augment == "cifar10":
        uniform = generator(seed, "auto_augment", epoch).random((images, 5))
        policy = (uniform[:, 0] * len(operations())).astype(np.int64)
        chance, positive = uniform[:, 1:3], uniform[:, 3:5] >= 0.5
    return Draws(crop, flip, policy, chance, positive, _erase_boxes(augmentation, images, size_px, seed, epoch))


def _erase_boxes(augmentation: Augmentation, images: int, size_px: int, seed: int, epoch: int) -> Ints:
    """Draw the boxes of torchvision's RandomErasing: the first of ten tries that is smaller than the image, or none."""
    boxes = np.zeros((images, 4), np.int64)
    if augmentation.erase_prob == 0:
        return boxes
    uniform = generator(seed, "erase", epoch).random((images, 3 + 2 * ERASE_TRIES))
    erased = np.flatnonzero(uniform[:, 0] < augmentation.erase_prob)
    corner, share, shape = np.split(uniform[erased, 1:], [2, 2 + ERASE_TRIES], axis=1)
    smallest, largest = augmentation.erase_scale
    flattest, tallest = np.log(augmentation.erase_ratio)
    area = size_px**2 * (smallest + (largest - smallest) * share)
    aspect = np.exp(flattest + (tallest - flattest) * shape)
    height, width = np.rint(np.sqrt(area * aspect)), np.rint(np.sqrt(area / aspect))
    fits = (height < size_px) & (width < size_px)
    first = fits.argmax(1)[:, None]
    sides = np.concatenate([np.take_along_axis(side, first, 1) for side in (height, width)], axis=1)
    start = np.floor(corner * (size_px - sides + 1))
    found = np.stack([start, start + sides], axis=2).reshape(-1, 4)
    boxes[erased] = np.where(fits.any(1, keepdims=True), found, 0)
    return boxes


class Mixing(NamedTuple):
    """How one batch is mixed with a permutation of itself."""

    method: Literal["none", "cutmix", "mixup"]
    lam: float
    """Share of the image's own label, exact in float32."""
    partner: Ints
    """Row of the image mixed into each image, `[N]`."""
    box: tuple[int, int, int, int]
    """CutMix's box as top, bottom, left, right, px, ends excluded; empty for the others."""

    def scaled(self, factor: int) -> Mixing:
        """Return the same draw for images of `factor` times the side."""
        top, bottom, left, right = self.box
        return self._replace(box=(top * factor, bottom * factor, left * factor, right * factor))


def draw_mixing(augmentation: Augmentation, batch_size: int, size_px: int, seed: int, epoch: int, step: int) -> Mixing:
    """Draw how one batch is mixed.

    CutMix: lambda ~ Beta, a box of side `S · sqrt(1 − lambda)` with its centre anywhere, clipped to the image, and
    lambda recomputed as the share of the image outside it. Mixup: lambda ~ Beta.

    Sources: Yun et al., *CutMix* (ICCV 2019), equation 2; Zhang et al., *mixup* (ICLR 2018), equation 2.
    """
    chance = generator(seed, "mix", epoch, step)
    mixed, is_cutmix = chance.random(2) < (augmentation.mix_prob, augmentation.cutmix_share)
    partner = chance.permutation(batch_size)
    if not mixed:
        return Mixing("none", 1.0, np.arange(batch_size), (0, 0, 0, 0))
    if not is_cutmix:
        lam = chance.beta(augmentation.mixup_alpha, augmentation.mixup_alpha)
        return Mixing("mixup", float(np.float32(lam)), partner, (0, 0, 0, 0))
    cut_share = 1 - chance.beta(augmentation.cutmix_alpha, augmentation.cutmix_alpha)
    half = int(0.5 * np.sqrt(cut_share) * size_px)
    row, column = (int(centre) for centre in chance.integers(size_px, size=2))
    top, bottom, left, right = (
        min(max(edge, 0), size_px) for edge in (row - half, row + half, column - half, column + half)
    )
    lam = 1 - (bottom - top) * (right - left) / size_px**2
    return Mixing("cutmix", float(np.float32(lam)), partner, (top, bottom, left, right))
