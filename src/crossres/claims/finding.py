"""What an audit finds: the document `results/<suite>/claims.json`, and its text for the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import get_args

from tabulate import tabulate

from crossres.base import CrossresError, Strict, nearest
from crossres.claims.claim import Verdict

LEVEL = 0.05
"""Significance level: a corrected p has to be below it."""

VERDICTS: dict[str, str] = {
    "reproduced": "the figure comes out, and the direction and the explanation, where the claim has them, hold",
    "direction only": "the direction holds; the figure does not come out, or cannot with these networks and images",
    "not reproduced": "neither the figure nor the direction comes out, or the difference is no larger than chance",
    "arithmetic error": "the printed figure does not follow from the thesis's own logs or from the networks",
    "confounded": "the effect is there, but its explanation does not survive its control",
    "not tested here": "the suite lacks a run or a record that it takes",
}
"""Each verdict with its meaning, best first."""


class Estimate(Strict):
    """A number with its uncertainty."""

    value: float
    seeds: int
    low: float | None = None
    high: float | None = None
    interval: str | None = None
    """Method of the 95 % interval; None where there is no interval."""
    test: str | None = None
    """Method of the test against the bound of the claim or control."""
    p: float | None = None
    p_holm: float | None = None
    """p after Holm's correction over all tests of the audit."""
    bootstrap: tuple[float, float] | None = None
    """95 % interval of the paired bootstrap over seeds and test images."""
    mcnemar: list[tuple[int, int, int, float]] = []
    """Per seed: the seed, the test images that only the subtracted run classifies correctly, those that only the added
    run does, and the exact p."""


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
    holds: bool | None = None
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

    @property
    def single(self) -> Quantity:
        """The claim's figure; an empty one where it has none or several."""
        return self.figures[0] if len(self.figures) == 1 else Quantity()


class Audit(Strict):
    """The findings on all claims."""

    suite: str
    source: str
    level: float = LEVEL
    findings: list[Finding]

    def verdicts(self) -> dict[str, str]:
        return {finding.id: finding.verdict for finding in self.findings}

    def counts(self) -> dict[str, int]:
        """Return how many claims got each verdict, best first, without verdicts that no claim got."""
        given = [finding.verdict for finding in self.findings]
        return {verdict: given.count(verdict) for verdict in get_args(Verdict) if verdict in given}

    def mismatches(self, required: Mapping[str, str]) -> list[str]:
        """Return one line for each claim whose verdict is not the required one.

        Raises:
            CrossresError: When there is no such claim or verdict, naming the nearest.
        """
        found = self.verdicts()
        for name, verdict in required.items():
            if name not in found:
                raise CrossresError(f"no claim '{name}'{nearest(name, found)}")
            if verdict not in VERDICTS:
                raise CrossresError(f"no verdict '{verdict}'{nearest(verdict, VERDICTS)}")
        return [
            f"{name} is '{found[name]}', required is '{wanted}'"
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
            raise CrossresError(f"--require {name}: write ID=VERDICT, such as dkd_collapse=confounded")
    return {name.strip(): verdict.strip().replace("-", " ") for name, _, verdict in pairs}


def audit_text(audit: Audit, reasons: bool = False) -> str:
    """Return the audit as a table for the terminal, with the reason of each verdict below it on demand."""
    rows = []
    for finding in audit.findings:
        single = finding.single
        found = (found_text(finding), interval_text(single.estimate), p_text(single.estimate))
        rows.append((finding.id, finding.verdict, reported_text(single), *found))
    text = tabulate(
        rows,
        ["claim", "verdict", "reported", "found", "95 % interval", "p (Holm)"],
        tablefmt="simple",
        colalign=("left", "left", "right", "right", "right", "right"),
        disable_numparse=True,
    )
    if reasons:
        lines = [f"{finding.id}: {finding.verdict}: {finding.reason}" for finding in audit.findings]
        text = "\n".join([text, "", *lines])
    counts = ", ".join(f"{number} {verdict}" for verdict, number in audit.counts().items())
    return f"{text}\n\nsuite {audit.suite}, {len(audit.findings)} claims: {counts}"


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


def value_text(estimate: Estimate) -> str:
    return f"{estimate.value:.{decimals(estimate)}f}"


def interval_text(estimate: Estimate | None) -> str:
    """Return `[low, high]`; nothing where there is no interval."""
    if estimate is None or estimate.low is None or estimate.high is None:
        return ""
    digits = decimals(estimate)
    return f"[{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


def decimals(estimate: Estimate) -> int:
    """Return the decimals of a number and its interval: two, none for a count, more for a narrow interval."""
    if estimate.low is None or estimate.high is None:
        return 0 if estimate.value == int(estimate.value) else 2
    width = estimate.high - estimate.low
    return max(2, 1 - math.floor(math.log10(width))) if width > 0 else 2


def p_text(estimate: Estimate | None) -> str:
    """Return the corrected p with two digits; nothing where there was no test."""
    p = estimate.p_holm if estimate else None
    return "" if p is None else "<0.0001" if p < 1e-4 else f"{p:.2g}"
