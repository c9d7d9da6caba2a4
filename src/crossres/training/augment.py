"""The augmentation stream: whole uint8 batches on any device, pixel for pixel torchvision's PIL pipeline.

Order: shuffle → crop → flip → AutoAugment → normalise → erase → mix. Every draw comes from a counter-based generator
keyed by (seed, purpose, epoch), and a sample's draws stand in the row of its index in the data set. No generator state
is kept: any batch of any epoch can be asked for in any order, and a sample's augmentation owes nothing to its batch.

Shapes: `M` images in the data set, `N` in a batch, `S` pixels a side.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from crossres.suites.datasets import Normalisation
from crossres.suites.methods import Targets
from crossres.suites.spec import Augmentation, Spec

if TYPE_CHECKING:  # torchvision takes seconds to import, and is needed only where a table is made or an image resized
    from torchvision.transforms import AutoAugment


ERASE_TRIES = 10
"""Boxes that RandomErasing draws before it gives up."""
BLOCK_IMAGES = 2048
"""Images augmented at a time, whatever the batch size: enough to make the cost of a kernel's launch small."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


# ---------------------------------------------------------------------------------------------------------- draws


def generator(seed: int, purpose: str, *counters: int) -> np.random.Generator:
    """Return the generator of one purpose, keyed by a hash of `(seed, purpose, *counters)`."""
    name = "/".join(map(str, (seed, purpose, *counters)))
    key = hashlib.sha256(name.encode()).digest()[:16]
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))


class Draws(NamedTuple):
    """What chance decides for each image; one row an image."""

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


def draw(augmentation: Augmentation, images: int, size_px: int, seed: int, epoch: int) -> Draws:
    """Draw one epoch's augmentation for the whole data set.

    Args:
        augmentation: The distributions.
        images: M. The first rows are the same whatever it is.
        size_px: S.
        seed: Seed of the run.
        epoch: From 1.

    Returns:
        Draws with M rows.
    """
    offsets = 2 * augmentation.crop_padding_px + 1
    crop = (generator(seed, "crop", epoch).random((images, 2)) * offsets).astype(np.int64)
    flip = generator(seed, "flip", epoch).random(images) < augmentation.flip_prob
    policy, chance, positive = np.full(images, -1), np.ones((images, 2)), np.zeros((images, 2), bool)
    if augmentation.auto_augment == "cifar10":
        uniform = generator(seed, "auto_augment", epoch).random((images, 5))
        policy = (uniform[:, 0] * len(_sub_policies())).astype(np.int64)
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


# --------------------------------------------------------------------------------------------- AutoAugment's tables


class SubPolicies(NamedTuple):
    """The P sub-policies as tables over (sub-policy, first or second operation, sign); the last row does nothing."""

    prob: Floats
    """Probability of the operation, `[P + 1, 2]`."""
    kernel: Ints
    """Which of `KERNELS`, −1 for none, `[P + 1, 2, 2]`."""
    argument: Floats
    """Row of the kernel's table, or blending factor, `[P + 1, 2, 2]`."""
    maps: Tensor
    """For each geometric operation, 1 + the source pixel of each pixel, or 0 outside the image; int64 `[maps, S²]`."""
    curves: Tensor
    """For each operation on single values, the new value of each value; uint8 `[curves, 256]`."""


WARPS = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
CURVES = ("Invert", "Solarize", "Posterize", "Brightness")


def _sub_policies() -> list[tuple[tuple[str, float, int | None], tuple[str, float, int | None]]]:
    return _torchvision_policy().policies


@functools.cache
def _torchvision_policy() -> AutoAugment:
    from torchvision.transforms import AutoAugment, AutoAugmentPolicy

    return AutoAugment(AutoAugmentPolicy.CIFAR10)


