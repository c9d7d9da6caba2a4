"""The experimental setup: networks, data, augmentation, the teachers' views, selection and objectives."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from crossres.report.facts import Facts
from crossres.report.latex import Latex, escape
from crossres.report.numbers import Number
from crossres.suites.methods import METHODS
from crossres.suites.names import model_name, recipe_name
from crossres.suites.spec import View

ROLE_WORDS = {"teacher": "teachers", "student": "students", "alone": "networks that learn from the labels alone"}
REPORTED_EPOCH = {
    "best_on_test": ("the one with the best accuracy on the test set", "best accuracy on the TEST set"),
    "best_on_validation": (
        "the one with the best accuracy on the held-out validation images",
        "best accuracy on the validation images",
    ),
    "last": ("the last", "last epoch"),
}
"""What a selection rule reports, as the object of a sentence and as an entry of a list."""


class NetworkKind(NamedTuple):
    """Networks of one architecture and role."""

    who: str
    """Their role, as the subject of a sentence."""
    model: str
    parameters: Number
    start: str
    """Where their weights come from: `ImageNet` or `random`."""
    runs: list[str]


class CrossResolutionView(NamedTuple):
    """A student whose teacher sees other pixels than it does."""

    run: str
    own_px: int
    """Side of the student's images."""
    seen: View
    """How the teacher sees the student's batch."""
    trained: View
    """How the teacher saw images in its own training."""


class Selection(NamedTuple):
    """A rule by which the reported epoch is selected."""

    rule: str
    runs: list[str]
    epoch: str
    title: str


class DataFacts(NamedTuple):
    """The data set, as the records' specs cut it; counts are printed."""

    key: str
    title: str
    format: str
    """What is said of the format of a generated set; empty otherwise."""
    citation: str
    classes: int
    train: str
    test: str
    validation: str
    """Empty when none are held out."""


class Setup:
    """How the runs of a suite were set up."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        specs = facts.specs.values()
        self.auto_augment = any(spec.augmentation.auto_augment != "none" for spec in specs)
        self.erase = any(spec.augmentation.erase_prob > 0 for spec in specs)
        self.mix = any(spec.augmentation.mix_prob > 0 for spec in specs)
        self.smoothing = any(spec.objective.label_smoothing > 0 for spec in specs)
        self.both_recipes = {recipe_name(spec) for spec in specs} >= {"basic", "strong"}

    @property
    def data(self) -> DataFacts:
        dataset = self.facts.records[0].spec.dataset
        whole = dataset.info
        train, test = dataset.train_images or whole.train_images, dataset.test_images or whole.test_images
        validation = f"{dataset.validation_images:,}" if dataset.validation_images else ""
        file_format = ", in the file format of CIFAR-100" if whole.generator else ""
        counts = (whole.classes, f"{train:,}", f"{test:,}", validation)
        return DataFacts(dataset.name, whole.title, file_format, whole.citation, *counts)

    @property
    def networks(self) -> list[NetworkKind]:
        """The kinds of network, with the runs of each."""

        def kind(run: str) -> tuple[str, str, Number, bool]:
            facts, spec = self.facts, self.facts.spec(run)
            return facts.value(run, "role"), model_name(spec), facts.value(run, "parameters"), spec.model.pretrained

        found = []
        for runs, (role, model, parameters, pretrained) in _grouped(self.facts.runs(), kind):
            start = "ImageNet" if pretrained else "random"
            found.append(NetworkKind(ROLE_WORDS[role], model, parameters, start, runs))
        return found

    @property
    def network_names(self) -> list[str]:
        return list(dict.fromkeys(kind.model for kind in self.networks))

    @property
    def policy_note(self) -> str:
        """What has to be said of the AutoAugment policy, which was found for CIFAR-10."""
        return "" if self.data.key == "cifar10" else " (torchvision has none for CIFAR-100)"

    @property
    def cross_resolution_views(self) -> list[CrossResolutionView]:
        specs = [self.facts.spec(run) for run in self.facts.runs("student")]
        return [
            CrossResolutionView(
                spec.run, spec.view.resolution_px, spec.teacher_view, self.facts.spec(spec.teacher).view
            )
            for spec in specs
            if spec.teacher and spec.teacher_view and spec.teacher_view.resolution_px != spec.view.resolution_px
        ]

    @property
    def selections(self) -> list[Selection]:
        """The rules of selection, with the runs of each."""
        groups = _grouped(self.facts.runs(), lambda run: self.facts.spec(run).optimisation.select)
        return [Selection(rule, runs, *REPORTED_EPOCH[rule]) for runs, rule in groups]

    @property
    def selected_on_test(self) -> list[str]:
        """The runs whose reported epoch is selected on the test images."""
        return [run for run, spec in self.facts.specs.items() if spec.optimisation.select == "best_on_test"]

    @property
    def objectives(self) -> list[Latex]:
        """What the report says of each method that a run has."""
        runs = {method: self.facts.with_method(method.model_fields["method"].default) for method in METHODS}
        return [Latex(method.in_report(escape(self.facts.named(of)))) for method, of in runs.items() if of]

    @property
    def mixed_targets(self) -> list[tuple[list[str], str]]:
        """The ways in which DKD treats two labels, with the runs of each."""
        runs = self.facts.with_method("dkd")
        return _grouped(runs, lambda run: self.facts.spec(run).objective.model_dump()["mixed_target"])


def _grouped(runs: Iterable[str], key: Callable[[str], Any]) -> list[tuple[list[str], Any]]:
    groups: dict[Any, list[str]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return [(names, value) for value, names in groups.items()]
