"""Networks by name: sizes, heads, seeds, names, and ImageNet weights."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from crossres.base import CrossresError
from crossres.suites.spec import Model
from crossres.training import smallnet
from crossres.training.models import build, fetch_weights, gmacs, parameter_count

pytestmark = pytest.mark.usefixtures("one_thread")
STUDENT = "torchvision/efficientnet_v2_s"
TINY = "crossres/tiny_student"
TINY_TIMM = "timm/test_efficientnet"


def network_of(name: str, classes: int = 100, seed: int = 1) -> nn.Module:
    return build(Model(name=name), classes, seed)


@pytest.fixture(scope="session")
def student() -> nn.Module:
    return network_of(STUDENT)


@pytest.fixture(scope="session")
def teacher() -> nn.Module:
    """Return the thesis's teacher with weights that were never filled in: only its shapes are looked at."""
    with torch.device("meta"):
        return network_of("torchvision/efficientnet_v2_l")


def assert_same_weights(one: nn.Module, other: nn.Module) -> None:
    torch.testing.assert_close(dict(one.state_dict()), dict(other.state_dict()), rtol=0, atol=0)


# ------------------------------------------------------------------------------------------------- sizes and shapes


def test_parameters_are_those_of_the_thesis(student: nn.Module, teacher: nn.Module) -> None:
    assert parameter_count(teacher) == 117_362_372
    assert parameter_count(student) == 20_305_588


@pytest.mark.parametrize(("name", "parameters"), [("tiny_teacher", 469_764), ("tiny_student", 55_624)])
def test_parameters_of_the_small_networks(name: str, parameters: int) -> None:
    assert parameter_count(network_of(f"crossres/{name}", classes=20)) == parameters


def test_multiply_accumulates_are_those_of_the_thesis(student: nn.Module, teacher: nn.Module) -> None:
    measured = [round(gmacs(network, size), 3) for network in (teacher, student) for size in (32, 64)]
    assert measured == [0.271, 1.019, 0.062, 0.236]


def test_multiply_accumulates_by_hand() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, stride=2), nn.Flatten(), nn.Linear(8 * 16 * 16, 10))
    assert gmacs(network, 32) * 1e9 == 16 * 16 * 8 * 3 * 9 + 8 * 16 * 16 * 10


def test_counting_leaves_the_network_as_it_was() -> None:
    network = network_of(TINY)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    gmacs(network, 32)
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    gmacs(network.eval(), 32)
    assert not network.training


@pytest.mark.parametrize(("name", "channels", "stride"), [(STUDENT, 1280, 32), (TINY, 128, 16)])
def test_the_last_feature_map_has_the_total_stride(name: str, channels: int, stride: int) -> None:
    network = network_of(name).eval()
    for size_px in (32, 64):
        with torch.no_grad():
            features = network.features(torch.zeros(1, 3, size_px, size_px))  # type: ignore[operator]
        assert features.shape == (1, channels, size_px // stride, size_px // stride)


@pytest.mark.parametrize(("name", "size_px"), [(TINY, 32), ("torchvision/efficientnet_v2_s", 32)])
def test_a_first_stride_of_1_gives_the_maps_of_twice_the_side(name: str, size_px: int) -> None:
    usual, finer = (build(Model(name=name, stem_stride=stride), 10, seed=1).eval() for stride in (None, 1))
    images = torch.zeros(1, 3, size_px, size_px)
    with torch.no_grad():
        small, wide = (network.features(images).shape[-1] for network in (usual, finer))  # type: ignore[operator]
        doubled = usual.features(torch.zeros(1, 3, 2 * size_px, 2 * size_px)).shape[-1]  # type: ignore[operator]
    assert wide == doubled == 2 * small
    assert all(torch.equal(one, other) for one, other in zip(usual.parameters(), finer.parameters(), strict=True))


def test_a_first_stride_that_cannot_be_set_is_refused() -> None:
    with pytest.raises(CrossresError, match=r"stem_stride 3: the first convolution of .* has stride 2"):
        build(Model(name=TINY, stem_stride=3), 10, 1)


def test_small_network_against_its_description() -> None:
    """A stem, four stages of fused blocks with shortcuts where the shape allows, a 1×1 head, a mean, a linear layer."""
    network = network_of("crossres/tiny_teacher", classes=20).eval()
    blocks = [module for module in network.modules() if isinstance(module, smallnet.FusedBlock)]
    assert [block.shortcut for block in blocks] == [True, False, True, False, True, True, False, True, True]
    images = torch.rand(2, 3, 32, 32)
    features = network.features[0](images)  # type: ignore[index]
    for block in blocks:
        features = block.body(features) + (features if block.shortcut else 0)
    pooled = network.features[-1](features).mean((2, 3))  # type: ignore[index]
    torch.testing.assert_close(network(images), network.classifier(pooled))  # type: ignore[operator]


# --------------------------------------------------------------------------------------------------- seeds and heads


@pytest.mark.parametrize("name", [TINY, TINY_TIMM, "torchvision/mobilenet_v3_small"])
def test_same_seed_same_weights_whatever_the_global_generator(name: str) -> None:
    torch.manual_seed(5)
    one = network_of(name)
    torch.manual_seed(6)
    before = torch.get_rng_state()
    assert_same_weights(one, network_of(name))
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(AssertionError):
        assert_same_weights(one, network_of(name, seed=2))


@pytest.mark.parametrize("name", [STUDENT, TINY, TINY_TIMM, "torchvision/resnet18", "torchvision/densenet121"])
def test_the_head_has_the_classes(name: str) -> None:
    network = network_of(name, classes=7).eval()
    with torch.no_grad():
        assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 7)


