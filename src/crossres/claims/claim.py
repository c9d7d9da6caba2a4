"""What the thesis claims: the document `paper/claims.yaml`. To add a claim, add one entry there."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import model_validator

from crossres.base import CrossresError, NonNegative, Strict, nearest
from crossres.claims.measures import AnyMeasure, Contrast, Documented
from crossres.files import read_yaml
from crossres.suites.contrasts import Bound
from crossres.suites.spec import DatasetName, Spec
from crossres.suites.suite import Suite

Verdict = Literal[
    "matches the logs",
    "rounded",
    "misreported setting",
    "supported",
    "undecided",
    "contradicted",
    "not identified",
    "confounded",
    "not tested",
]


class Control(Strict):
    """A measurement that an explanation has to survive."""

    what: str
    """What it compares, as the end of the sentence `Control: …`."""
    measure: AnyMeasure
    holds_if: Bound
    """Where its number has to lie for the explanation to hold."""


class Explanation(Strict):
    """What a claim attributes its figure to."""

    because: str
    factor: tuple[str, ...] = ()
    """Settings that the explanation is about: dotted paths, or their beginnings. A comparison needs no control if its
    two runs, and their teachers, differ in these alone."""
    controls: tuple[Control, ...] = ()


class ClaimedFigure(NamedTuple):
    """One figure of a claim, as the thesis prints it."""

    run: str | None
    """Its run, where the claim gives a figure for each of several runs."""
    reported: str | None
    measure: AnyMeasure


class Claim(Strict):
    """One claim of the thesis."""

    statement: str
    where: str
    """Section in which the thesis makes it."""
    measure: AnyMeasure | None = None
    """How its figure is computed; none when no record can hold it."""
    reported: str | dict[str, str] | None = None
    """The figure as printed, or one figure per run. Its decimals are the precision of an exact comparison. None where
    the claim gives no figure."""
    unit: str = ""
    tolerance: NonNegative = 0.0
    """How far the figure of a new training may lie from the printed one, and how far a rounded one from the exact."""
    direction: Bound | None = None
    """What the claim says besides the figure: the side of a bound on which it lies."""
    of_these_runs: bool = False
    """Whether the claim describes how the thesis's own runs went, so that their logs settle it."""
    explanation: Explanation | None = None
    untested: str | None = None
    """Without a measure: what a test would need."""
    recorded: dict[str, Verdict] = {}
    """The expected verdict per suite, which `make verify` compares."""

    @model_validator(mode="after")
    def _can_be_judged(self) -> Claim:
        if (self.measure is None) == (self.untested is None):
            raise ValueError("give a measure, or under `untested` what it would take")
        if self.measure is not None and self.reported is None and self.direction is None:
            raise ValueError("give a reported figure, a direction, or both")
        if isinstance(self.reported, dict) and not (isinstance(self.measure, Contrast) and not self.measure.runs):
            raise ValueError("reported: figures of several runs need a contrast without `runs`")
        return self

    @property
    def figures(self) -> list[ClaimedFigure]:
        if self.measure is None:
            return []
        if isinstance(self.reported, dict):
            return [
                ClaimedFigure(run, text, self.measure.model_copy(update={"runs": {run: 1.0}}))
                for run, text in self.reported.items()
            ]
        return [ClaimedFigure(None, self.reported, self.measure)]

    def source(self, published: bool) -> str:
        """Return what gives the exact figure, as the beginning of a sentence."""
        if isinstance(self.measure, Documented):
            return f"{self.measure.source} gives"
        return f"the {'logs' if published else 'networks'} give"

    @property
    def controls(self) -> tuple[Control, ...]:
        return self.explanation.controls if self.explanation else ()

    @property
    def runs(self) -> set[str]:
        """Every run that the claim or a control of it needs."""
        measures = [figure.measure for figure in self.figures] + [control.measure for control in self.controls]
        return {run for measure in measures for run in measure.needs}


class Subject(Strict):
    """The images and networks of the reported figures. A figure of others is not compared with them."""

    dataset: DatasetName
    networks: tuple[str, ...]

    def includes(self, spec: Spec, trained: bool) -> bool:
        """Return whether a run uses these images and networks, and for a trained figure all images and pretraining."""
        dataset = spec.dataset
        whole = spec.budget is None and dataset.train_images is None and not dataset.validation_images
        whole = whole and spec.model.pretrained
        same = spec.dataset.name == self.dataset and spec.model.name in self.networks
        return same and (whole or not trained)


class Claims(Strict):
    """The claims of one text, by a short name."""

    source: str
    """The text that makes them."""
    of: Subject
    claims: dict[str, Claim]

    def recorded(self, suite: str) -> dict[str, str]:
        """Return the expected verdicts of a suite.

        Raises:
            CrossresError: When there is none.
        """
        found: dict[str, str] = {
            key: claim.recorded[suite] for key, claim in self.claims.items() if suite in claim.recorded
        }
        if not found:
            raise CrossresError(f"no verdict is on record for suite {suite}: no claim has it under `recorded`")
        return found

    def check(self, suite: Suite, others: Iterable[Suite] = ()) -> None:
        """Refuse a contrast of a suite about a claim that is none, and a claim about a run that no suite has.

        Raises:
            CrossresError: Naming both, and the nearest known one.
        """
        for name, contrast in suite.contrasts.items():
            if contrast.claim and contrast.claim not in self.claims:
                where = f"suite {suite.suite}: contrasts.{name}.claim"
                raise CrossresError(f"{where}: no claim '{contrast.claim}'{nearest(contrast.claim, self.claims)}")
        names = {run for one in (suite, *others) for run in one.runs}
        for key, claim in self.claims.items():
            for run in sorted(claim.runs - names):
                raise CrossresError(f"claims.{key}: no suite has a run '{run}'{nearest(run, names)}")


NO_CLAIMS = Claims(source="", of=Subject(dataset="shapes", networks=()), claims={})
"""Those of a suite for which no file of claims is given."""


def load_claims(path: Path) -> Claims:
    """Read and check the claims.

    Raises:
        CrossresError: One line that names the key and the fix.
    """
    return Claims.parse(read_yaml(path), str(path))
