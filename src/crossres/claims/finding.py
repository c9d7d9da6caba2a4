"""What an audit finds: the document `results/<suite>/claims.json`, and its text for the terminal."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, get_args

from pydantic import Field
from tabulate import tabulate

from crossres.base import CrossresError, Strict, nearest
from crossres.claims.claim import Verdict

LEVEL = 0.05
"""Significance level of a test, and of a family of tests."""

VERDICTS: dict[str, str] = {
    "matches the logs": "the figure or setting is what the thesis's logs, or the networks, give",
    "rounded": "correct arithmetic on rounded counts; the exact figure differs in its last digits",
    "misreported setting": "the text states a setting, or names the run of a figure, differently from the logs",
    "supported": "the interval over seeds, or a number that needs no interval, lies wholly where the claim puts it",
    "undecided": "the interval over seeds lies on both sides, or there are too few seeds: one, or fewer than planned",
    "contradicted": "the interval over seeds, or a number that needs no interval, lies wholly elsewhere",
    "not identified": "the runs differ in more than the cause that the claim names, and no control was run",
    "confounded": "a control was run, and contradicts the cause that the claim names",
    "not tested": "the suite lacks a run or a figure that the claim needs",
}
"""Each verdict with its meaning."""


class Estimate(Strict):
    """A number with its uncertainty."""

    value: float
    seeds: int
    low: float | None = None
    high: float | None = None
    """Ends of the 95 % interval; None where there is none."""
    chance: Literal["none", "image", "seed"] | None = None
    """What the interval is over: seeds, or the test images of one seed. `none` is a number that needs none, such as a
    setting; null one of which a single seed is known."""
    planned: int | None = Field(default=None, exclude_if=lambda value: value is None)
    """Seeds that the suite plans, where some are missing."""
    p: float | None = None
    """p of the t test over seeds, of a planned contrast."""
    p_holm: float | None = None
    """The same after Holm's correction over its family."""


class Quantity(Strict):
    """One figure of a claim: as printed, and as the records give it."""

    run: str | None = None
    """Its run, where the claim gives a figure for each of several runs."""
    reported: str | None = None
    estimate: Estimate | None = None
    agrees: bool | None = None
    """Whether both agree; None where they are not compared."""
    missing: str | None = None
    """Why there is no estimate."""


class ControlResult(Strict):
    """The outcome of a control."""

    what: str
    condition: str
    """Where its number has to lie."""
    estimate: Estimate | None = None
    answer: str | None = None
    """Whether it supports the explanation, contradicts it or leaves it undecided."""
    missing: str | None = None


class Finding(Strict):
    """The verdict on one claim, with the numbers behind it."""

    id: str
    statement: str
    where: str
    unit: str
    verdict: Verdict
    reason: str
    """The rule that decided, as a sentence."""
    because: str | None = None
    figures: list[Quantity] = []
    controls: list[ControlResult] = []
    also_differs: list[str] = []
    """Settings besides the named factor in which the compared runs, or their teachers, differ."""
    contrast: str | None = None
    """The planned contrast of the suite that decided."""

    @property
    def single(self) -> Quantity:
        """The claim's figure; an empty one where it has none or several."""
        return self.figures[0] if len(self.figures) == 1 else Quantity()


class ContrastFinding(Strict):
    """What a planned contrast of the suite shows."""

    id: str
    title: str
    claim: str | None
    family: str | None
    column: str
    condition: str
    """Where its value has to lie."""
    reported: str | None = None
    """The thesis's figure of the same runs."""
    estimate: Estimate | None = None
    verdict: Verdict
    reason: str


class Audit(Strict):
    """The findings on all claims, and the planned contrasts."""

    suite: str
    source: str
    level: float = LEVEL
    findings: list[Finding]
    contrasts: list[ContrastFinding] = []

    def verdicts(self) -> dict[str, str]:
        return {finding.id: finding.verdict for finding in self.findings}

    @property
    def judged(self) -> Sequence[Finding | ContrastFinding]:
        """The claims or, where none are given, the planned contrasts."""
        return self.findings or self.contrasts

    def counts(self) -> dict[str, int]:
        """Return how many of them got each verdict, best first."""
        given = [one.verdict for one in self.judged]
        return {verdict: given.count(verdict) for verdict in get_args(Verdict) if verdict in given}

    def mismatches(self, required: Mapping[str, str]) -> list[str]:
        """Return one line for each claim whose verdict is not the required one.

        Raises:
            CrossresError: When there is no such claim or verdict, naming the nearest.
        """
        found, reasons = self.verdicts(), {finding.id: finding.reason for finding in self.findings}
        for name, verdict in required.items():
            if name not in found:
                raise CrossresError(f"no claim '{name}'{nearest(name, found)}")
            if verdict not in VERDICTS:
                raise CrossresError(f"no verdict '{verdict}'{nearest(verdict, VERDICTS)}")
        return [
            f"{name} is '{found[name]}', required is '{wanted}' ({reasons[name]})"
            for name, wanted in required.items()
            if found[name] != wanted
        ]


