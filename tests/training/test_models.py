"""Networks by name: sizes, heads, seeds and names."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from crossres import files
from crossres.base import CrossresError
from crossres.suites.spec import Model, Spec
from crossres.suites.suite import load_suite, merge
from crossres.training import smallnet
from crossres.training.models import build, gmacs, parameter_count, try_out

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


@pytest.mark.parametrize(
    ("name", "classes", "size_px", "known"),
    [
        ("torchvision/efficientnet_v2_l", 100, 32, 0.271),  # the first four are the thesis's
        ("torchvision/efficientnet_v2_l", 100, 64, 1.019),
        ("torchvision/efficientnet_v2_s", 100, 32, 0.062),
        ("torchvision/efficientnet_v2_s", 100, 64, 0.236),
        ("torchvision/vit_b_32", 1000, 224, 4.409),  # the others torchvision's own, attention included
        ("torchvision/swin_t", 1000, 224, 4.491),
    ],
)
def test_multiply_accumulates_are_the_published_ones(name: str, classes: int, size_px: int, known: float) -> None:
    assert round(gmacs(Model(name=name), classes, size_px), 3) == known


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
    ],
)
def test_an_unknown_name_names_the_nearest(name: str, message: str) -> None:
    with pytest.raises(CrossresError, match=message):
        network_of(name)


# ------------------------------------------------------------------------------------------------------ a trial step


DEMO = load_suite(files.suite_file("demo"))


def run_of(model: str, size_px: int, batch_size: int = 32, run: str = "teacher_32") -> Spec:
    changes = {
        "model": {"name": model},
        "view": {"resolution_px": size_px, "kind": "resized"},
        "optimisation": {"batch_size": batch_size},
    }
    return Spec.parse(merge(DEMO.resolve(run, 1).model_dump(), changes), run)


@pytest.mark.parametrize(
    ("model", "size_px", "batch_size", "reason"),
    [
        ("timm/vit_tiny_patch16_224", 32, 32, r"height \(32\) doesn't match model \(224\)"),
        ("torchvision/vit_b_16", 32, 32, "Expected 224 but got 32"),
        ("torchvision/alexnet", 32, 32, "Output size is too small"),
        ("torchvision/inception_v3", 299, 2, "it returns InceptionOutputs, not logits"),
        ("torchvision/googlenet", 64, 2, "it returns GoogLeNetOutputs, not logits"),
        ("timm/tf_efficientnet_lite0", 32, 1, "Expected more than 1 value per channel"),
    ],
)
def test_a_network_that_cannot_run_is_named_before_anything_is_trained(
    model: str, size_px: int, batch_size: int, reason: str
) -> None:
    spec = run_of(model, size_px, batch_size)
    with pytest.raises(
        CrossresError, match=rf"^run teacher_32: {model} cannot be trained .*{reason}.*; choose"
    ) as caught:
        try_out(spec)
    assert "\n" not in str(caught.value)


def test_a_teacher_that_cannot_see_the_student_s_batch_is_named() -> None:
    teacher, student = run_of("timm/vit_tiny_patch16_224", 224), run_of(TINY, 32, run="kd_32")
    try_out(teacher)
    with pytest.raises(CrossresError, match="^run kd_32: timm/vit_tiny_patch16_224 cannot be used as a teacher"):
        try_out(student, teacher)


@pytest.mark.parametrize("size_px", [32, 64])
@pytest.mark.parametrize("model", [TINY, STUDENT, "timm/tf_efficientnet_lite0", "timm/test_efficientnet"])
def test_a_network_that_can_run_is_let_pass(model: str, size_px: int) -> None:
    try_out(run_of(model, size_px), run_of(model, size_px))
