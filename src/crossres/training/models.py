"""Networks by name, and their ImageNet weights."""

from __future__ import annotations

import contextlib
import http.client
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from crossres.base import CrossresError, nearest
from crossres.files import sha256, write_atomic
from crossres.suites.spec import Model
from crossres.training import smallnet
from crossres.training.fast_conv import plain


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
    if model.pretrained and weights is None:
        raise CrossresError(f"model '{model.name}': its ImageNet weights are missing; run the rule `weights`")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the devices' generators as well
        network = builders[library](name, classes, weights if model.pretrained else None)
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


def gmacs(network: nn.Module, resolution_px: int) -> float:
    """Return the multiply-accumulates of one image's forward pass, in units of 10⁹."""
    from torch.utils.flop_counter import FlopCounterMode  # imports triton, which nothing else needs

    device = next(network.parameters()).device
    with FlopCounterMode(display=False) as counter, plain(network), evaluating(network), torch.no_grad():
        network(torch.zeros(1, 3, resolution_px, resolution_px, device=device))
    return counter.get_total_flops() / 2e9


def fetch_weights(name: str, source: Path | None, output: Path) -> None:
    """Fetch the ImageNet weights of `torchvision/NAME` or `timm/NAME`, verify them and write the state dict.

    Args:
        name: The model.
        source: A folder that holds the file already: torchvision's own, whose name holds the beginning of its SHA-256,
            or `NAME.safetensors` for timm, which publishes no digests. None to download it.
        output: Where the state dict goes.

    Raises:
        CrossresError: When there are no such weights, or the file is missing, wrong or could not be downloaded.
    """
    library, _, base = name.partition("/")
    fetchers = {"torchvision": _torchvision_state, "timm": _timm_state}
    if library not in fetchers:
        raise CrossresError(f"model '{name}': no ImageNet weights are known; set pretrained: false")
    state = fetchers[library](base, source, output.parent)
    write_atomic(output, lambda file: torch.save(state, file))


def _torchvision_state(name: str, source: Path | None, cache: Path) -> dict[str, Tensor]:
    url = _weights_url(name)
    path = (source or cache) / Path(urlparse(url).path).name
    expected = path.stem.rsplit("-", 1)[1]
    if source is None and not path.is_file():
        _download(url, path, expected)
    if not path.is_file():
        raise CrossresError(f"{path}: no such file; it is served at {url}")
    digest = sha256(path)
    if not digest.startswith(expected):
        wrong = f"SHA-256 {digest[:8]}… should begin with {expected}"
        raise CrossresError(f"{path}: {wrong}; the file is wrong or cut short; move it away")
    return torch.load(path, weights_only=True)


def _weights_url(name: str) -> str:
    from torchvision.models import get_model_weights

    try:
        return get_model_weights(name)["IMAGENET1K_V1"].url
    except (ValueError, KeyError):
        raise CrossresError(f"torchvision has no ImageNet weights of '{name}'; set pretrained: false") from None


def _download(url: str, path: Path, sha256_prefix: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(path), sha256_prefix, progress=sys.stderr.isatty())
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        fix = "set `weights_dir` in the config to a folder that holds it, or `budget: {pretrained: false}`"
        raise CrossresError(f"{url}: could not be downloaded ({error}); {fix}") from None


def _timm_state(name: str, source: Path | None, cache: Path) -> dict[str, Tensor]:
    import timm

    overlay = None
    if source is not None:
        path = source / f"{name}.safetensors"
        if not path.is_file():
            raise CrossresError(f"{path}: no such file; put timm's weights of {name} there")
        overlay = {"file": str(path)}
    try:
        return timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay).state_dict()
    except (OSError, RuntimeError) as error:
        raise CrossresError(f"timm/{name}: its weights could not be fetched ({' '.join(str(error).split())})") from None


def _torchvision(name: str, classes: int, weights: Path | None) -> nn.Module:
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise CrossresError(f"torchvision has no classifier '{name}'{nearest(name, known)}")
    network = models.get_model(name)
    _load_pretrained(network, weights)
    _replace_head(network, name, classes)
    return network


def _timm(name: str, classes: int, weights: Path | None) -> nn.Module:
    import timm

    if not timm.is_model(name):
        raise CrossresError(f"timm has no model '{name}'{nearest(name, timm.list_models())}")
    network: Any = timm.create_model(name)
    _load_pretrained(network, weights)
    network.reset_classifier(classes)
    return network


def _own(name: str, classes: int, weights: Path | None) -> nn.Module:
    if name not in smallnet.SIZES:
        raise CrossresError(f"crossres has no model '{name}'{nearest(name, smallnet.SIZES)}")
    if weights is not None:
        raise CrossresError(f"crossres/{name} has no ImageNet weights; set pretrained: false")
    width, blocks, head = smallnet.SIZES[name]
    return smallnet.SmallNet(width, blocks, head, classes)


def _load_pretrained(network: nn.Module, weights: Path | None) -> None:
    if weights is None:
        return
    try:
        network.load_state_dict(torch.load(weights, weights_only=True))
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0][:120]
        raise CrossresError(
            f"{weights}: not the weights of this network ({reason}); run the rule `weights` again"
        ) from None


def _replace_head(network: nn.Module, name: str, classes: int) -> None:
    linear = [(path, module) for path, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise CrossresError(f"torchvision/{name}: ends in no linear layer that could be replaced")
    path, head = linear[-1]
    parent, _, child = path.rpartition(".")
    setattr(network.get_submodule(parent), child, nn.Linear(head.in_features, classes))