@functools.lru_cache(maxsize=8)
def sub_policies(size_px: int, device: torch.device) -> SubPolicies:
    """Tabulate torchvision's CIFAR-10 policy for one image size.

    Geometric operations are read off an image whose pixels are numbered, operations on single values off a ramp; both
    go through torchvision's own PIL functions.

    Source: Cubuk et al., *AutoAugment* (CVPR 2019), as in `torchvision.transforms.AutoAugment`.
    """
    from torchvision.transforms.autoaugment import _apply_op

    policies = _sub_policies()
    space = _torchvision_policy()._augmentation_space(10, (size_px, size_px))
    numbered = Image.fromarray(np.arange(1, size_px**2 + 1, dtype=np.int32).reshape(size_px, size_px))
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    prob = np.zeros((len(policies) + 1, 2))
    kernel = np.full((len(policies) + 1, 2, 2), -1)
    argument = np.zeros(kernel.shape)
    maps: dict[tuple[str, float], NDArray[np.int32]] = {}
    curves: dict[tuple[str, float], NDArray[np.uint8]] = {}
    for row, slot, sign in np.ndindex(len(policies), 2, 2):
        name, prob[row, slot], bin_number = policies[row][slot]
        bins, signed = space[name]
        magnitude = 0.0 if bin_number is None else float(bins[bin_number]) * (-1 if signed and sign == 0 else 1)
        kind = "Warp" if name in WARPS else "Curve" if name in CURVES else name
        kernel[row, slot, sign] = list(KERNELS).index(kind)
        if kind in ("Warp", "Curve"):
            table, probe = (maps, numbered) if kind == "Warp" else (curves, ramp)
            if (name, magnitude) not in table:
                applied = _apply_op(probe, name, magnitude, _torchvision_policy().interpolation, None)
                table[name, magnitude] = np.asarray(applied).reshape(-1)
            argument[row, slot, sign] = list(table).index((name, magnitude))
        else:
            argument[row, slot, sign] = 1.0 + magnitude
    tables = (np.stack(list(maps.values())).astype(np.int64), np.stack(list(curves.values())))
    return SubPolicies(prob, kernel, argument, *(torch.from_numpy(table).to(device) for table in tables))


# ------------------------------------------------------------------------------------------------ whole-batch kernels


def augment(images: Tensor, draws: Draws, crop_padding_px: int) -> Tensor:
    """Crop, flip and AutoAugment a batch, as torchvision does image by image with PIL.

    Args:
        images: uint8 `[N, 3, S, S]`.
        draws: Their draws, N rows.
        crop_padding_px: Zero padding before the crop.

    Returns:
        uint8 `[N, 3, S, S]`, a new tensor.
    """
    images = crop_and_flip(images, draws, crop_padding_px)
    if (draws.policy < 0).all():
        return images
    tables = sub_policies(images.shape[-1], images.device)
    for slot in (0, 1):
        applied = draws.chance[:, slot] <= tables.prob[draws.policy, slot]
        entry = (draws.policy, slot, draws.positive[:, slot].astype(np.int64))
        kernel = np.where(applied, tables.kernel[entry], -1)
        images = _apply_by_kernel(images, kernel, tables.argument[entry], tables)
    return images


def _apply_by_kernel(images: Tensor, kernel: Ints, argument: Floats, tables: SubPolicies) -> Tensor:
    """Sort the images by kernel, apply each to its run of images, and put them back in their places."""
    # The host knows where the runs lie, so the device is handed three arrays and is never waited for.
    order = np.argsort(kernel, kind="stable")
    edges = np.searchsorted(kernel[order], np.arange(len(KERNELS) + 1))
    arguments = _to(images.device, argument[order])
    images = images.index_select(0, _to(images.device, order))
    runs = [images[: edges[0]]]
    for apply, start, stop in zip(KERNELS.values(), edges[:-1], edges[1:], strict=True):
        if start < stop:
            runs.append(apply(images[start:stop], arguments[start:stop], tables))
    return torch.cat(runs).index_select(0, _to(images.device, np.argsort(order)))


def crop_and_flip(images: Tensor, draws: Draws, crop_padding_px: int) -> Tensor:
    """Crop each image out of its zero-padded self and mirror some; uint8 `[N, 3, S, S]` to the same."""
    count, channels, size_px, _ = images.shape
    padded = functional.pad(images, [crop_padding_px] * 4)
    across = torch.arange(size_px, device=images.device)
    top, left = _to(images.device, draws.crop)[:, :, None].unbind(1)
    mirrored = _to(images.device, draws.flip)[:, None]
    rows, columns = top + across, left + torch.where(mirrored, across.flip(0), across)
    source = rows[:, :, None] * padded.shape[-1] + columns[:, None, :]
    return _pick(padded.flatten(2), source.flatten(1)).view(count, channels, size_px, size_px)