def test_only_the_head_is_replaced() -> None:
    from torchvision.models import mobilenet_v3_small

    own, original = network_of("torchvision/mobilenet_v3_small").state_dict(), mobilenet_v3_small().state_dict()
    assert own.keys() == original.keys()
    assert [name for name in own if own[name].shape != original[name].shape] == [
        "classifier.3.weight",
        "classifier.3.bias",
    ]


def test_a_network_without_a_linear_head_is_refused() -> None:
    with pytest.raises(CrossresError, match="squeezenet1_1: ends in no linear layer"):
        network_of("torchvision/squeezenet1_1")


# ------------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torchvision/efficientnet_v2_x", r"no classifier 'efficientnet_v2_x'; did you mean 'efficientnet_v2_"),
        ("torchvision/fcn_resnet50", r"no classifier 'fcn_resnet50'; did you mean '\w*resnet"),
        ("timm/resnet19", r"timm has no model 'resnet19'; did you mean 'resnet1"),
        ("crossres/tiny_studnet", r"no model 'tiny_studnet'; did you mean 'tiny_student'"),
        ("torchvison/resnet18", r"write LIBRARY/NAME; did you mean 'torchvision'"),
        ("resnet18", r"write LIBRARY/NAME; known: crossres, timm, torchvision"),
        ("timm/", r"write LIBRARY/NAME"),
    ],
)
def test_an_unknown_name_names_the_nearest(name: str, message: str) -> None:
    with pytest.raises(CrossresError, match=message):
        network_of(name)


# --------------------------------------------------------------------------------------------------- ImageNet weights


