"""Convolutions on small maps: the same mathematics, faster on a CPU.

At 32 px most convolutions of an EfficientNet work on maps of 1 to 64 pixels, for which oneDNN is not made. Two kinds
are computed differently here, in another order of summation:

* a 1×1 convolution of stride 1 is a matrix product over the channels of a channels-last map, by oneDNN's own product,
  which is up to twice as fast as its convolution and as MKL's product on processors that are not Intel's;
* the parts of a depthwise convolution that are slow in oneDNN (everything on a map of at most 4 pixels, the gradient of
  a kernel of 5×5 or more, the gradient of the images at stride 2) are computed by a small C kernel, which is compiled
  when it is first needed. Where no compiler is installed, maps of at most 4 pixels are summed over pairs of pixels in
  PyTorch, and the rest stays with oneDNN.

A module keeps its parameters, their names, its hooks and its state dict: only its class changes, to a subclass with
another `forward`. Logits differ from the plain network's by about 3e-7 of their size.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

SOURCE = Path(__file__).with_name("depthwise.c")
FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-shared", "-fPIC")
C_TYPES = {torch.float32: "float", torch.float64: "double"}
SMALL_MAP_PX = 4
LARGE_KERNEL = 5


def accelerate(network: nn.Module, device: torch.device) -> None:
    """Let a network compute its convolutions on small maps quickly; on CUDA it stays as it is."""
    if device.type != "cpu":
        return
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and (quick := _quick(module)):
            module.__class__ = _subclass(quick, type(module))  # type: ignore[arg-type]


def _quick(convolution: nn.Conv2d) -> type | None:
    if isinstance(convolution, Pointwise | Depthwise) or convolution.padding_mode != "zeros":
        return None
    kernels, strides = set(convolution.kernel_size), set(convolution.stride)
    if convolution.groups == 1:
        plain = kernels == strides == {1} and convolution.padding == (0, 0)
        return Pointwise if plain else None
    square = len(kernels) == len(strides) == 1 and convolution.dilation == (1, 1)
    depthwise = convolution.groups == convolution.in_channels == convolution.out_channels
    known = convolution.bias is None and not isinstance(convolution.padding, str)
    return Depthwise if square and depthwise and known else None


@functools.cache
def _subclass(quick: type, plain: type) -> type:
    return type(f"{quick.__name__}{plain.__name__}", (quick, plain), {})


class Pointwise(nn.Conv2d):
    """A 1×1 convolution of stride 1 as a matrix product."""

    def forward(self, images: Tensor) -> Tensor:
        """Map `[N, C, H, W]` to `[N, C', H, W]`."""
        count, channels, height, width = images.shape
        pixels = images.permute(0, 2, 3, 1).reshape(-1, channels)
        outputs = ChannelProduct.apply(pixels, self.weight.flatten(1))
        outputs = outputs if self.bias is None else outputs + self.bias
        return outputs.view(count, height, width, -1).permute(0, 3, 1, 2)


class ChannelProduct(torch.autograd.Function):
    """`y = x Wᵀ` for every pixel."""

    @staticmethod
    def forward(ctx: Any, pixels: Tensor, weight: Tensor) -> Tensor:
        """Map `[M, C]` and `[C', C]` to `[M, C']`."""
        ctx.save_for_backward(pixels, weight)
        return _product(pixels, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Return the gradients of both."""
        (gradient,), (pixels, weight) = gradients, ctx.saved_tensors
        of_pixels = _product(gradient, weight.t()) if ctx.needs_input_grad[0] else None
        if not ctx.needs_input_grad[1]:
            return of_pixels, None
        if len(weight) <= weight.shape[1]:  # oneDNN is quicker with the shorter side first
            return of_pixels, _product(gradient.t(), pixels.t())
        return of_pixels, _product(pixels.t(), gradient.t()).t()


def _product(rows: Tensor, columns: Tensor) -> Tensor:
    """Return `rows · columnsᵀ`."""
    if rows.dtype == torch.float32 and torch.backends.mkldnn.is_available():
        return torch.ops.mkldnn._linear_pointwise(rows, columns, None, "none", [], "")
    return rows @ columns.t()


