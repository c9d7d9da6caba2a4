"""Claims to verdicts.

Each figure is estimated from the records, with an interval and, where the claim or a control names a bound, a test
against it. Holm's correction covers all tests of an audit. `_judge` holds the rules.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import pandas as pd

from crossres.claims import statistics
from crossres.claims.claim import Bound, Claim, Claims, Control, Subject, Verdict
from crossres.claims.estimate import estimate
from crossres.claims.finding import LEVEL, Audit, ControlResult, Estimate, Finding, Quantity, interval_text, value_text
from crossres.claims.measures import AnyMeasure, Contrast
from crossres.claims.runs import Runs
from crossres.records.record import Record
from crossres.suites.compare import differences_beside
from crossres.suites.suite import Suite


class Measured(NamedTuple):
    """A claim with its numbers."""

    key: str
    claim: Claim
    figures: list[Quantity]
    controls: list[ControlResult]

    @property
    def estimates(self) -> list[Estimate]:
        """Every estimate of the claim, its figures' first."""
        found = [figure.estimate for figure in self.figures] + [control.estimate for control in self.controls]
        return [estimate for estimate in found if estimate]


def audit(suite: Suite, records: Iterable[Record], summary: pd.DataFrame, claims: Claims) -> Audit:
    """Judge every claim by the records of a suite.

    Args:
        records: A record of every run and seed.
        summary: Their table, from `crossres.records.summary.summarise`.

    Returns:
        One finding per claim, in the order of the claims.
    """
    runs = Runs(suite, records, summary)
    measured = _corrected([_measured(key, claim, runs) for key, claim in claims.claims.items()])
    findings = [_finding(entry, runs, claims.of) for entry in measured]
    return Audit(suite=suite.suite, source=claims.source, level=LEVEL, findings=findings)


# Numbers


def _measured(key: str, claim: Claim, runs: Runs) -> Measured:
    figures = []
    for run, reported, measure in claim.figures:
        found, missing = _attempt(measure, runs, claim.direction)
        figures.append(Quantity(run=run, reported=reported, estimate=found, missing=missing))
    controls = []
    for control in claim.controls:
        found, missing = _attempt(control.measure, runs, control.holds_if)
        condition = str(control.holds_if)
        controls.append(ControlResult(what=control.what, condition=condition, estimate=found, missing=missing))
    return Measured(key, claim, figures, controls)


def _attempt(measure: AnyMeasure, runs: Runs, bound: Bound | None) -> tuple[Estimate | None, str | None]:
    """Return the estimate of a measure, or why there is none."""
    if missing := measure.missing(runs):
        return None, missing
    found = estimate(measure, runs, bound)
    return found, None if found else "the records do not hold this figure"


def _corrected(measured: list[Measured]) -> list[Measured]:
    """Add Holm's correction, over every test of the audit."""
    corrected = iter(statistics.holm([found.p for entry in measured for found in entry.estimates]))

    def next_of(found: Estimate | None) -> Estimate | None:
        return found and found.model_copy(update={"p_holm": next(corrected)})

    return [
        entry._replace(
            figures=[part.model_copy(update={"estimate": next_of(part.estimate)}) for part in entry.figures],
            controls=[part.model_copy(update={"estimate": next_of(part.estimate)}) for part in entry.controls],
        )
        for entry in measured
    ]


# Rules


def _finding(entry: Measured, runs: Runs, subject: Subject) -> Finding:
    claim = entry.claim
    figures = [
        quantity.model_copy(update={"agrees": _agrees(claim, quantity, figure.measure, runs, subject)})
        for quantity, figure in zip(entry.figures, claim.figures, strict=True)
    ]
    controls = [
        result.model_copy(update={"holds": _holds(result.estimate, control.holds_if)}) if result.estimate else result
        for result, control in zip(entry.controls, claim.controls, strict=True)
    ]
    others = [] if any(figure.missing for figure in figures) else _also_differs(claim, runs)
    verdict, reason = _judge(Measured(entry.key, claim, figures, controls), others, runs, subject)
    return Finding(
        id=entry.key,
        statement=claim.statement,
        where=claim.where,
        unit=claim.unit,
        verdict=verdict,
        reason=reason,
        because=claim.explanation.because if claim.explanation else None,
        figures=figures,
        controls=controls,
        also_differs=others,
    )


