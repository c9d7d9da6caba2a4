"""The experimental setup: networks, data, augmentation, the teachers' views, selection and objectives."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

from crossres.report.facts import Facts
from crossres.report.latex import Latex, escape
from crossres.report.numbers import Number
from crossres.suites.methods import METHODS
from crossres.suites.names import initial_weights, model_name, recipe_name

ROLE_WORDS = {"teacher": "teachers", "student": "students", "alone": "networks that learn from the labels alone"}
Key = TypeVar("Key")


class NetworkKind(NamedTuple):
    """Networks of one role and architecture, with the same initial weights."""

    role: str
    model: str
    parameters: Number
    start: str
    """The kind of their initial weights."""

    @property
    def who(self) -> str:
        """Their role, as the subject of a sentence."""
        return ROLE_WORDS[self.role]


class Setup:
    """How the runs of a suite were set up."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        specs = facts.specs.values()
        self.dataset = facts.records[0].spec.dataset
        self.data = self.dataset.info
        self.data_citation = Latex(rf" \citep{{{self.data.citation}}}" if self.data.citation else "")
        self.train_images = self.dataset.train_images or self.data.train_images
        self.test_images = self.dataset.test_images or self.data.test_images
        self.auto_augment = any(spec.augmentation.auto_augment != "none" for spec in specs)
        self.erase = any(spec.augmentation.erase_prob > 0 for spec in specs)
        self.mix = any(spec.augmentation.mix_prob > 0 for spec in specs)
        self.smoothing = any(spec.objective.label_smoothing > 0 for spec in specs)
        self.both_recipes = {recipe_name(spec) for spec in specs} >= {"basic", "strong"}

    @property
    def networks(self) -> dict[NetworkKind, list[str]]:
        """The kinds of network, with the runs of each."""

        def kind(run: str) -> NetworkKind:
            role, parameters = self.facts.value(run, "role"), self.facts.value(run, "parameters")
            return NetworkKind(
                role, model_name(self.facts.spec(run)), parameters, initial_weights(self.facts.spec(run))
            )

        return _grouped(self.facts.runs(), kind)

    @property
    def cross_resolution_students(self) -> list[str]:
        """The students whose teacher sees images of another resolution than they do."""
        views = {run: (spec.view, spec.teacher_view) for run, spec in self.facts.specs.items()}
        return [run for run, (own, seen) in views.items() if seen and seen.resolution_px != own.resolution_px]

    @property
    def selections(self) -> dict[str, list[str]]:
        """The rules by which epochs are selected, with the runs of each."""
        return _grouped(self.facts.runs(), lambda run: self.facts.spec(run).optimisation.select)

    @property
    def objectives(self) -> list[Latex]:
        """What the report says of each method that a run has."""
        runs = {method: self.facts.with_method(method.model_fields["method"].default) for method in METHODS}
        return [Latex(method.in_report(escape(self.facts.named(of)))) for method, of in runs.items() if of]

    @property
    def mixed_targets(self) -> dict[str, list[str]]:
        """The ways in which DKD treats two labels, with the runs of each."""
        runs = self.facts.with_method("dkd")
        return _grouped(runs, lambda run: str(self.facts.spec(run).objective.model_dump()["mixed_target"]))


def _grouped(runs: Iterable[str], key: Callable[[str], Key]) -> dict[Key, list[str]]:
    groups: dict[Key, list[str]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return groups