class Depthwise(nn.Conv2d):
    """A depthwise convolution whose slow parts are computed here."""

    def forward(self, images: Tensor) -> Tensor:
        """Map `[N, C, H, W]` to `[N, C, H', W']`."""
        small = images.shape[-2] * images.shape[-1] <= SMALL_MAP_PX
        if library(images.dtype) is None:
            return self._by_pairs(images) if small else super().forward(images)
        if small or self.kernel_size[0] >= LARGE_KERNEL or self.stride[0] > 1:
            return CompiledDepthwise.apply(images, self.weight, self.stride[0], *self._padding(images))
        return super().forward(images)

    def _padding(self, images: Tensor) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return the rows of zeros above and below a map, and the columns left and right of it."""
        if "Conv2dSame" in {kind.__name__ for kind in type(self).__mro__}:
            top, left = (self._same_padding(side) for side in images.shape[-2:])
            return top, left
        rows, columns = (int(side) for side in self.padding)
        return (rows, rows), (columns, columns)

    def _same_padding(self, side: int) -> tuple[int, int]:
        """TensorFlow's padding, which timm's `Conv2dSame` computes for each map: `⌈side / stride⌉` outputs."""
        whole = max((-(-side // self.stride[0]) - 1) * self.stride[0] + self.kernel_size[0] - side, 0)
        return whole // 2, whole - whole // 2

    def _by_pairs(self, images: Tensor) -> Tensor:
        """Sum over pairs of an output pixel p and an input pixel q: `y[n, p, c] = Σ_q W[p, q, c] · x[n, q, c]`.

        `W[p, q]` is the entry of the kernel that joins the two, or 0 where none does.
        """
        count, channels, height, width = images.shape
        (top, bottom), (left, right) = self._padding(images)
        rows = _pairs(height, self.kernel_size[0], self.stride[0], top, bottom)
        columns = _pairs(width, self.kernel_size[0], self.stride[0], left, right)
        joined = torch.einsum("pya,qxb->pqyxab", rows, columns).to(images.dtype)
        weights = torch.einsum("pqyxab,cab->pqyxc", joined, self.weight[:, 0]).flatten(2, 3).flatten(0, 1)
        found = PixelPairs.apply(images.permute(0, 2, 3, 1).reshape(count, height * width, channels), weights)
        return found.view(count, len(rows), len(columns), channels).permute(0, 3, 1, 2)


def _pairs(side: int, kernel: int, stride: int, before: int, after: int) -> Tensor:
    """Return `[outputs, inputs, kernel]` of one axis: 1 where an entry of the kernel joins an output to an input."""
    outputs = (side + before + after - kernel) // stride + 1
    entries = torch.arange(side)[None] - torch.arange(outputs)[:, None] * stride + before
    return (entries[..., None] == torch.arange(kernel)).float()


class PixelPairs(torch.autograd.Function):
    """`y[n, p, c] = Σ_q W[p, q, c] · x[n, q, c]`, vectorised along the channels."""

    @staticmethod
    def forward(ctx: Any, pixels: Tensor, weights: Tensor) -> Tensor:
        """Map `[N, Q, C]` and `[P, Q, C]` to `[N, P, C]`."""
        ctx.save_for_backward(pixels, weights)
        return _sum_of_pairs(pixels, weights)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients of both."""
        (gradient,), (pixels, weights) = gradients, ctx.saved_tensors
        products = [[(of_p * of_q).sum(0) for of_q in pixels.unbind(1)] for of_p in gradient.unbind(1)]
        of_weights = torch.stack([torch.stack(row) for row in products])
        return _sum_of_pairs(gradient, weights.transpose(0, 1)), of_weights


def _sum_of_pairs(pixels: Tensor, weights: Tensor) -> Tensor:
    found = pixels.new_empty(len(pixels), len(weights), pixels.shape[-1])
    for p, row in enumerate(weights):
        total = pixels[:, 0] * row[0]
        for of_q, weight in zip(pixels.unbind(1)[1:], row[1:], strict=True):
            total.addcmul_(of_q, weight)
        found[:, p] = total
    return found


class Shape(ctypes.Structure):
    """The sizes of a depthwise convolution, as the C kernel takes them."""

    _fields_ = [(name, ctypes.c_long) for name in ("n", "h", "w", "oh", "ow", "c", "k", "stride", "py", "px")]


