"""A pretended CUDA device: fake tensors, which have a device, a type and a shape, but no numbers.

An operation that would make the host wait for the device, mix devices, or copy from the host into a graph raises
`Forbidden`. The autograd engine refuses fake CUDA tensors, so their graphs are walked here.
"""

from __future__ import annotations

import contextlib
import functools
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map_only

from crossres.training.augment import kernels

CUDA = torch.device("cuda")
aten = torch.ops.aten
WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "equal", "bincount"}
INDEXING = {"index", "index_put", "index_put_", "_unsafe_index"}
WITHOUT_FAKE = {"_fused_adamw_", "_amp_foreach_non_finite_check_and_unscale_", "_amp_update_scale_"}
"""Kernels that PyTorch has no fake version of: all of their tensors have to be on the device."""


class Forbidden(AssertionError):
    """An operation that the real device would wait for, refuse or repeat with a stale value."""


class Watch(TorchDispatchMode):
    """Sees every operation; `capturing` is whether it would become part of a graph.

    Where the host `may_wait`, every number that it reads is 1.
    """

    def __init__(self) -> None:
        super().__init__()
        self.capturing = self.may_wait = False
        self.replays = self.captures = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        name = operation.name().removeprefix("aten::").partition(".")[0]
        devices = {tensor.device.type for tensor in tensors}
        if name == "_local_scalar_dense" and self.may_wait:
            return 1 if not args[0].is_floating_point() else 1.0
        if "cuda" in devices:
            self._check(name, args, tensors)
        if name in WITHOUT_FAKE:
            if devices != {"cuda"}:
                raise Forbidden(f"{name} of tensors on {sorted(devices)}")
            return args[0] if name == "_amp_update_scale_" else None
        self._check_copy(name, args, kwargs)
        return operation(*args, **kwargs)

    def _check(self, name: str, args: Any, tensors: list[Tensor]) -> None:
        if name in WAITS:
            raise Forbidden(f"the host waits for {name}")
        if name in INDEXING and any(index is not None and index.dtype == torch.bool for index in args[1]):
            raise Forbidden(f"the host waits for the size of a boolean {name}")
        if name != "copy_" and any(tensor.device.type == "cpu" and tensor.dim() for tensor in tensors):
            raise Forbidden(f"{name} of tensors on two devices")

    def _check_copy(self, name: str, args: Any, kwargs: Any) -> None:
        if name == "_to_copy" and kwargs.get("device") is not None:
            source, target, waits = (
                args[0].device.type,
                torch.device(kwargs["device"]).type,
                not kwargs.get("non_blocking"),
            )
        elif name == "copy_":
            source, target, waits = args[1].device.type, args[0].device.type, not (len(args) > 2 and args[2])
        else:
            return
        if source != target and not self.may_wait and (self.capturing or target == "cpu" or waits):
            raise Forbidden(f"a copy from {source} to {target}{' within a graph' * self.capturing}")