def required_verdicts(texts: Iterable[str]) -> dict[str, str]:
    """Parse `ID=VERDICT` texts; hyphens may join the words of a verdict.

    Raises:
        CrossresError: When a text has no `=`.
    """
    pairs = [text.partition("=") for text in texts]
    for name, equals, _ in pairs:
        if not equals:
            raise CrossresError(f"--require {name}: write ID=VERDICT, such as dkd_collapse=undecided")
    return {name.strip(): verdict.strip().replace("-", " ") for name, _, verdict in pairs}


def audit_text(audit: Audit, reasons: bool = False) -> str:
    """Return the audit as a table for the terminal, with the reason of each verdict below it on demand."""
    rows = []
    for finding in audit.findings:
        single = finding.single
        found = (found_text(finding), interval_text(single.estimate), p_text(single.estimate))
        rows.append((finding.id, finding.verdict, reported_text(single), *found))
    if not audit.findings:
        rows = [(one.id, one.verdict, one.reported or "", *estimate_texts(one.estimate)) for one in audit.contrasts]
    text = tabulate(
        rows,
        ["claim" if audit.findings else "contrast", "verdict", "reported", "found", "95 % interval", "p"],
        tablefmt="simple",
        colalign=("left", "left", "right", "right", "right", "right"),
        disable_numparse=True,
    )
    if reasons:
        lines = [f"{one.id}: {one.verdict}: {one.reason}" for one in audit.judged]
        text = "\n".join([text, "", *lines])
    return f"{text}\n\n{textwrap.fill(f'suite {audit.suite}, {judged_text(audit)}', 120)}"


def counts_text(audit: Audit) -> str:
    return ", ".join(f"{verdict} {number}" for verdict, number in audit.counts().items())


def judged_text(audit: Audit) -> str:
    """Return how many claims, or contrasts where no claims are given, got each verdict."""
    what = "claims" if audit.findings else "planned contrasts"
    total = len(audit.judged)
    return f"{total} {what}: {counts_text(audit)}" if total else "no claims and no planned contrasts"


def found_text(finding: Finding) -> str:
    """Return the estimate of a claim's figure with its unit, or how many of its several figures agree."""
    estimates = [figure.estimate for figure in finding.figures if figure.estimate]
    if len(finding.figures) > 1:
        agree = sum(figure.agrees or False for figure in finding.figures)
        compared = any(figure.agrees is not None for figure in finding.figures)
        return f"{agree} of {len(finding.figures)} agree" if compared else f"{len(estimates)} figures"
    return f"{value_text(estimates[0])} {finding.unit}".strip() if estimates else ""


def reported_text(quantity: Quantity) -> str:
    """Return the reported figure if it is compared; beside a figure of other images or networks it would mislead."""
    return quantity.reported or "" if quantity.agrees is not None else ""


def number_text(estimate: Estimate) -> str:
    """Return a number with its interval, as a sentence prints it."""
    return f"{value_text(estimate)} {interval_text(estimate)}".strip().replace("-", "−")


def too_few_text(estimate: Estimate) -> str:
    """Say why a number of too few seeds decides nothing."""
    if estimate.planned:
        return f"{number_text(estimate)}, of {estimate.seeds} of the {estimate.planned} planned seeds"
    over = ", an interval over test images" if estimate.chance == "image" else ""
    return f"{number_text(estimate)}{over}: one seed decides nothing"


def exact_text(figure: Quantity) -> str:
    """Return a figure that differs from the printed one, with one digit more where that shows more."""
    assert figure.estimate is not None
    digits = len((figure.reported or "").partition(".")[2])
    return f"{figure.estimate.value:.{digits + 1}f}".removesuffix("0").removesuffix(".")


def value_text(estimate: Estimate) -> str:
    return f"{estimate.value:.{decimals(estimate)}f}"


def interval_text(estimate: Estimate | None) -> str:
    """Return `[low, high]`; nothing where there is no interval."""
    if estimate is None or estimate.low is None or estimate.high is None:
        return ""
    digits = decimals(estimate)
    return f"[{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


def estimate_texts(estimate: Estimate | None) -> tuple[str, str, str]:
    """Return a number, its interval and its p; nothing of a number that is not there."""
    return value_text(estimate) if estimate else "", interval_text(estimate), p_text(estimate)


def decimals(estimate: Estimate) -> int:
    """Return the decimals of a number and its interval: two, none for a count, up to four for a narrow interval."""
    width = 0.0 if estimate.low is None or estimate.high is None else estimate.high - estimate.low
    if width > 1e-9:
        return min(max(2, 1 - math.floor(math.log10(width))), 4)
    size = abs(estimate.value)
    return 0 if size == int(size) else 2 if size >= 0.01 else 1 - math.floor(math.log10(size))


def p_text(estimate: Estimate | None) -> str:
    """Return the p with two digits, corrected if it belongs to a family; nothing where there was no test."""
    p = (estimate.p if estimate.p_holm is None else estimate.p_holm) if estimate else None
    return "" if p is None else "<0.0001" if p < 1e-4 else f"{p:.2g}"
