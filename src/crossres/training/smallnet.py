"""Two small networks for a CPU, `tiny_student` and `tiny_teacher`."""

from __future__ import annotations

from torch import Tensor, nn

SIZES = {"tiny_student": (12, (1, 1, 1, 1), 128), "tiny_teacher": (16, (1, 2, 3, 3), 192)}
"""Width of the stem, fused blocks in each of the four stages, width of the head."""


class SmallNet(nn.Module):
    """EfficientNetV2's topology in small: fused-MBConv blocks only, since depthwise convolutions are slow on a CPU.

    A stem and three of the four stages halve the map: total stride 16.

    Source of the block: Tan and Le, *EfficientNetV2* (ICML 2021), figure 2.
    """

    WIDTHS = (1, 2, 3, 5)
    STRIDES = (1, 2, 2, 2)
    EXPANSIONS = (1, 2, 2, 2)

    def __init__(self, width: int, blocks: tuple[int, ...], head: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [_convolution(3, width, 3, stride=2)]
        channels = width
        stages = zip(self.WIDTHS, blocks, self.STRIDES, self.EXPANSIONS, strict=True)
        for multiple, count, first_stride, expansion in stages:
            for stride in (first_stride, *[1] * (count - 1)):
                layers.append(FusedBlock(channels, width * multiple, stride, expansion))
                channels = width * multiple
        self.features = nn.Sequential(*layers, _convolution(channels, head, 1))
        self.classifier = nn.Linear(head, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images `[N, 3, S, S]` to logits `[N, C]`."""
        return self.classifier(self.features(images).mean((2, 3)))


class FusedBlock(nn.Module):
    """A fused-MBConv block: a 3×3 expansion and a 1×1 projection, with a shortcut where the shape allows it."""

    def __init__(self, channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = channels * expansion
        if expansion == 1:
            self.body = _convolution(channels, out_channels, 3, stride)
        else:
            projection = _convolution(hidden, out_channels, 1, activation=False)
            self.body = nn.Sequential(_convolution(channels, hidden, 3, stride), projection)
        self.shortcut = stride == 1 and channels == out_channels

    def forward(self, images: Tensor) -> Tensor:
        """Map features `[N, C, S, S]` to `[N, C', S / stride, S / stride]`."""
        features = self.body(images)
        return images + features if self.shortcut else features


def _convolution(channels: int, out: int, kernel: int, stride: int = 1, activation: bool = True) -> nn.Sequential:
    convolution = nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False)
    layers: list[nn.Module] = [convolution, nn.BatchNorm2d(out)]
    return nn.Sequential(*layers, nn.SiLU(inplace=True)) if activation else nn.Sequential(*layers)
