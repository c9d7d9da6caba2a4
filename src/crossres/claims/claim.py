"""What the thesis claims: the document `paper/claims.yaml`. To add a claim, add one entry there."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import model_validator

from crossres.base import CrossresError, NonNegative, Strict, nearest
from crossres.claims.measures import AnyMeasure, Contrast
from crossres.files import read_yaml
from crossres.suites.spec import DatasetName, Spec

Verdict = Literal["reproduced", "direction only", "not reproduced", "arithmetic error", "confounded", "not tested here"]


class Bound(Strict):
    """The side of a number on which another has to lie."""

    above: float | None = None
    below: float | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Bound:
        if (self.above is None) == (self.below is None):
            raise ValueError("give one of above and below")
        return self

    def __str__(self) -> str:
        return f"{'above' if self.above is not None else 'below'} {self.at:g}".replace("-", "−")

    @property
    def at(self) -> float:
        return self.above if self.above is not None else self.below or 0.0

    def met_by(self, value: float) -> bool:
        return value > self.at if self.above is not None else value < self.at


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
    """How far the figure of a new training may lie from the printed one."""
    direction: Bound | None = None
    """What the claim says besides the figure: the side of a bound on which it lies."""
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
        if isinstance(self.reported, dict) and not (isinstance(self.measure, Contrast) and not self.measure.plus):
            raise ValueError("reported: figures of several runs need a contrast without `plus`")
        return self

    @property
    def figures(self) -> list[ClaimedFigure]:
        if self.measure is None:
            return []
        if isinstance(self.reported, dict):
            return [
                ClaimedFigure(run, text, self.measure.model_copy(update={"plus": (run,)}))
                for run, text in self.reported.items()
            ]
        return [ClaimedFigure(None, self.reported, self.measure)]

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
        whole = spec.budget is None and spec.dataset.train_images is None and spec.model.pretrained
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

    def check_runs(self, known: Iterable[str]) -> None:
        """Refuse a claim about a run that no suite has.

        Raises:
            CrossresError: Naming the claim, the run and the nearest known run.
        """
        names = set(known)
        for key, claim in self.claims.items():
            for run in sorted(claim.runs - names):
                raise CrossresError(f"claims.{key}: no suite has a run '{run}'{nearest(run, names)}")


def load_claims(path: Path) -> Claims:
    """Read and check the claims.

    Raises:
        CrossresError: One line that names the key and the fix.
    """
    return Claims.parse(read_yaml(path), str(path))