class CompiledDepthwise(torch.autograd.Function):
    """A depthwise convolution of channels-last maps, each part by the C kernel or by oneDNN, whichever is quicker."""

    @staticmethod
    def forward(
        ctx: Any, images: Tensor, weight: Tensor, stride: int, rows: tuple[int, int], columns: tuple[int, int]
    ) -> Tensor:
        """Map `[N, C, H, W]` and `[C, 1, K, K]` to `[N, C, H', W']`."""
        images = images.contiguous(memory_format=torch.channels_last)
        (count, channels, height, width), kernel = images.shape, weight.shape[-1]
        output_height = (height + sum(rows) - kernel) // stride + 1
        output_width = (width + sum(columns) - kernel) // stride + 1
        ctx.shape = Shape(
            *(count, height, width, output_height, output_width, channels, kernel, stride, rows[0], columns[0])
        )
        ctx.small = height * width <= SMALL_MAP_PX
        ctx.save_for_backward(images, weight)
        if ctx.small:
            outputs = _empty(images, output_height, output_width)
            _call("forward", images, _taps(weight), outputs, ctx.shape)
            return outputs
        if rows[0] == rows[1] and columns[0] == columns[1]:
            return functional.conv2d(images, weight, None, stride, (rows[0], columns[0]), 1, channels)
        return functional.conv2d(functional.pad(images, (*columns, *rows)), weight, None, stride, 0, 1, channels)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of the images and of the weight."""
        images, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        of_images, of_weight = None, None
        if ctx.needs_input_grad[0] and not ctx.small and ctx.shape.stride == 1:
            of_images = _by_onednn(gradient, images, weight, ctx.shape, (True, False, False))[0]
        elif ctx.needs_input_grad[0]:
            of_images = torch.empty_like(images)
            _call("gradient_of_images", gradient, _taps(weight), of_images, ctx.shape)
        if ctx.needs_input_grad[1] and (ctx.small or ctx.shape.k >= LARGE_KERNEL or ctx.shape.stride > 1):
            of_taps = _taps(weight)
            _call("gradient_of_taps", images, gradient, of_taps, ctx.shape)
            of_weight = of_taps.t().reshape_as(weight)
        return of_images, of_weight, None, None, None


def _by_onednn(
    gradient: Tensor, images: Tensor, weight: Tensor, shape: Shape, wanted: tuple[bool, bool, bool]
) -> tuple[Tensor, ...]:
    sizes = [shape.stride] * 2, [shape.py, shape.px], [1, 1], False, [0, 0], shape.c
    return torch.ops.aten.convolution_backward(gradient, images, weight, None, *sizes, wanted)


def _taps(weight: Tensor) -> Tensor:
    """Return a depthwise weight `[C, 1, K, K]` as `[K², C]`."""
    return weight.detach().flatten(1).t().contiguous()


def _empty(images: Tensor, height: int, width: int) -> Tensor:
    return images.new_empty(len(images), images.shape[1], height, width).contiguous(memory_format=torch.channels_last)


def _call(name: str, first: Tensor, second: Tensor, output: Tensor, shape: Shape) -> None:
    pointers = (ctypes.c_void_p(tensor.data_ptr()) for tensor in (first, second, output))
    getattr(library(first.dtype), name)(*pointers, ctypes.byref(shape))


def compiler_version() -> str:
    """Return the first line that the C compiler says of itself, or `none` where the kernel is not compiled."""
    if library(torch.float32) is None:
        return "none"
    done = subprocess.run([*_compiler(), "--version"], capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0]


def _compiler() -> list[str]:
    return shlex.split(os.environ.get("CC") or "cc")


@functools.cache
def library(dtype: torch.dtype) -> ctypes.CDLL | None:
    """Return the C kernel for a type, compiled by `CC` or else `cc` for this machine; None where it cannot be."""
    if dtype not in C_TYPES:
        return None
    with contextlib.suppress(OSError, subprocess.SubprocessError), tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "depthwise.so"
        words = [*_compiler(), *FLAGS, f"-DREAL={C_TYPES[dtype]}", "-o", str(made), str(SOURCE)]
        subprocess.run(words, capture_output=True, check=True)
        return ctypes.CDLL(str(made))
    return None
