"""The augmentation stream: whole uint8 batches on any device, pixel for pixel torchvision's PIL pipeline.

Order: shuffle → crop → flip → AutoAugment → normalise → erase → mix.

- `draws`: what chance decides, keyed by (seed, purpose, epoch), one row per image of the data set;
- `policy`: AutoAugment's policy as tables;
- `kernels`: the pixel operations;
- `stream`: batches, put together from these.

The augmentation of a sample depends on seed, epoch and its index in the data set, and not on the batch it is in.
"""

from crossres.training.augment.draws import draw_mixing
from crossres.training.augment.kernels import cutmix, mixup, normalise, resize, upsample
from crossres.training.augment.stream import MixedBatch, Stream, mix

__all__ = ["MixedBatch", "Stream", "cutmix", "draw_mixing", "mix", "mixup", "normalise", "resize", "upsample"]
