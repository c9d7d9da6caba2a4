"""ImageNet weights: fetched, adopted or taken from a package, checked, and kept as safetensors.

A file names its model, the SHA-256 of the file that it was made from, and the digest of its own tensors, which is
checked at each load.
"""

from __future__ import annotations

import http.client
import importlib.metadata
import json
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from crossres.base import CrossresError, Strict, canonical_json
from crossres.files import sha256, write_atomic
from crossres.suites.weights import PINNED, Pinned

State = dict[str, Tensor]


class Origin(Strict):
    """What a file of ImageNet weights says of itself."""

    model: str
    source_sha256: str
    """Digest of the file that it was made from, as it is published."""
    tensors_sha256: str


def fetch_weights(name: str, source: Path | None, output: Path) -> str:
    """Write the ImageNet weights of `torchvision/NAME` or `timm/NAME`, and return how far they were verified.

    Args:
        name: The model.
        source: A folder that holds the file already: torchvision's own, whose name holds the beginning of its SHA-256,
            or `NAME.safetensors` for timm. None to download it. Weights that a package brings are taken from there.
        output: Where the state dict goes.

    Raises:
        CrossresError: When there are no such weights, or the file is missing, wrong or could not be downloaded.
    """
    library, _, base = name.partition("/")
    if library not in ("torchvision", "timm"):
        raise CrossresError(f"model '{name}': no ImageNet weights are known; set pretrained: false")
    pinned = PINNED.get(name)
    if pinned and pinned.package:
        path = _packaged_file(pinned.package)
    else:
        path = (_torchvision_file if library == "torchvision" else _timm_file)(base, source, output.parent)
    digest, verified = sha256(path), "verified" if pinned else "recorded, since none is published to compare it with"
    expected = pinned.sha256 if pinned else ""
    if library == "torchvision" and not pinned:
        expected = path.stem.rsplit("-", 1)[1]
        verified = f"verified by the {len(expected)} digits that are published"
    if not digest.startswith(expected):
        wrong = f"SHA-256 {digest[:8]}… should begin with {expected[:8]}"
        raise CrossresError(f"{path}: {wrong}; the file is wrong or cut short; move it away")
    state = _loaded(name, path, pinned)
    origin = Origin(model=name, source_sha256=digest, tensors_sha256=sha256(save(state)))
    write_atomic(output, save(state, {"crossres": canonical_json(origin.model_dump())}))
    return f"SHA-256 {digest} {verified}"


def read_weights(name: str, path: Path) -> State:
    """Read a file that `fetch_weights` wrote.

    Raises:
        CrossresError: When it is missing or damaged, or holds the weights of another model.
    """
    fix = "run the rule `weights` again"
    try:
        origin, state = read_origin(name, path), load_file(path)
    except Exception as error:  # of the file system, of safetensors, of JSON
        raise CrossresError(f"{path}: not the ImageNet weights of {name} ({_one_line(error)}); {fix}") from None
    if origin is None:
        raise CrossresError(f"{path}: not a file that `crossres weights` wrote; {fix}")
    pinned = PINNED.get(name)
    if sha256(save(state)) != origin.tensors_sha256 or (pinned and pinned.sha256 != origin.source_sha256):
        raise CrossresError(f"{path}: not the weights that were verified, by their SHA-256; delete it and {fix}")
    return state


def read_origin(name: str, path: Path) -> Origin | None:
    """Return what a file of ImageNet weights says of itself; None where another program wrote it.

    Raises:
        CrossresError: When it is of another model. timm's plain EfficientNet-Lite would load the weights of its `tf_`
            ones, and compute other logits, with another padding and epsilon.
    """
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    if "crossres" not in metadata:
        return None
    origin = Origin.parse(json.loads(metadata["crossres"]), "its description")
    if origin.model != name:
        raise CrossresError(f"weights of {origin.model}")
    return origin


