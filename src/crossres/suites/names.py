"""The names of a run, its method, its network and its recipe in text."""

from __future__ import annotations

from crossres.suites.spec import Spec
from crossres.suites.weights import PINNED


def run_name(spec: Spec) -> str:
    """Name a run as the prose does: `v2`, `teacher 32 px` for `teacher_32`, or its key."""
    if spec.run == f"teacher_{spec.view.resolution_px}":
        return f"teacher {spec.view.resolution_px}\u00a0px"
    return spec.thesis_id if spec.thesis_id and spec.teacher else spec.run


def method_name(spec: Spec) -> str:
    """Name a run's method as tables and legends do: `DKD (β = 8)`."""
    title, variant = spec.objective.title, spec.objective.variant
    return f"{title} ({variant})" if variant else title


def resolution_name(spec: Spec) -> str:
    """Name a run's resolutions: `32` px, or `64→32` where the teacher sees more pixels than the student."""
    own = f"{spec.view.resolution_px}"
    if spec.teacher_view is None or spec.teacher_view.resolution_px == spec.view.resolution_px:
        return own
    return f"{spec.teacher_view.resolution_px}→{own}"


def model_name(spec: Spec) -> str:
    """Name a model as the literature does: `EfficientNetV2-L`."""
    base = spec.model.name.split("/")[-1]
    return {
        "efficientnet_v2_l": "EfficientNetV2-L",
        "efficientnet_v2_s": "EfficientNetV2-S",
        "tf_efficientnet_lite0": "EfficientNet-Lite0",
        "tf_efficientnet_lite1": "EfficientNet-Lite1",
        "tf_efficientnet_lite2": "EfficientNet-Lite2",
        "tiny_teacher": "Tiny teacher",
        "tiny_student": "Tiny student",
    }.get(base, base)


def initial_weights(spec: Spec) -> str:
    """Name the weights that a run starts from, with the licence that their package declares."""
    if not spec.model.pretrained:
        return "random weights"
    pinned = PINNED.get(spec.model.name)
    package = f" of the package {pinned.package} ({pinned.licence})" if pinned and pinned.package else ""
    return f"ImageNet weights{package}"


def recipe_name(spec: Spec) -> str:
    """Name the augmentation as the thesis does: `basic`, or `strong` with AutoAugment and RandomErasing."""
    augmentation = spec.augmentation
    strong = (augmentation.auto_augment != "none", augmentation.erase_prob > 0)
    return {(False, False): "basic", (True, True): "strong"}.get(strong, "custom")
