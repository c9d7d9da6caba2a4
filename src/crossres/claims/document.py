"""What the thesis claims, and what the audit found of each claim: the documents.

`paper/claims.yaml` holds the claims; to add one, add one entry there. `crossres.claims.audit` turns it and the records
of a suite into `results/<suite>/claims.json`, an `Audit`.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Literal, get_args

from pydantic import Field, model_validator
from tabulate import tabulate

from crossres.base import CrossresError, NonNegative, Strict, nearest
from crossres.claims.measures import AnyMeasure, Contrast
from crossres.files import read_yaml
from crossres.suites.spec import DatasetName

Verdict = Literal["reproduced", "direction only", "not reproduced", "arithmetic error", "confounded", "not tested here"]
VERDICTS: dict[str, str] = {
    "reproduced": "the figure comes out, and the direction and the explanation, where the claim has them, hold",
    "direction only": "the direction holds; the figure does not come out, or cannot with these networks and images",
    "not reproduced": "neither the figure nor the direction comes out, or the difference is no larger than chance",
    "arithmetic error": "the printed figure does not follow from the thesis's own logs or from the networks",
    "confounded": "the effect is there, but its explanation does not survive its control",
    "not tested here": "the suite lacks a run or a record that it takes",
}
"""Every verdict with its meaning, the best first."""


class Bound(Strict):
    """A side that a number has to be on."""

    above: float | None = None
    below: float | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Bound:
        if (self.above is None) == (self.below is None):
            raise ValueError("give one of above and below")
        return self

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
    """Where its number has to be for the explanation to hold."""


class Explanation(Strict):
    """What a claim puts its figure down to."""

    because: str
    factor: tuple[str, ...] = ()
    """Settings that the explanation is about, dotted, or the beginnings of their paths. A comparison whose two runs,
    and their teachers, differ in these alone needs no control."""
    controls: tuple[Control, ...] = ()


class Claim(Strict):
    """One claim."""

    statement: str
    where: str
    """Where it stands."""
    measure: AnyMeasure | None = None
    """How its figure is computed; none when no record can hold it."""
    reported: str | dict[str, str] | None = None
    """The figure as printed, or those of several runs; the digits after the point are the precision of an exact
    comparison. None where the claim gives no figure."""
    unit: str = ""
    tolerance: NonNegative = 0.0
    """How far a figure that was trained anew may be from the printed one."""
    direction: Bound | None = None
    """What the claim says beyond the figure: which side of a bound it is on."""
    explanation: Explanation | None = None
    untested: str | None = None
    """Without a measure: what it would take."""
    recorded: dict[str, Verdict] = {}
    """The verdicts on record, by suite, which `make verify` compares."""

    @model_validator(mode="after")
    def _can_be_judged(self) -> Claim:
        if (self.measure is None) == (self.untested is None):
            raise ValueError("give a measure, or under `untested` what it would take")
        if self.measure is not None and self.reported is None and self.direction is None:
            raise ValueError("give a reported figure, a direction, or both")
        if isinstance(self.reported, dict) and not (isinstance(self.measure, Contrast) and not self.measure.plus):
            raise ValueError("reported: figures of several runs need a contrast without `plus`")
        return self

    def figures(self) -> list[tuple[str | None, str | None, AnyMeasure]]:
        """Return the claim's figures: the run each is of, if it is one of several, as printed, and its measure."""
        if self.measure is None:
            return []
        if isinstance(self.reported, dict):
            named = self.reported.items()
            return [(run, text, self.measure.model_copy(update={"plus": (run,)})) for run, text in named]
        return [(None, self.reported, self.measure)]

    def runs(self) -> set[str]:
        """Return every run that the claim names."""
        controls = self.explanation.controls if self.explanation else ()
        measures = [measure for _, _, measure in self.figures()] + [control.measure for control in controls]
        return {run for measure in measures for run in measure.needs}


class Subject(Strict):
    """The images and networks that the reported figures are of; those of others are not compared with them."""

    dataset: DatasetName
    networks: tuple[str, ...]


class Claims(Strict):
    """`paper/claims.yaml`."""

    source: str
    """Where the claims stand."""
    of: Subject
    claims: dict[str, Claim]

    def recorded(self, suite: str) -> dict[str, str]:
        """Return the verdicts on record for a suite.

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
            CrossresError: Naming the claim, the run, and the nearest right one.
        """
        names = set(known)
        for key, claim in self.claims.items():
            for run in sorted(claim.runs() - names):
                raise CrossresError(f"claims.{key}: no suite has a run '{run}'{nearest(run, names)}")


def load_claims(path: Path) -> Claims:
    """Read and check the claims.

    Raises:
        CrossresError: One line that names the key and the mend.
    """
    return Claims.parse(read_yaml(path), str(path))


class Estimate(Strict):
    """A number, and how sure it is."""

    value: float
    seeds: int
    low: float | None = None
    high: float | None = None
    interval: str | None = None
    """How the 95 % interval was made; none where there is no way to."""
    test: str | None = None
    """The test against the bound that the claim or the control names."""
    p: float | None = None
    p_holm: float | None = None
    """After Holm's correction over all tests of the audit."""
    bootstrap: tuple[float, float] | None = None
    """95 % interval of the paired bootstrap over seeds and test images."""
    mcnemar: list[tuple[int, int, int, float]] = []
    """Of each seed: seed, images that only the subtracted run has right, that only the added one has, exact p."""


