"""AutoAugment's CIFAR-10 policy as tables, read off torchvision's own PIL functions."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

if TYPE_CHECKING:  # torchvision takes seconds to import
    from torchvision.transforms import AutoAugment


class SubPolicies(NamedTuple):
    """The P sub-policies as tables over (sub-policy, first or second operation, sign); the last row does nothing."""

    prob: NDArray[np.float64]
    """Probability of the operation, `[P + 1, 2]`."""
    kernel: NDArray[np.int64]
    """Which of `KERNEL_NAMES`, −1 for none, `[P + 1, 2, 2]`."""
    argument: NDArray[np.float64]
    """Row of the kernel's table, or blending factor, `[P + 1, 2, 2]`."""
    maps: Tensor
    """For each geometric operation, 1 + the source pixel of each pixel, or 0 outside the image; int64 `[maps, S²]`."""
    curves: Tensor
    """For each operation on single values, the new value of each value; uint8 `[curves, 256]`."""


WARPS = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
"""Geometric operations: each is a map of pixels."""
CURVES = ("Invert", "Solarize", "Posterize", "Brightness")
"""Operations on single values: each is a map of values."""
KERNEL_NAMES = ("Warp", "Curve", "AutoContrast", "Equalize", "Contrast", "Color", "Sharpness")


def operations() -> list[tuple[tuple[str, float, int | None], tuple[str, float, int | None]]]:
    """Return the two operations of each sub-policy: name, probability, and number of the magnitude."""
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

    policies = operations()
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
        kernel[row, slot, sign] = KERNEL_NAMES.index(kind)
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