def _pick(pixels: Tensor, source: Tensor) -> Tensor:
    """Return pixel `source[n, i]` of each channel of image `n`: `[N, 3, pixels]` and `[N, I]` to `[N, 3, I]`."""
    return pixels.gather(2, source[:, None].expand(-1, pixels.shape[1], -1))


def _warp(images: Tensor, argument: Tensor, tables: SubPolicies) -> Tensor:
    with_outside = functional.pad(images.flatten(2), [1, 0])
    return _pick(with_outside, tables.maps.index_select(0, argument.long())).view_as(images)


def _look_up(images: Tensor, curves: Tensor) -> Tensor:
    """Replace each value by its entry in the curve of its image and channel, uint8 `[n, 3, 256]`."""
    return curves.gather(2, images.flatten(2).long()).view_as(images)


def _curve(images: Tensor, argument: Tensor, tables: SubPolicies) -> Tensor:
    return _look_up(images, tables.curves.index_select(0, argument.long())[:, None].expand(-1, 3, -1))


def _levels(images: Tensor) -> Tensor:
    return torch.arange(256, device=images.device)


@functools.cache
def _autocontrast_scales(device: torch.device) -> Tensor:
    # Python's quotients: torch's `255.0 / tensor` multiplies by a reciprocal, which is off by one bit now and then.
    return torch.tensor([255.0 / max(span, 1) for span in range(256)], dtype=torch.float64).to(device)


def _autocontrast(images: Tensor, argument: Tensor, tables: SubPolicies) -> Tensor:
    pixels = images.flatten(2)
    low, high = pixels.amin(2, keepdim=True).long(), pixels.amax(2, keepdim=True).long()
    scale = _autocontrast_scales(images.device)[high - low]
    levels = _levels(images)
    stretched = (levels * scale + -low * scale).clamp_(0, 255)
    return _look_up(images, torch.where(high > low, stretched, levels).to(torch.uint8))


