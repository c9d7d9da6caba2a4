"""Pixel operations on whole batches, on any device: pixel for pixel those of torchvision's PIL pipeline.

Shapes: `N` images in a batch, `S` pixels per side.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from crossres.suites.datasets import Normalisation
from crossres.training.augment.draws import Draws, Floats, Ints
from crossres.training.augment.policy import KERNEL_NAMES, SubPolicies, sub_policies


def augment(images: Tensor, draws: Draws, crop_padding_px: int) -> Tensor:
    """Crop, flip and AutoAugment a batch, uint8 `[N, 3, S, S]`, given N rows of draws; returns a new tensor."""
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
    """Sort the images by kernel, apply each kernel to its images, and restore the order."""
    # The host knows where each kernel starts, so it copies three arrays to the device and never waits for it.
    order = np.argsort(kernel, kind="stable")
    edges = np.searchsorted(kernel[order], np.arange(len(KERNEL_NAMES) + 1))
    arguments = to_device(images.device, argument[order])
    images = images.index_select(0, to_device(images.device, order))
    runs = [images[: edges[0]]]
    for name, start, stop in zip(KERNEL_NAMES, edges[:-1], edges[1:], strict=True):
        if start < stop:
            runs.append(KERNELS[name](images[start:stop], arguments[start:stop], tables))
    return torch.cat(runs).index_select(0, to_device(images.device, np.argsort(order)))


def crop_and_flip(images: Tensor, draws: Draws, crop_padding_px: int) -> Tensor:
    """Pad each image with zeros, crop it, and mirror some; uint8 `[N, 3, S, S]` to the same shape."""
    count, channels, size_px, _ = images.shape
    padded = functional.pad(images, [crop_padding_px] * 4)
    across = torch.arange(size_px, device=images.device)
    top, left = to_device(images.device, draws.crop)[:, :, None].unbind(1)
    mirrored = to_device(images.device, draws.flip)[:, None]
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
    # Quotients of Python: `255.0 / tensor` in torch multiplies by a reciprocal, which is sometimes off by one bit.
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


KERNELS: dict[str, Callable[[Tensor, Tensor, SubPolicies], Tensor]] = {
    "Warp": _warp,
    "Curve": _curve,
    "AutoContrast": _autocontrast,
    "Equalize": _equalize,
    "Contrast": _contrast,
    "Color": _color,
    "Sharpness": _sharpness,
}
"""What each operation of the policy does to uint8 `[n, 3, S, S]`, given one argument per image, `[n]`."""


@functools.cache
def _normaliser(device: torch.device, normalisation: Normalisation) -> tuple[Tensor, Tensor, Tensor]:
    # Tensors, because CUDA divides by a number as a multiplication by its reciprocal.
    scale, mean, std = (torch.tensor(values).view(3, 1, 1).to(device) for values in ((255.0,) * 3, *normalisation))
    return scale, mean, std


def normalise(images: Tensor, normalisation: Normalisation) -> Tensor:
    """Normalise by channel, `(x / 255 − mean) / std`; uint8 `[N, 3, S, S]` to float32, as ToTensor and Normalize do."""
    scale, mean, std = _normaliser(images.device, normalisation)
    return images.to(torch.float32).div_(scale).sub_(mean).div_(std)


def erase(images: Tensor, boxes: Ints) -> Tensor:
    """Set a box of each image to 0, in place; float32 `[N, 3, S, S]`, and `Draws.erase` for the boxes."""
    erased = np.flatnonzero(boxes[:, 0] < boxes[:, 1])
    if not erased.size:
        return images
    across = torch.arange(images.shape[-1], device=images.device)
    top, bottom, left, right = to_device(images.device, boxes[erased])[:, :, None].unbind(1)
    rows, columns = (across >= top) & (across < bottom), (across >= left) & (across < right)
    inside = (rows[:, :, None] & columns[:, None, :])[:, None]
    place = to_device(images.device, erased)
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
    """Upsample the mixed batch for a teacher, bilinear with corners not aligned; float32 `[N, 3, S, S]`."""
    if images.shape[-1] == resolution_px:
        return images
    return functional.interpolate(images, size=(resolution_px, resolution_px), mode="bilinear", align_corners=False)


def to_device(device: torch.device, array: NDArray) -> Tensor:
    """Copy an array to a device without waiting for it."""
    return torch.from_numpy(array).to(device, non_blocking=True)