class Figure(Strict):
    """One figure of a claim."""

    run: str | None = None
    reported: str | None = None
    estimate: Estimate | None = None
    agrees: bool | None = None
    """Whether it comes out; null where it is not compared."""
    missing: str | None = None
    """Why there is no estimate."""


class Controlled(Strict):
    """What a control said."""

    what: str
    condition: str
    """Where the number has to be."""
    estimate: Estimate | None = None
    holds: bool | None = None
    missing: str | None = None


class Finding(Strict):
    """What the audit found of one claim."""

    id: str
    statement: str
    where: str
    unit: str
    verdict: Verdict
    reason: str
    """The rule that decided, in a sentence."""
    because: str | None = None
    figures: list[Figure] = []
    controls: list[Controlled] = []
    also_differs: list[str] = []
    """Settings beside the named factor in which the compared runs, or their teachers, differ."""


class Audit(Strict):
    """`results/<suite>/claims.json`."""

    suite: str
    source: str
    level: float = Field(default=0.05)
    """A p after correction has to be below it."""
    findings: list[Finding]

    def verdicts(self) -> dict[str, str]:
        return {finding.id: finding.verdict for finding in self.findings}

    def counts(self) -> dict[str, int]:
        """Return how many claims got each verdict, the best first, without those that none got."""
        given = [finding.verdict for finding in self.findings]
        return {verdict: given.count(verdict) for verdict in get_args(Verdict) if verdict in given}


def required(texts: Iterable[str]) -> dict[str, str]:
    """Read `ID=VERDICT` texts; the words of a verdict may be joined by hyphens.

    Raises:
        CrossresError: When one has no `=`.
    """
    pairs = [text.partition("=") for text in texts]
    for name, equals, _ in pairs:
        if not equals:
            raise CrossresError(f"--require {name}: write ID=VERDICT, such as dkd_collapse=confounded")
    return {name.strip(): verdict.strip().replace("-", " ") for name, _, verdict in pairs}


def compare(audit: Audit, required: Mapping[str, str]) -> list[str]:
    """Return a line for each verdict that is not the required one.

    Raises:
        CrossresError: When there is no such claim or verdict, naming the nearest.
    """
    found = audit.verdicts()
    for name, verdict in required.items():
        _known(name, found, "claim")
        _known(verdict, VERDICTS, "verdict")
    return [
        f"{name} is '{found[name]}', required is '{wanted}'"
        for name, wanted in required.items()
        if found[name] != wanted
    ]


def _known(name: str, known: Container[str] | Iterable[str], what: str) -> None:
    names = list(known)  # type: ignore[arg-type]
    if name not in names:
        raise CrossresError(f"no {what} '{name}'{nearest(name, names)}")


def as_text(audit: Audit, wide: bool = False) -> str:
    """Return the audit as a table for the terminal.

    Args:
        audit: The audit.
        wide: Whether to list the reason of each verdict below it.
    """
    rows: list[tuple[str, ...]] = []
    for finding in audit.findings:
        figure = finding.figures[0] if len(finding.figures) == 1 else Figure()
        p = figure.estimate.p_holm if figure.estimate else None
        found = (found_text(finding), interval_text(figure), p_text(p))
        rows.append((finding.id, finding.verdict, reported_text(figure), *found))
    counts = ", ".join(f"{number} {verdict}" for verdict, number in audit.counts().items())
    table = tabulate(
        rows,
        ["claim", "verdict", "reported", "found", "95 % interval", "p (Holm)"],
        tablefmt="simple",
        colalign=("left", "left", "right", "right", "right", "right"),
        disable_numparse=True,
    )
    reasons = [f"{finding.id}: {finding.verdict}: {finding.reason}" for finding in audit.findings] if wide else []
    table = "\n".join([table, *(["", *reasons] if reasons else [])])
    return f"{table}\n\nsuite {audit.suite}, {len(audit.findings)} claims: {counts}"


def found_text(finding: Finding) -> str:
    """Return what was found of a claim: its figure with its unit, or how many of several agree."""
    estimates = [figure.estimate for figure in finding.figures if figure.estimate]
    if len(finding.figures) > 1:
        agree = sum(figure.agrees or False for figure in finding.figures)
        compared = any(figure.agrees is not None for figure in finding.figures)
        return f"{agree} of {len(finding.figures)} agree" if compared else f"{len(estimates)} figures"
    return f"{value_text(estimates[0])} {finding.unit}".strip() if estimates else ""


def reported_text(figure: Figure) -> str:
    """Return the reported figure where it is compared; beside one of other images or networks it would mislead."""
    return figure.reported or "" if figure.agrees is not None else ""


def decimals(estimate: Estimate) -> int:
    """Return the decimals of a number and its interval: two, none of a count, more where the interval is narrow."""
    if estimate.low is None or estimate.high is None:
        return 0 if estimate.value == int(estimate.value) else 2
    width = estimate.high - estimate.low
    return max(2, 1 - math.floor(math.log10(width))) if width > 0 else 2


def value_text(estimate: Estimate) -> str:
    """Return a number with its decimals."""
    return f"{estimate.value:.{decimals(estimate)}f}"


def interval_text(figure: Figure | Controlled) -> str:
    """Return the interval of a figure or a control, or nothing."""
    estimate = figure.estimate
    if estimate is None or estimate.low is None or estimate.high is None:
        return ""
    digits = decimals(estimate)
    return f"[{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


def p_text(p: float | None) -> str:
    """Return a p to two digits, or nothing."""
    return "" if p is None else "<0.0001" if p < 1e-4 else f"{p:.2g}"