def _equalize(images: Tensor, argument: Tensor, tables: SubPolicies) -> Tensor:
    brightest = images.flatten(2).amax(2, keepdim=True).long()
    pixels = images.flatten(2).long()
    histogram = torch.zeros(*pixels.shape[:2], 256, dtype=torch.int32, device=images.device)
    histogram.scatter_add_(2, pixels, torch.ones_like(pixels, dtype=torch.int32))
    below = histogram.cumsum(2, dtype=torch.int32).sub_(histogram)
    step = (pixels.shape[2] - histogram.gather(2, brightest)) // 255
    divisor = step.clamp(min=1)
    equalized = below.add_(divisor // 2).floor_divide_(divisor).clamp_(0, 255)
    curves = torch.where(step > 0, equalized, _levels(images)).to(torch.uint8)
    return curves.gather(2, pixels).view_as(images)


def _grey(images: Tensor) -> Tensor:
    """PIL's luma, `(19595 R + 38470 G + 7471 B + 2¹⁵) >> 16`; uint8 `[n, 3, S, S]` to int32 `[n, 1, S, S]`."""
    red, green, blue = images.to(torch.int32).split(1, dim=1)
    return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16


def _blend(base: Tensor, images: Tensor, factor: Tensor) -> Tensor:
    """PIL's blend, `base + factor · (images − base)`, in float32 and rounded towards zero."""
    base = base.float()
    return (images.float() - base).mul_(factor.float()).add_(base).clamp_(0, 255).to(torch.uint8)


def _contrast(images: Tensor, argument: Tensor, tables: SubPolicies) -> Tensor:
    pixels = images.shape[-1] ** 2
    mean = (2 * _grey(images).sum((2, 3)) + pixels) // (2 * pixels)
    curves = _blend(mean[:, :, None], _levels(images), argument[:, None, None])
    return _look_up(images, curves.expand(-1, 3, -1))


def _color(images: Tensor, argument: Tensor, tables: SubPolicies) -> Tensor:
    return _blend(_grey(images), images, argument[:, None, None, None])


def _sharpness(images: Tensor, argument: Tensor, tables: SubPolicies) -> Tensor:
    exact = images.float()
    columns = (exact[..., :-2] + exact[..., 1:-1]).add_(exact[..., 2:])
    weighted = (columns[..., :-2, :] + columns[..., 1:-1, :]).add_(columns[..., 2:, :]).add_(4 * exact[..., 1:-1, 1:-1])
    smooth = exact.clone()
    # Thirteenths are never halfway between integers, so this division need not be exact.
    smooth[..., 1:-1, 1:-1] = weighted.div_(13).round_()
    return _blend(smooth, exact, argument[:, None, None, None])


Kernel = Callable[[Tensor, Tensor, SubPolicies], Tensor]
KERNELS: dict[str, Kernel] = {
    "Warp": _warp,
    "Curve": _curve,
    "AutoContrast": _autocontrast,
    "Equalize": _equalize,
    "Contrast": _contrast,
    "Color": _color,
    "Sharpness": _sharpness,
}
"""What each operation of the policy does to uint8 `[n, 3, S, S]`, given one argument an image, `[n]`."""


# ------------------------------------------------------------------------------------------------- on float32 images


@functools.cache
def _normaliser(device: torch.device, normalisation: Normalisation) -> tuple[Tensor, Tensor, Tensor]:
    # Tensors, for CUDA divides by a number as a multiplication by its reciprocal.
    scale, mean, std = (torch.tensor(values).view(3, 1, 1).to(device) for values in ((255.0,) * 3, *normalisation))
    return scale, mean, std


def normalise(images: Tensor, normalisation: Normalisation) -> Tensor:
    """Normalise by channel, `(x / 255 − mean) / std`; uint8 `[N, 3, S, S]` to float32, as ToTensor and Normalize do."""
    scale, mean, std = _normaliser(images.device, normalisation)
    return images.to(torch.float32).div_(scale).sub_(mean).div_(std)


def erase(images: Tensor, boxes: Ints) -> Tensor:
    """Set a box of each image to 0, in place.

    Args:
        images: float32 `[N, 3, S, S]`.
        boxes: Top, bottom, left, right, px, ends excluded, `[N, 4]`; an empty box erases nothing.

    Returns:
        The same tensor.
    """
    erased = np.flatnonzero(boxes[:, 0] < boxes[:, 1])
    if not erased.size:
        return images
    across = torch.arange(images.shape[-1], device=images.device)
    top, bottom, left, right = _to(images.device, boxes[erased])[:, :, None].unbind(1)
    rows, columns = (across >= top) & (across < bottom), (across >= left) & (across < right)
    inside = (rows[:, :, None] & columns[:, None, :])[:, None]
    place = _to(images.device, erased)
    return images.index_copy_(0, place, images.index_select(0, place).masked_fill_(inside, 0.0))


def cutmix(images: Tensor, partner: Tensor, box: tuple[int, int, int, int]) -> Tensor:
    """Paste a box of each image's partner into a copy; float32 `[N, 3, S, S]` and int64 `[N]` to the same shape."""
    top, bottom, left, right = box
    mixed = images.clone()
    mixed[..., top:bottom, left:right] = images[..., top:bottom, left:right].index_select(0, partner)
    return mixed


def mixup(images: Tensor, partner: Tensor, lam: float) -> Tensor:
    """Return `lam · images + (1 − lam) · images[partner]`; float32 `[N, 3, S, S]` and int64 `[N]` to the same shape."""
    return images.index_select(0, partner).mul_(1 - lam).add_(images * lam)


def resize(images: Tensor, resolution_px: int) -> Tensor:
    """Resize before augmentation as PIL's `Image.resize` with BILINEAR does, antialiased; uint8 `[N, 3, S, S]`.

    Always computed on the CPU: torchvision's uint8 kernel there equals PIL, while its float path, taken on CUDA and on
    processors without AVX2, is off by one in a quarter of the values.
    """
    if images.shape[-1] == resolution_px:
        return images
    from torchvision.transforms.v2 import functional as vision

    size = [resolution_px, resolution_px]
    resized = vision.resize(images.cpu(), size, vision.InterpolationMode.BILINEAR, antialias=True)
    return resized.to(images.device)


def upsample(images: Tensor, resolution_px: int) -> Tensor:
    """Upsample the mixed batch for a teacher, bilinear with corners not aligned; float32 `[N, 3, S, S]`.

    An image that already has the size is returned as it is.
    """
    if images.shape[-1] == resolution_px:
        return images
    return functional.interpolate(images, size=(resolution_px, resolution_px), mode="bilinear", align_corners=False)


def _to(device: torch.device, array: NDArray) -> Tensor:
    return torch.from_numpy(array).to(device, non_blocking=True)


# ----------------------------------------------------------------------------------------------------------- stream


class MixedBatch(NamedTuple):
    """One training batch, as the run's own network sees it."""

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
        augmentation: What is done to the images.
        images: The training set in the size of the run's view, uint8 `[M, 3, S, S]`, on the device to train on.
        labels: Its classes, int64 `[M]`, on the same device.
        seed: Seed of the run.
        batch_size: N; the incomplete last batch is dropped.
        normalisation: What the images are normalised with.

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
        self._steps_per_block = max(1, BLOCK_IMAGES // batch_size)
        self._drawn: _Epoch | None = None
        self._block: tuple[int, int, Tensor] | None = None

    @classmethod
    def of(cls, spec: Spec, images: Tensor, labels: Tensor) -> Stream:
        """Return the stream of a run over its training images."""
        batch_size, normalisation = spec.optimisation.batch_size, spec.dataset.info.normalisation
        return cls(spec.augmentation, images, labels, spec.seed_of_batches, batch_size, normalisation)

    def epoch(self, epoch: int) -> Iterator[MixedBatch]:
        """Yield the batches of an epoch (from 1) in order."""
        return (self.batch(epoch, step) for step in range(self.steps_per_epoch))

    def batch(self, epoch: int, step: int) -> MixedBatch:
        """Return one batch.

        Args:
            epoch: From 1.
            step: From 0, below `steps_per_epoch`.

        Returns:
            The batch; the same whatever was asked for before.

        Raises:
            IndexError: When there is no such batch.
        """
        if epoch < 1 or not 0 <= step < self.steps_per_epoch:
            raise IndexError(
                f"no batch (epoch {epoch}, step {step}): {self.steps_per_epoch} steps an epoch, epochs from 1"
            )
        size_px = self.images.shape[-1]
        drawn = self._draw_epoch(epoch)
        rows = drawn.order[step * self.batch_size : (step + 1) * self.batch_size]
        images = erase(normalise(self._augmented(drawn, step), self.normalisation), drawn.draws.erase[rows])
        labels = self.labels[_to(self.labels.device, rows)]
        mixing = draw_mixing(self.augmentation, self.batch_size, size_px, self.seed, epoch, step)
        return mix(images, labels, mixing)

    def _draw_epoch(self, epoch: int) -> _Epoch:
        drawn = self._drawn
        if drawn is None or drawn.number != epoch:
            count, size_px = len(self.images), self.images.shape[-1]
            order = generator(self.seed, "shuffle", epoch).permutation(count)
            drawn = _Epoch(epoch, order, draw(self.augmentation, count, size_px, self.seed, epoch))
            self._drawn = drawn
        return drawn

    def _augmented(self, drawn: _Epoch, step: int) -> Tensor:
        """Return the step's augmented uint8 images out of the block of steps that are augmented together."""
        number, place = divmod(step, self._steps_per_block)
        block = self._block
        if block is None or block[:2] != (drawn.number, number):
            length = self._steps_per_block * self.batch_size
            rows = drawn.order[: self.steps_per_epoch * self.batch_size][number * length : (number + 1) * length]
            images = self.images.index_select(0, _to(self.images.device, rows))
            images = augment(images, drawn.draws.rows(rows), self.augmentation.crop_padding_px)
            block = self._block = (drawn.number, number, images)
        return block[2][place * self.batch_size : (place + 1) * self.batch_size]


def mix(images: Tensor, labels: Tensor, mixing: Mixing) -> MixedBatch:
    """Mix a batch with a permutation of itself.

    Args:
        images: float32 `[N, 3, S, S]`; left as they are.
        labels: int64 `[N]`.
        mixing: How.

    Returns:
        The mixed batch.
    """
    partner = _to(images.device, mixing.partner)
    if mixing.method == "cutmix":
        images = cutmix(images, partner, mixing.box)
    elif mixing.method == "mixup":
        images = mixup(images, partner, mixing.lam)
    return MixedBatch(images, labels, labels[partner], torch.full((), mixing.lam, device=images.device))
