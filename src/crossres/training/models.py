"""Networks by name."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from crossres.base import CrossresError, nearest
from crossres.suites.spec import Model, Spec
from crossres.training import smallnet
from crossres.training.imagenet import load_state, read_weights

Load = Callable[[nn.Module], None]


def build(model: Model, classes: int, seed: int, weights: Path | None = None) -> nn.Module:
    """Build a network with a fresh head, on the CPU and in training mode.

    Args:
        model: Architecture by name, and whether it starts from ImageNet weights.
        classes: Outputs of the head.
        seed: Seed of every weight that is not loaded; the global generator is left as it was.
        weights: File of the ImageNet weights, written by `fetch_weights`; needed when `model.pretrained`.

    Raises:
        CrossresError: For an unknown name, which names the nearest, or when the weights are missing or do not fit.
    """
    library, _, name = model.name.partition("/")
    builders = {"torchvision": _torchvision, "timm": _timm, "crossres": _own}
    if library not in builders or not name:
        raise CrossresError(f"model '{model.name}': write LIBRARY/NAME{nearest(library, builders)}")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the devices' generators as well
        network = builders[library](name, classes, functools.partial(_load_pretrained, model, weights))
    if model.stem_stride is not None:
        _set_stem_stride(network, model)
    return network


def _set_stem_stride(network: nn.Module, model: Model) -> None:
    stem = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    if stem.stride != (2, 2) or model.stem_stride not in (1, 2):
        has = f"the first convolution of {model.name} has stride {stem.stride[0]}"
        raise CrossresError(
            f"model.stem_stride {model.stem_stride}: {has}; only a stride of 2 can be set, and only to 1"
        )
    stem.stride = (model.stem_stride, model.stem_stride)


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network in evaluation mode for a while."""
    was_training = network.training
    network.eval()
    yield
    network.train(was_training)


def parameter_count(network: nn.Module) -> int:
    """Return the number of trainable parameters, head included."""
    return sum(parameter.numel() for parameter in network.parameters())


def skeleton(model: Model, classes: int) -> nn.Module:
    """Build a network on the meta device: its shapes without numbers."""
    with torch.device("meta"):
        return build(model.model_copy(update={"pretrained": False}), classes, seed=0)


def gmacs(model: Model, classes: int, resolution_px: int) -> float:
    """Return the multiply-accumulates of one image's forward pass, in units of 10⁹, those of attention included."""
    from torch.utils.flop_counter import FlopCounterMode  # imports triton, which nothing else needs

    # In training mode, since the fused attention of evaluation is not counted; batch norm then needs two images.
    images = torch.empty(2, 3, resolution_px, resolution_px, device="meta")
    with FlopCounterMode(display=False) as counter:
        skeleton(model, classes)(images)
    return counter.get_total_flops() / len(images) / 2e9


def try_out(spec: Spec, teacher: Spec | None = None) -> None:
    """Take one training step of a run, and its teacher's forward pass, on tensors that have shapes but no numbers.

    Raises:
        CrossresError: When a network cannot take such a batch, or returns anything but logits `[N, C]`.
    """
    views = [(spec, spec.view, "trained")]
    if teacher is not None:
        views.append((teacher, spec.teacher_view or spec.view, "used as a teacher"))
    for owner, view, use in views:
        batch = (spec.optimisation.batch_size, 3, view.resolution_px, view.resolution_px)
        if reason := _trial(owner.model, spec.dataset.classes, batch, owner is spec):
            problem = f"{owner.model.name} cannot be {use} on {batch[0]} images of {batch[-1]} px ({reason})"
            raise CrossresError(f"run {spec.run}: {problem}; choose another model, resolution_px or batch_size")


@functools.cache
def _trial(model: Model, classes: int, batch: tuple[int, ...], training: bool) -> str | None:
    """Return why a network fails on a batch; None where it works."""
    try:
        logits = skeleton(model, classes).train(training)(torch.empty(batch, device="meta"))
        if not isinstance(logits, Tensor) or logits.shape != (batch[0], classes):
            return f"it returns {getattr(logits, 'shape', type(logits).__name__)}, not logits {[batch[0], classes]}"
        logits.sum().backward()
    except Exception as error:  # of any network
        return " ".join(str(error).split())[:200] or type(error).__name__
    return None


def _torchvision(name: str, classes: int, load: Load) -> nn.Module:
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise CrossresError(f"torchvision has no classifier '{name}'{nearest(name, known)}")
    network = models.get_model(name)
    load(network)
    _replace_head(network, name, classes)
    return network


def _timm(name: str, classes: int, load: Load) -> nn.Module:
    import timm

    if not timm.is_model(name):
        raise CrossresError(f"timm has no model '{name}'{nearest(name, timm.list_models())}")
    network: Any = timm.create_model(name)
    load(network)
    network.reset_classifier(classes)
    return network


def _own(name: str, classes: int, load: Load) -> nn.Module:
    if name not in smallnet.SIZES:
        raise CrossresError(f"crossres has no model '{name}'{nearest(name, smallnet.SIZES)}")
    width, blocks, head = smallnet.SIZES[name]
    network = smallnet.SmallNet(width, blocks, head, classes)
    load(network)
    return network


def _load_pretrained(model: Model, weights: Path | None, network: nn.Module) -> None:
    if not model.pretrained:
        return
    if model.name.startswith("crossres/"):
        raise CrossresError(f"{model.name} has no ImageNet weights; set pretrained: false")
    if weights is None:
        raise CrossresError(f"model '{model.name}': its ImageNet weights are missing; run the rule `weights`")
    load_state(network, read_weights(model.name, weights), str(weights))


def _replace_head(network: nn.Module, name: str, classes: int) -> None:
    linear = [(path, module) for path, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise CrossresError(f"torchvision/{name}: ends in no linear layer that could be replaced")
    path, head = linear[-1]
    parent, _, child = path.rpartition(".")
    setattr(network.get_submodule(parent), child, nn.Linear(head.in_features, classes))