class Graph:
    """Stands in for a CUDA graph."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def replay(self) -> None:
        self.watch.replays += 1


@contextlib.contextmanager
def simulated(patch: pytest.MonkeyPatch) -> Iterator[Watch]:
    """Pretend that there is a CUDA device; tensors that are made within are fake."""
    watch = Watch()

    @contextlib.contextmanager
    def capture(graph: Graph, **_: object) -> Iterator[None]:
        watch.capturing, watch.captures = True, watch.captures + 1
        yield
        watch.capturing = False

    patch.setattr("torch.cuda.CUDAGraph", lambda: Graph(watch))
    patch.setattr("torch.cuda.graph", capture)
    patch.setattr("torch.cuda.is_bf16_supported", lambda *_: True)
    patch.setattr("torch.cuda.is_current_stream_capturing", lambda: watch.capturing)
    patch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    patch.setattr("torch.amp.grad_scaler.amp_definitely_not_available", lambda: False, raising=False)
    patch.setattr("torch.random.fork_rng", lambda devices: contextlib.nullcontext())
    patch.setattr("crossres.training.step.WARM_STEPS", 1)
    patch.setattr("crossres.records.provenance.device_name", lambda device: "a simulated GPU")
    patch.setattr("crossres.training.step._on_a_side_stream", lambda step, *arguments: step(*arguments))
    patch.setattr("torch.nn.Module.to", _onto_the_device)
    patch.setattr("torch.optim.AdamW", functools.partial(_adamw, torch.optim.AdamW))
    patch.setattr("torch.autograd.grad", _grad)
    patch.setattr("torch.Tensor.backward", _backward)
    for name, table in vars(kernels).items():
        if hasattr(table, "cache_clear"):
            patch.setattr(kernels, name, functools.partial(_made_once, table))
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield watch


def _made_once(table: Callable[..., Any], *arguments: Any) -> Any:
    """Make a table that is kept for a whole run on the host, and pretend that it was copied."""
    with _disable_current_modes():
        made = table(
            *(torch.device("cpu") if isinstance(argument, torch.device) else argument for argument in arguments)
        )
    return tree_map_only(Tensor, lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype, device=CUDA), made)


def _adamw(adamw: type[torch.optim.AdamW], groups: Any, lr: Tensor, **options: Any) -> torch.optim.AdamW:
    """Make the optimiser with a number for a rate, since it looks at the rate, and a fake tensor has no number."""
    optimiser = adamw(groups, lr=1e-3, **options)
    for group in optimiser.param_groups:
        group["lr"] = lr
    return optimiser


def _onto_the_device(network: nn.Module, *_: Any, **__: Any) -> nn.Module:
    """Replace all parameters and buffers by fake ones; PyTorch's own way cannot."""
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            held = torch.empty(parameter.shape, device=CUDA)
            held = held.contiguous(memory_format=torch.channels_last) if held.dim() == 4 else held
            setattr(module, name, nn.Parameter(held, requires_grad=parameter.requires_grad))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, torch.zeros(buffer.shape, dtype=buffer.dtype, device=CUDA))
    return network


def _grad(root: Tensor, leaves: Any, gradient: Tensor | None = None, **_: bool) -> tuple[Tensor, ...]:
    found = walk(root, torch.ones_like(root) if gradient is None else gradient)
    return tuple(found[leaf] for leaf in _tuple(leaves))


def _backward(root: Tensor, gradient: Tensor) -> None:
    for leaf, found in walk(root, gradient).items():
        leaf.grad = found if leaf.grad is None else leaf.grad + found


@torch.no_grad()
def walk(root: Tensor, gradient: Tensor) -> dict[Tensor, Tensor]:
    """Return the gradient of each leaf below a tensor, node by node in topological order."""
    start: Any = root.grad_fn
    waiting, seen, stack = defaultdict[Any, int](int), set[Any](), [start]
    while stack:
        if (node := stack.pop()) not in seen:
            seen.add(node)
            below = [parent for parent, _ in node.next_functions if parent is not None]
            stack += below
            for parent in below:
                waiting[parent] += 1
    arrived: dict[Any, dict[int, Tensor]] = {start: {root.output_nr: gradient}}
    ready, leaves = [start], dict[Tensor, Tensor]()
    while ready:
        node = ready.pop()
        given = arrived.pop(node, {})
        if node.name() == "torch::autograd::AccumulateGrad":
            leaves.update({node.variable: given[0]} if given else {})
            continue
        found = node(*[given.get(place) for place in range(len(node._input_metadata))])
        for (parent, place), value in zip(node.next_functions, _tuple(found), strict=True):
            if parent is None:
                continue
            if value is not None:
                _arrive(arrived.setdefault(parent, {}), place, value, parent._input_metadata[place])
            waiting[parent] -= 1
            if not waiting[parent]:
                ready.append(parent)
    return leaves


def _tuple(one_or_more: Any) -> tuple[Any, ...]:
    return (one_or_more,) if isinstance(one_or_more, Tensor) or one_or_more is None else tuple(one_or_more)


def _arrive(slots: dict[int, Tensor], place: int, value: Tensor, wanted: Any) -> None:
    if value.device != wanted.device:
        raise Forbidden(f"a gradient on {value.device} for a tensor on {wanted.device}")
    value = value.sum_to_size(tuple(wanted.shape)).to(wanted.dtype)
    slots[place] = slots[place] + value if place in slots else value
