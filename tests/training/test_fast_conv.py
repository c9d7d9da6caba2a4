"""Convolutions on small maps equal the plain ones, in values, gradients and everything that others see of a network."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision import models

from crossres.training import fast_conv
from crossres.training.fast_conv import accelerate

CPU = torch.device("cpu")
NETWORKS = {
    "3x3 and 5x5, strides 1 and 2, padded on both sides": lambda: models.mobilenet_v3_small(num_classes=10),
    "padded as TensorFlow does": lambda: timm.create_model("tf_efficientnet_lite0", num_classes=10),
    "dilated, grouped, with bias": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 1),
        nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8, bias=False),
        nn.Conv2d(8, 8, 3, stride=2, padding="valid", groups=8, bias=False),
        nn.Conv2d(8, 8, 5, padding=2, groups=8),
        nn.Conv2d(8, 8, (5, 3), padding=(2, 1), groups=8, bias=False),
        nn.Conv2d(8, 4, 3, groups=4),
        nn.AdaptiveAvgPool2d(1),
        nn.Conv2d(4, 10, 1, bias=True),
        nn.Flatten(),
    ),
}


@pytest.fixture(params=["compiled", "pairs of pixels"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Run a test with the C kernel, then as on a machine without a compiler."""
    if request.param == "pairs of pixels":
        monkeypatch.setenv("CC", "no-such-compiler")
    fast_conv.library.cache_clear()
    if request.param == "compiled" and fast_conv.library(torch.float64) is None:
        pytest.skip("no C compiler is installed")
    yield request.param
    fast_conv.library.cache_clear()


def pair(name: str) -> tuple[nn.Module, nn.Module]:
    """A network in float64 and its fast copy, which draw nothing at random."""
    torch.manual_seed(1)
    plain = NETWORKS[name]().double().to(memory_format=torch.channels_last)
    for module in plain.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    fast = copy.deepcopy(plain)
    accelerate(fast, CPU)
    return plain, fast


def gradients(network: nn.Module, images: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The logits, and the gradients of images and parameters in one vector."""
    images = images.clone().requires_grad_()
    logits = network(images)
    wanted = [images, *network.parameters()]
    return logits.detach(), torch.cat([part.flatten() for part in torch.autograd.grad(logits, wanted, weights)])


@pytest.mark.parametrize("size_px", [32, 40, 64])
@pytest.mark.parametrize("name", NETWORKS)
def test_values_and_gradients_are_those_of_the_plain_network(name: str, size_px: int, kernel: str) -> None:
    plain, fast = pair(name)
    draw = torch.Generator().manual_seed(2)
    images = torch.randn(4, 3, size_px, size_px, generator=draw, dtype=torch.float64)
    weights = torch.randn(4, 10, generator=draw, dtype=torch.float64)
    (logits, expected), (fast_logits, found) = gradients(plain, images, weights), gradients(fast, images, weights)
    assert torch.allclose(fast_logits, logits, rtol=1e-11, atol=1e-12)
    assert (found - expected).norm() < 1e-11 * expected.norm()


def test_float32_stays_within_its_rounding(kernel: str) -> None:
    plain, fast = (network.float().eval() for network in pair("padded as TensorFlow does"))
    images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        assert (plain(images) - fast(images)).abs().max() < 1e-5 * plain(images).abs().max()


def test_the_kernels_are_used(kernel: str) -> None:
    _, fast = pair("padded as TensorFlow does")
    used = {type(module).__name__ for module in fast.modules()}
    assert {"PointwiseConv2d", "DepthwiseConv2d", "DepthwiseConv2dSame"} <= used
    assert (fast_conv.compiler_version() == "none") == (kernel != "compiled")


def test_nothing_else_of_a_network_changes() -> None:
    plain, fast = pair("padded as TensorFlow does")
    assert list(plain.state_dict()) == list(fast.state_dict())
    plain.load_state_dict(fast.state_dict())
    seen: list[torch.Size] = []
    pointwise = next(module for module in fast.modules() if isinstance(module, fast_conv.Pointwise))
    pointwise.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    again = copy.deepcopy(fast)
    assert torch.equal(again(images), fast(images)) and len(seen) == 2
    for parameter in fast.parameters():
        nn.init.zeros_(parameter)
    assert again(images).abs().max() > 0, "a copy has parameters of its own"


def test_a_network_on_cuda_stays_as_it_is() -> None:
    network = NETWORKS["padded as TensorFlow does"]()
    accelerate(network, torch.device("cuda"))
    assert not any(isinstance(module, fast_conv.Pointwise | fast_conv.Depthwise) for module in network.modules())