def _judge(entry: Measured, others: list[str], runs: Runs, subject: Subject) -> tuple[Verdict, str]:
    """Return the verdict on a claim and the reason. The first rule that applies decides."""
    _, claim, figures, controls = entry
    missing = claim.untested or next((figure.missing for figure in figures if figure.missing), None)
    if missing:
        return "not tested here", missing
    comparable = all(_is_of(figure.measure, runs, subject) for figure in claim.figures)
    wrong = [figure for figure in figures if figure.agrees is False]
    exact = runs.published or all(figure.measure.is_exact for figure in claim.figures)
    if wrong and exact:
        return "arithmetic error", f"the {'logs' if runs.published else 'networks'} give {_shown(wrong[0])}"
    if not comparable and claim.measure is not None and claim.measure.local:
        return "not tested here", claim.measure.local
    if not comparable and claim.direction is None:
        return "not tested here", "the figure is of other images or networks than these"
    if claim.direction is not None and not _holds(figures[0].estimate, claim.direction):
        return "not reproduced", _why_not(claim, figures[0].estimate, claim.direction)
    broken = _broken(zip(controls, claim.controls, strict=True), others)
    if claim.direction is None and wrong:
        return "not reproduced", f"the records give {_shown(wrong[0])}"
    if broken:
        return "confounded", broken
    if not comparable:
        return "direction only", "it holds for these images and networks, which are not the thesis's"
    if wrong:
        return "direction only", f"the direction holds; the records give {_shown(wrong[0])}"
    return "reproduced", _why_reproduced(claim, controls, runs.published)


def _agrees(claim: Claim, figure: Quantity, measure: AnyMeasure, runs: Runs, subject: Subject) -> bool | None:
    """Compare a figure with the printed one: at the printed precision where it must be exact, else by tolerance."""
    if figure.reported is None or figure.estimate is None or not _is_of(measure, runs, subject):
        return None
    if runs.published or measure.is_exact:
        digits = len(figure.reported.partition(".")[2])
        return f"{figure.estimate.value:.{digits}f}" == figure.reported
    return abs(figure.estimate.value - float(figure.reported)) <= claim.tolerance


def _is_of(measure: AnyMeasure, runs: Runs, subject: Subject) -> bool:
    """Return whether a measure is of the images and networks of the reported figures."""
    trained = not measure.is_exact
    return runs.published or all(subject.includes(runs.specs[run], trained) for run in measure.needs)


def _holds(found: Estimate | None, bound: Bound) -> bool:
    """Return whether a number is on its side of a bound, significantly so where there is a test."""
    if found is None or not bound.met_by(found.value):
        return False
    return found.p_holm is None or found.p_holm < LEVEL


def _broken(controls: Iterable[tuple[ControlResult, Control]], others: list[str]) -> str | None:
    """Say what refutes the explanation: a control or, if none was run, other settings that differ."""
    tested = [(result, control, result.estimate) for result, control in controls if result.estimate]
    for result, control, found in tested:
        if not result.holds:
            chance = _chance(found) if control.holds_if.met_by(found.value) else ""
            return f"control, {result.what}: {_number(found)}, which is not {result.condition}{chance}"
    if others and not tested:
        return f"the runs also differ in {', '.join(others)}, and no control was run"
    return None


def _also_differs(claim: Claim, runs: Runs) -> list[str]:
    """Name the settings besides the named factor in which the two compared runs, or their teachers, differ."""
    if claim.explanation is None or not isinstance(claim.measure, Contrast) or not claim.measure.pair:
        return []
    (one, other), factor = claim.measure.pair, claim.explanation.factor
    found = differences_beside(factor, one, other, runs.specs)
    mine, theirs = runs.specs[one].teacher, runs.specs[other].teacher
    if mine and theirs and mine != theirs:
        found += [f"the teacher's {name}" for name in differences_beside(factor, mine, theirs, runs.specs)]
    return found


# Reasons


def _number(found: Estimate) -> str:
    return f"{value_text(found)} {interval_text(found)}".strip().replace("-", "−")


def _chance(found: Estimate) -> str:
    return f" beyond chance (p = {found.p_holm:.2g} after correction)" if found.p_holm is not None else ""


def _shown(figure: Quantity) -> str:
    """Set a figure against the printed one, with one digit more."""
    digits = len((figure.reported or "").partition(".")[2]) + 1
    value = f"{figure.estimate.value:.{digits}f}" if figure.estimate else ""
    of = f" for {figure.run}" if figure.run else ""
    return f"{value} where {figure.reported} is printed{of}".replace("-", "−")


def _why_not(claim: Claim, found: Estimate | None, bound: Bound) -> str:
    if found is None:
        return "there is no figure"
    number = f"{_number(found)} {claim.unit}".strip()
    if claim.measure is not None and not claim.measure.is_trained:
        return number
    return f"{number}, which is not {bound}{_chance(found) if bound.met_by(found.value) else ''}"


def _why_reproduced(claim: Claim, controls: list[ControlResult], published: bool) -> str:
    text = "it agrees with the thesis's logs" if published else "it comes out within its tolerance"
    text = text if claim.reported is not None else "it is so in the records"
    if claim.explanation is None:
        return text
    held = any(control.holds for control in controls)
    return f"{text}, and its controls hold" if held else f"{text}; its explanation is not tested here"
