"""In which settings runs differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from crossres.base import at_path
from crossres.suites.methods import METHODS
from crossres.suites.names import model_name, run_name
from crossres.suites.spec import Spec


def plain(value: object) -> str:
    """Return a setting as text: no trailing zeros, words for flags."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return " to ".join(plain(part) for part in value)
    return str(value).replace("_", " ")


class Setting(NamedTuple):
    """One line of the tables of settings."""

    group: str
    name: str
    path: str
    """Its dotted path in a spec."""
    only_if: str = ""
    """Path of a setting without which this one is not used."""

    def of(self, spec: Spec) -> object:
        """Return the setting of a spec, or None if the spec does not use it."""
        return None if self.only_if and not at_path(spec, self.only_if) else at_path(spec, self.path)

    @property
    def in_sentence(self) -> str:
        """The name within a sentence; a capital stays only in a proper name, as in `CE weight`."""
        proper = any(char.isupper() for char in self.name.split()[0][1:])
        return self.name if proper else self.name[:1].lower() + self.name[1:]


def _objective_settings() -> list[Setting]:
    """Return the hyperparameters of all methods, named by their titles."""
    fields = {name: field for method in METHODS for name, field in method.model_fields.items() if name != "method"}
    return [
        Setting("objective", field.title or plain(name).capitalize(), f"objective.{name}")
        for name, field in fields.items()
    ]


SETTINGS = (
    Setting("network", "Network", "model.name"),
    Setting("network", "ImageNet weights", "model.pretrained"),
    Setting("network", "First stride", "model.stem_stride"),
    Setting("network", "Own image side (px)", "view.resolution_px"),
    Setting("network", "Own images", "view.kind"),
    Setting("teacher", "Teacher", "teacher"),
    Setting("teacher", "Teacher's image side (px)", "teacher_view.resolution_px"),
    Setting("teacher", "Teacher's images", "teacher_view.kind"),
    Setting("augmentation", "Crop padding (px)", "augmentation.crop_padding_px"),
    Setting("augmentation", "Flip probability", "augmentation.flip_prob"),
    Setting("augmentation", "AutoAugment", "augmentation.auto_augment"),
    Setting("augmentation", "Erasing probability", "augmentation.erase_prob"),
    Setting("augmentation", "Erased share of area", "augmentation.erase_scale", "augmentation.erase_prob"),
    Setting("augmentation", "Erased aspect ratio", "augmentation.erase_ratio", "augmentation.erase_prob"),
    Setting("augmentation", "Share of batches mixed", "augmentation.mix_prob"),
    Setting("augmentation", "CutMix share of mixed", "augmentation.cutmix_share", "augmentation.mix_prob"),
    Setting("augmentation", "Mixup α", "augmentation.mixup_alpha", "augmentation.mix_prob"),
    Setting("augmentation", "CutMix α", "augmentation.cutmix_alpha", "augmentation.mix_prob"),
    Setting("objective", "Method", "objective.title"),
    *_objective_settings(),
    Setting("schedule", "Epochs planned", "optimisation.epochs"),
    Setting("schedule", "Schedule (epochs)", "optimisation.schedule_epochs", "optimisation.schedule_epochs"),
    Setting("schedule", "Batch size", "optimisation.batch_size"),
    Setting("schedule", "Peak learning rate", "optimisation.learning_rate"),
    Setting("schedule", "Weight decay", "optimisation.weight_decay"),
    Setting("schedule", "Decay matrices only", "optimisation.decay_matrices_only"),
    Setting("schedule", "Warm-up (epochs)", "optimisation.warmup_epochs"),
    Setting("schedule", "Patience (epochs)", "optimisation.patience_epochs"),
    Setting("schedule", "Gradient norm limit", "optimisation.grad_clip_norm"),
    Setting("schedule", "Autocast on CUDA", "optimisation.precision"),
    Setting("schedule", "Selection", "optimisation.select"),
    Setting("schedule", "Non-finite steps", "optimisation.nonfinite"),
)


class Difference(NamedTuple):
    """A setting that two runs use and in which they differ; as text: `epochs planned (200 / 300)`."""

    setting: Setting
    first: str
    second: str

    def __str__(self) -> str:
        return f"{self.setting.in_sentence} ({self.first} / {self.second})"


def setting_text(setting: Setting, run: str, specs: Mapping[str, Spec]) -> str | None:
    """Return a setting of a run as text, or None if the run does not use it."""
    spec = specs[run]
    value = setting.of(spec)
    if setting.path == "model.name":
        return model_name(spec)
    if setting.path == "teacher" and spec.teacher:
        return run_name(specs[spec.teacher]).removeprefix("teacher ")
    if value is None:
        return "off" if setting.group == "schedule" and not setting.only_if else None
    return plain(value)


def setting_texts(run: str, specs: Mapping[str, Spec]) -> list[str | None]:
    """Return every setting of a run as text, in the order of `SETTINGS`."""
    return [setting_text(setting, run, specs) for setting in SETTINGS]


def differences(first: str, second: str, specs: Mapping[str, Spec]) -> list[Difference]:
    """Return the settings in which two runs differ, in the order of `SETTINGS`.

    A setting that only one of them uses follows from another, such as the method, and is left out.
    """
    return differing(setting_texts(first, specs), setting_texts(second, specs))


def differing(first: Sequence[str | None], second: Sequence[str | None]) -> list[Difference]:
    """Return the differences of two runs from the texts of their settings."""
    found = []
    for setting, one, other in zip(SETTINGS, first, second, strict=True):
        if one == other:
            continue
        if setting.path == "teacher":
            one, other = one or "none", other or "none"
        if one is not None and other is not None:
            found.append(Difference(setting, one, other))
    return found


def differences_beside(factor: Sequence[str], first: str, second: str, specs: Mapping[str, Spec]) -> list[str]:
    """Return the differences of two runs, except in the settings of a factor: beginnings of their paths.

    Different teachers are left out, since the teachers can be compared themselves.
    """
    return [
        str(difference)
        for difference in differences(first, second, specs)
        if difference.setting.path != "teacher" and not difference.setting.path.startswith(tuple(factor))
    ]
