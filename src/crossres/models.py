"""Networks by name: torchvision's, timm's and two small ones of our own.  Layer L1."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import urlparse

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from crossres.schema import CrossresError, nearest
from crossres.spec import Model


def build(model: Model, classes: int, seed: int, weights: Path | None = None) -> nn.Module:
    """Build a network with a fresh head.

    Args:
        model: Architecture by name, and whether it starts from ImageNet weights.
        classes: Outputs of the head.
        seed: Seed of every weight that is not loaded; the global generator is left as it was.
        weights: State dict of the ImageNet weights, as `fetch_weights` left it; needed when `model.pretrained`.

    Returns:
        The network, in training mode, on the CPU.

    Raises:
        CrossresError: For an unknown name, naming the nearest, or when the weights are missing.
    """
    library, _, name = model.name.partition("/")
    builders = {"torchvision": _torchvision, "timm": _timm, "crossres": _own}
    if library not in builders or not name:
        raise CrossresError(f"model '{model.name}': write LIBRARY/NAME{nearest(library, builders)}")
    if model.pretrained and weights is None:
        raise CrossresError(f"model '{model.name}': its ImageNet weights are missing; run the rule `weights`")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return builders[library](name, classes, weights if model.pretrained else None)


def parameter_count(network: nn.Module) -> int:
    """Return the number of trainable parameters, head included."""
    return sum(parameter.numel() for parameter in network.parameters())


def gmacs(network: nn.Module, resolution_px: int) -> float:
    """Return the multiply-accumulates of one image's forward pass, in units of 10⁹."""
    device = next(network.parameters()).device
    was_training = network.training
    network.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, resolution_px, resolution_px, device=device))
    network.train(was_training)
    return counter.get_total_flops() / 2e9


def fetch_weights(name: str, source: Path | None, output: Path) -> None:
    """Fetch a model's ImageNet weights once, and verify them.

    Args:
        name: `torchvision/NAME` or `timm/NAME`.
        source: A folder to adopt the file from instead of downloading it.
        output: Where the state dict goes.

    Raises:
        CrossresError: When the file is neither there nor to be downloaded, or its digest is wrong.
    """
    library, _, base = name.partition("/")
    if library == "timm":
        state = _timm_state(base)
    else:
        state = _torchvision_state(base, source, output.parent)
    output.parent.mkdir(parents=True, exist_ok=True)
    part = output.with_suffix(".part")
    torch.save(state, part)
    part.replace(output)


def _torchvision_state(name: str, source: Path | None, cache: Path) -> dict[str, Tensor]:
    from torchvision.models import get_model_weights

    weights = get_model_weights(name)["IMAGENET1K_V1"]
    file = Path(urlparse(weights.url).path).name
    if source is None:
        try:
            return torch.hub.load_state_dict_from_url(weights.url, str(cache), check_hash=True, weights_only=True)
        except (OSError, RuntimeError) as error:
            hint = "set `weights_dir` in the config to a folder that holds it, or `budget: {pretrained: false}`"
            raise CrossresError(f"{weights.url}: could not be downloaded ({error}); {hint}") from None
    path = source / file
    if not path.is_file():
        raise CrossresError(f"{path}: no such file; it is served at {weights.url}")
    expected = path.stem.rsplit("-", 1)[1]
    with open(path, "rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    if not digest.startswith(expected):
        raise CrossresError(f"{path}: SHA-256 {digest[:8]}… should begin with {expected}; the file is wrong or cut short")
    return torch.load(path, weights_only=True)


def _timm_state(name: str) -> dict[str, Tensor]:
    import timm

    try:
        return timm.create_model(name, pretrained=True).state_dict()
    except (OSError, RuntimeError) as error:
        raise CrossresError(f"timm/{name}: its weights could not be fetched ({' '.join(str(error).split())})") from None


def _torchvision(name: str, classes: int, weights: Path | None) -> nn.Module:
    from torchvision.models import get_model, list_models

    if name not in list_models():
        raise CrossresError(f"torchvision has no model '{name}'{nearest(name, list_models())}")
    network = get_model(name)
    if weights is not None:
        network.load_state_dict(torch.load(weights, weights_only=True))
    _replace_head(network, classes)
    return network


def _timm(name: str, classes: int, weights: Path | None) -> nn.Module:
    import timm

    if not timm.is_model(name):
        raise CrossresError(f"timm has no model '{name}'{nearest(name, timm.list_models())}")
    network = timm.create_model(name)
    if weights is not None:
        network.load_state_dict(torch.load(weights, weights_only=True))
    network.reset_classifier(classes)
    return network


def _own(name: str, classes: int, weights: Path | None) -> nn.Module:
    if name not in SMALL:
        raise CrossresError(f"crossres has no model '{name}'{nearest(name, SMALL)}")
    if weights is not None:
        raise CrossresError(f"crossres/{name} has no ImageNet weights; set pretrained: false")
    width, blocks, head = SMALL[name]
    return SmallNet(width, blocks, head, classes)


def _replace_head(network: nn.Module, classes: int) -> None:
    path, head = [(path, module) for path, module in network.named_modules() if isinstance(module, nn.Linear)][-1]
    parent, _, child = path.rpartition(".")
    setattr(network.get_submodule(parent), child, nn.Linear(head.in_features, classes))


# Width of the stem, fused blocks in each of the four stages, width of the head.
SMALL = {"tiny_student": (12, (1, 1, 1, 1), 128), "tiny_teacher": (20, (1, 2, 2, 2), 192)}


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
        for multiple, count, first_stride, expansion in zip(self.WIDTHS, blocks, self.STRIDES, self.EXPANSIONS, strict=True):
            for position in range(count):
                layers.append(FusedBlock(channels, width * multiple, first_stride if position == 0 else 1, expansion))
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


def _convolution(channels: int, out_channels: int, kernel: int, stride: int = 1, activation: bool = True) -> nn.Sequential:
    convolution = nn.Conv2d(channels, out_channels, kernel, stride, kernel // 2, bias=False)
    layers: list[nn.Module] = [convolution, nn.BatchNorm2d(out_channels)]
    return nn.Sequential(*layers, nn.SiLU(inplace=True)) if activation else nn.Sequential(*layers)
