"""The experimental setup: networks, data, augmentation, the teachers' views, selection and objectives."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

from crossres.report.facts import Facts
from crossres.report.latex import Latex, escape
from crossres.report.numbers import Number
from crossres.suites.methods import METHODS
from crossres.suites.names import initial_weights, model_name, recipe_name
from crossres.suites.spec import View

Key = TypeVar("Key")


class NetworkKind(NamedTuple):
    """Networks of one architecture, with the same initial weights."""

    model: str
    parameters: Number
    start: str
    """The kind of their initial weights."""


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
            spec = self.facts.spec(run)
            return NetworkKind(model_name(spec), self.facts.value(run, "parameters"), initial_weights(spec))

        return _grouped(self.facts.runs(), kind)

    @property
    def cross_resolution_views(self) -> dict[tuple[View, View, View], list[str]]:
        """The students whose teacher sees another resolution, by their view, its view, and that of its training."""
        specs, views = self.facts.specs, {}
        for run, spec in specs.items():
            if spec.teacher and spec.teacher_view and spec.teacher_view.resolution_px != spec.view.resolution_px:
                views[run] = (spec.view, spec.teacher_view, specs[spec.teacher].view)
        return _grouped(views, views.__getitem__)

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