PRETRAINED = Model(name="torchvision/mobilenet_v3_small", pretrained=True)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let a small file pass for the ImageNet weights of every torchvision model, and return it."""
    original = tmp_path / "weights.pth"
    torch.save({"weight": torch.arange(3.0)}, original)
    digest = hashlib.sha256(original.read_bytes()).hexdigest()
    path = tmp_path / "served" / f"net-{digest[:8]}.pth"
    path.parent.mkdir()
    original.rename(path)
    entry = SimpleNamespace(url=path.as_uri())
    monkeypatch.setattr("torchvision.models.get_model_weights", lambda name: {"IMAGENET1K_V1": entry})
    return path


@pytest.mark.parametrize("adopted", [True, False])
def test_weights_are_adopted_or_downloaded(adopted: bool, served: Path, tmp_path: Path) -> None:
    output = tmp_path / "data" / "weights" / "net.pth"
    fetch_weights("torchvision/net", served.parent if adopted else None, output)
    state = torch.load(output, weights_only=True)
    assert list(state) == ["weight"]
    assert torch.equal(state["weight"], torch.arange(3.0))


def test_wrong_weights_are_refused(served: Path, tmp_path: Path) -> None:
    served.write_bytes(served.read_bytes()[:-1])
    output = tmp_path / "net.pth"
    with pytest.raises(CrossresError, match=r"SHA-256 \w{8}… should begin with \w{8}; the file is wrong or cut short"):
        fetch_weights("torchvision/net", served.parent, output)
    with pytest.raises(CrossresError, match=r"could not be downloaded \(invalid hash value.*`weights_dir`") as caught:
        fetch_weights("torchvision/net", None, output)
    assert "\n" not in str(caught.value)
    assert not output.exists()
    assert list(tmp_path.rglob("*.pth")) == [served]


def test_a_wrong_file_in_the_download_cache_is_not_trusted(served: Path, tmp_path: Path) -> None:
    output = tmp_path / "cache" / "net.pth"
    output.parent.mkdir()
    torch.save({"weight": torch.zeros(3)}, output.parent / served.name)
    with pytest.raises(CrossresError, match="the file is wrong or cut short"):
        fetch_weights("torchvision/net", None, output)
    assert not output.exists()


def test_missing_weights_are_named(served: Path, tmp_path: Path) -> None:
    served.unlink()
    with pytest.raises(CrossresError, match=rf"{served.name}: no such file; it is served at file:"):
        fetch_weights("torchvision/net", served.parent, tmp_path / "net.pth")
    with pytest.raises(CrossresError, match=r"could not be downloaded.*`weights_dir` in the config"):
        fetch_weights("torchvision/net", None, tmp_path / "net.pth")
    with pytest.raises(CrossresError, match="its ImageNet weights are missing; run the rule `weights`"):
        build(PRETRAINED, 10, 1)
    with pytest.raises(CrossresError, match="tiny_student has no ImageNet weights; set pretrained: false"):
        build(Model(name=TINY, pretrained=True), 10, 1, tmp_path / "any.pth")


@pytest.mark.parametrize("name", ["torchvision/efficientnet_v2_x", "crossres/tiny_student", "torchvision/fcn_resnet50"])
def test_a_network_without_imagenet_weights_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(CrossresError, match="ImageNet weights"):
        fetch_weights(name, None, tmp_path / "net.pth")


@pytest.mark.parametrize("name", ["torchvision/mobilenet_v3_small", TINY_TIMM])
def test_pretrained_weights_are_loaded_and_the_head_is_not(name: str, tmp_path: Path) -> None:
    original = network_of(name, classes=1000, seed=3)
    weights = tmp_path / "net.pth"
    torch.save(original.state_dict(), weights)
    network = build(Model(name=name, pretrained=True), 10, seed=4, weights=weights)
    loaded, expected = network.state_dict(), original.state_dict()
    head = {key for key in loaded if loaded[key].shape != expected[key].shape}
    assert {key.split(".")[0] for key in head} == {"classifier"}
    assert all(torch.equal(loaded[key], expected[key]) for key in loaded.keys() - head)
    again = build(Model(name=name, pretrained=True), 10, seed=4, weights=weights)
    assert_same_weights(network, again)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def of_another_network(path: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, path)


@pytest.mark.parametrize("damage", [truncated, of_another_network, Path.unlink])
def test_weights_that_do_not_fit_are_refused(damage: Any, tmp_path: Path) -> None:
    weights = tmp_path / "net.pth"
    torch.save(network_of(PRETRAINED.name, classes=1000).state_dict(), weights)
    damage(weights)
    with pytest.raises(CrossresError, match=r"net\.pth: not the weights of this network \(.*run the rule") as caught:
        build(PRETRAINED, 10, 1, weights)
    assert "\n" not in str(caught.value)


def test_timms_weights_are_adopted_from_a_folder(tmp_path: Path) -> None:
    import timm
    from safetensors.torch import save_file

    name = TINY_TIMM.removeprefix("timm/")
    with torch.random.fork_rng(devices=[]):
        theirs = timm.create_model(name)
    with pytest.raises(CrossresError, match=f"{name}.safetensors: no such file"):
        fetch_weights(TINY_TIMM, tmp_path, tmp_path / "weights.pth")
    save_file(theirs.state_dict(), tmp_path / f"{name}.safetensors")
    fetch_weights(TINY_TIMM, tmp_path, tmp_path / "weights.pth")
    ours = build(Model(name=TINY_TIMM, pretrained=True), 7, 1, tmp_path / "weights.pth")
    head = {"classifier.weight", "classifier.bias"}
    for key, value in theirs.state_dict().items():
        assert key in head or torch.equal(ours.state_dict()[key], value), key
    assert ours.state_dict()["classifier.weight"].shape[0] == 7