def load_state(network: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Load a whole state dict of the network's own types.

    Raises:
        CrossresError: When a tensor is missing, left over, or of another shape or type.
    """
    for name, own in network.state_dict().items():
        if name in state and state[name].is_floating_point() != own.is_floating_point():
            raise CrossresError(f"{where}: {name} is {state[name].dtype}, not {own.dtype}")
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise CrossresError(f"{where}: {_one_line(error).partition(': ')[2]}") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _packaged_file(package: str) -> Path:
    try:
        found = importlib.metadata.files(package) or []
        return next(Path(str(entry.locate())) for entry in found if entry.suffix == ".pth")
    except (importlib.metadata.PackageNotFoundError, StopIteration):
        raise CrossresError(f"{package}: the package with the weights is not installed; run `make setup`") from None


def _torchvision_file(name: str, source: Path | None, cache: Path) -> Path:
    from torchvision.models import get_model_weights

    try:
        url = get_model_weights(name)["IMAGENET1K_V1"].url
    except (ValueError, KeyError):
        raise CrossresError(f"torchvision has no ImageNet weights of '{name}'; set pretrained: false") from None
    path = (source or cache) / Path(urlparse(url).path).name
    if source is None and not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), path.stem.rsplit("-", 1)[1], progress=sys.stderr.isatty())
        except (OSError, RuntimeError, http.client.HTTPException) as error:
            raise _not_downloaded(url, error) from None
    if not path.is_file():
        raise CrossresError(f"{path}: no such file; it is served at {url}")
    return path


def _timm_file(name: str, source: Path | None, cache: Path) -> Path:
    from huggingface_hub import hf_hub_download
    from timm.models import get_pretrained_cfg

    if source is not None:
        path = source / f"{name}.safetensors"
        if not path.is_file():
            raise CrossresError(f"{path}: no such file; put timm's weights of {name} there")
        return path
    found = get_pretrained_cfg(name)
    if found is None or not found.hf_hub_id:
        raise CrossresError(f"timm has no ImageNet weights of '{name}'; set pretrained: false")
    try:
        return Path(hf_hub_download(found.hf_hub_id, found.hf_hub_filename or "model.safetensors"))
    except Exception as error:  # of the network, of the hub
        raise _not_downloaded(f"timm/{name}", error) from None


def _not_downloaded(what: str, error: Exception) -> CrossresError:
    fix = "set `weights_dir` in the config to a folder that holds it, or `budget: {pretrained: false}`"
    return CrossresError(f"{what}: could not be downloaded ({_one_line(error)}); {fix}")


def _loaded(name: str, path: Path, pinned: Pinned | None) -> State:
    """Load a file of published weights through its library, and return the state dict of the library's network."""
    library, _, base = name.partition("/")
    try:
        if path.suffix == ".safetensors":
            read_origin(name, path)
            raw = load_file(path)
        else:
            raw = torch.load(path, weights_only=True)
        if pinned and pinned.package:
            raw = _as_timm_names(raw, base)
        loaded = _through_torchvision(base, path) if library == "torchvision" else _through_timm(base, dict(raw))
        wrong = next((key for key, own in loaded.items() if key in raw and _is_rounded(raw[key], own)), None)
        if wrong is not None:
            raise CrossresError(f"{wrong} is {raw[wrong].dtype}, not {loaded[wrong].dtype}")
    except Exception as error:  # a file of any content: of safetensors, pickle, torch or the library
        raise CrossresError(f"{path}: not the ImageNet weights of {name} ({_one_line(error)})") from None
    return loaded


def _is_rounded(given: Tensor, own: Tensor) -> bool:
    return own.is_floating_point() and not given.is_floating_point()


def _through_torchvision(name: str, path: Path) -> State:
    """Let torchvision load its file, which it looks for in the cache of torch.hub; it renames the keys of some.

    It unpickles without a check, so the file has to be one that `torch.load(weights_only=True)` accepts.
    """
    from torchvision.models import get_model

    before = torch.hub.get_dir()
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Path(folder) / "checkpoints"
        checkpoints.mkdir()
        (checkpoints / path.name).symlink_to(path.absolute())
        torch.hub.set_dir(folder)
        try:
            return get_model(name, weights="IMAGENET1K_V1").state_dict()
        finally:
            torch.hub.set_dir(before)


def _through_timm(name: str, state: State) -> State:
    import timm

    return timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"state_dict": state}).state_dict()


TOP = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
FIRST_STAGE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
STAGES = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def _as_timm_names(state: State, name: str) -> State:
    """Rename the keys of an EfficientNet-Lite as its package has them to timm's."""
    import timm

    with torch.device("meta"):
        network: Any = timm.create_model(name)
    blocks = [(stage, block) for stage, blocks in enumerate(network.blocks) for block in range(len(blocks))]

    def renamed(key: str) -> str:
        if found := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key):
            stage, block = blocks[int(found[1])]
            return f"blocks.{stage}.{block}.{(STAGES if stage else FIRST_STAGE)[found[2]]}.{found[3]}"
        part, _, leaf = key.partition(".")
        return f"{TOP[part]}.{leaf}"

    return {renamed(key): tensor for key, tensor in state.items()}
