"""Claims to verdicts.

`_judge` holds the rules for a claim, `crossres.claims.contrasts` those for a planned contrast.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import pandas as pd

from crossres.claims.claim import Claim, ClaimedFigure, Claims, Subject, Verdict
from crossres.claims.contrasts import contrast_findings
from crossres.claims.estimate import answer, estimate
from crossres.claims.finding import (
    Audit,
    ContrastFinding,
    ControlResult,
    Estimate,
    Finding,
    Quantity,
    exact_text,
    number_text,
    too_few_text,
)
from crossres.claims.measures import AnyMeasure, Contrast, SettingsCount
from crossres.claims.runs import Runs
from crossres.records.record import Record
from crossres.suites.compare import differences_beside
from crossres.suites.suite import Suite

FAILING_SHARE = 0.1
"""Share of a teacher's epochs above which a test loss worse than guessing is worth a word."""


def audit(suite: Suite, records: Iterable[Record], summary: pd.DataFrame, claims: Claims) -> Audit:
    """Judge every claim by the records of a suite: by its planned contrast, or else by its own measure and controls.

    Args:
        records: A record of every run, of the seeds that are finished.
        summary: Their table, from `crossres.records.summary.summarise`.

    Returns:
        One finding per claim, in the order of the claims, and one per contrast.
    """
    runs = Runs(suite, records, summary)
    contrasts = contrast_findings(suite, runs, claims)
    by_claim = {contrast.claim: contrast for contrast in contrasts if contrast.claim}
    findings = [
        _finding_by_contrast(key, claim, by_claim[key]) if key in by_claim else _finding(key, claim, runs, claims.of)
        for key, claim in claims.claims.items()
    ]
    return Audit(suite=suite.suite, source=claims.source, findings=findings, contrasts=contrasts)


def _finding_by_contrast(key: str, claim: Claim, contrast: ContrastFinding) -> Finding:
    return Finding(
        id=key,
        statement=claim.statement,
        where=claim.where,
        unit="points",
        verdict=contrast.verdict,
        reason=f"{contrast.title}: {contrast.reason}",
        because=claim.explanation.because if claim.explanation else None,
        figures=[Quantity(estimate=contrast.estimate)],
        contrast=contrast.id,
    )


def _finding(key: str, claim: Claim, runs: Runs, subject: Subject) -> Finding:
    figures = [_quantity(claim, figure, runs, subject) for figure in claim.figures]
    controls = []
    for control in claim.controls:
        missing, found = control.measure.missing(runs), None
        if not missing:
            found = estimate(control.measure, runs)
            missing = None if found else "the records do not hold this figure"
        said, condition = answer(found, control.holds_if) if found else None, str(control.holds_if)
        controls.append(
            ControlResult(what=control.what, condition=condition, estimate=found, answer=said, missing=missing)
        )
    others = [] if any(figure.missing for figure in figures) else _also_differs(claim, runs)
    verdict, reason = _judge(claim, figures, controls, others, runs, subject)
    return Finding(
        id=key,
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


def _quantity(claim: Claim, figure: ClaimedFigure, runs: Runs, subject: Subject) -> Quantity:
    """Estimate a figure and compare it with the printed one: to the digit if it is exact, else by tolerance."""
    run, reported, measure = figure
    if missing := measure.missing(runs):
        return Quantity(run=run, reported=reported, missing=missing)
    found = estimate(measure, runs, exact=runs.published and claim.of_these_runs)
    if found is None:
        return Quantity(run=run, reported=reported, missing="the records do not hold this figure")
    agrees = None
    if reported is not None and _is_of(measure, runs, subject):
        if runs.published or measure.is_exact:
            agrees = f"{found.value:.{len(reported.partition('.')[2])}f}" == reported
        else:
            agrees = abs(found.value - float(reported)) <= claim.tolerance
    return Quantity(run=run, reported=reported, estimate=found, agrees=agrees)


def _judge(
    claim: Claim,
    figures: list[Quantity],
    controls: list[ControlResult],
    others: list[str],
    runs: Runs,
    subject: Subject,
) -> tuple[Verdict, str]:
    """Return the verdict on a claim and the reason. The first rule that applies decides."""
    missing = claim.untested or next((figure.missing for figure in figures if figure.missing), None)
    if missing or claim.measure is None:
        return "not tested", missing or "no record can hold it"
    comparable = all(_is_of(figure.measure, runs, subject) for figure in claim.figures)
    if not comparable and (claim.measure.local or claim.direction is None):
        return "not tested", claim.measure.local or "the reported figure is of other training images or networks"
    exact = runs.published or all(figure.measure.is_exact for figure in claim.figures)
    if wrong := [figure for figure in figures if exact and figure.agrees is False]:
        rounded = all(figure.measure.is_exact and claim.tolerance for figure in claim.figures)
        rounded = rounded and all(_within(figure, claim.tolerance) for figure in wrong)
        return "rounded" if rounded else "misreported setting", _shown(wrong[0], claim.source(runs.published))
    if claim.direction is None:
        return ("matches the logs", "at the printed precision") if exact else _retrained(claim, figures)
    (figure,) = figures
    if isinstance(claim.measure, SettingsCount) and claim.measure.value is not None and figure.estimate:
        so = answer(figure.estimate, claim.direction) == "supported"
        return "matches the logs" if so else "misreported setting", _with_unit(figure.estimate, claim)
    verdict, reason = _compared(claim, figure, controls, others)
    if not comparable:
        reason += "; for the images, networks and split of this suite"
    elif figure.agrees is not None and not exact:
        reason += f"; the figure is {'reproduced' if figure.agrees else _shown(figure, 'not reproduced: it is')}"
    return verdict, "; ".join([reason, *_failing_teachers(claim, runs)])


def _compared(claim: Claim, figure: Quantity, controls: list[ControlResult], others: list[str]) -> tuple[Verdict, str]:
    """Judge a comparison by where its interval lies, then by the controls of its explanation."""
    found, bound = figure.estimate, claim.direction
    assert found is not None
    assert bound is not None
    said, number = answer(found, bound), _with_unit(found, claim)
    if said == "contradicted":
        return said, f"{number}, which is not {bound}"
    run = [control for control in controls if control.estimate and control.answer]
    for control in run:
        if control.answer == "contradicted":
            return "confounded", _control_text(control)
    if others and not run:
        return "not identified", f"the runs also differ in {', '.join(others)}, and no control was run"
    if said == "supported" and all(control.answer == "supported" for control in run):
        return said, f"{number}, which is {bound}" + ("; its controls agree" if run else "")
    few = found.chance != "seed" or found.planned
    text = too_few_text(found) if few else f"{number}; supported if {bound}"
    return "undecided", "; ".join([text, *map(_control_text, run)])


def _retrained(claim: Claim, figures: list[Quantity]) -> tuple[Verdict, str]:
    """Judge printed figures by the intervals of a new training: each within its tolerance, or outside."""
    estimates = [(figure, figure.estimate) for figure in figures if figure.estimate]
    if few := next((found for _, found in estimates if found.chance != "seed" or found.planned), None):
        agree = sum(figure.agrees or False for figure in figures)
        why = f"{few.seeds} of the {few.planned} planned seeds" if few.planned else "one seed decides nothing"
        return "undecided", f"{agree} of {len(figures)} within {claim.tolerance:g} of the printed figure: {why}"
    within = [_within(figure, claim.tolerance, found.low, found.high) for figure, found in estimates]
    if False in within:
        return "contradicted", _shown(figures[within.index(False)], "a new training gives")
    return ("supported", "reproduced") if all(within) else ("undecided", "an interval ends outside the tolerance")


def _within(figure: Quantity, tolerance: float, low: float | None = None, high: float | None = None) -> bool | None:
    """Return whether a figure, or its interval, lies within the tolerance: None where a part of it does."""
    assert figure.reported is not None
    assert figure.estimate is not None
    printed, value = float(figure.reported), figure.estimate.value
    low, high = value if low is None else low, value if high is None else high
    if printed - tolerance <= low and high <= printed + tolerance:
        return True
    return False if high < printed - tolerance or low > printed + tolerance else None


def _is_of(measure: AnyMeasure, runs: Runs, subject: Subject) -> bool:
    """Return whether a measure is of the images and networks of the reported figures."""
    trained = not measure.is_exact
    return runs.published or all(subject.includes(runs.specs[run], trained) for run in measure.needs)


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


def _failing_teachers(claim: Claim, runs: Runs) -> list[str]:
    """Name the teachers that a comparison of accuracies rests on and whose test loss is often worse than guessing."""
    if not isinstance(claim.measure, Contrast):
        return []
    found = []
    for name in dict.fromkeys(runs.specs[run].teacher or run for run in claim.measure.runs):
        spec, histories = runs.specs[name], [record.history for (run, _), record in runs.records.items() if run == name]
        losses = [epoch.test_loss for history in histories for epoch in history]
        worse = sum(loss is None or loss > math.log(spec.dataset.classes) for loss in losses)
        if worse > FAILING_SHARE * len(losses):
            found.append(f"the test loss of {name} is worse than guessing in {worse} of {len(losses)} epochs")
    return found


# Reasons


def _control_text(control: ControlResult) -> str:
    assert control.estimate is not None
    return f"control, {control.what}: {number_text(control.estimate)}, needed {control.condition}"


def _with_unit(found: Estimate, claim: Claim) -> str:
    return f"{number_text(found)} {claim.unit}".strip()


def _shown(figure: Quantity, source: str) -> str:
    """Set a figure against the printed one."""
    of = f" for {figure.run}" if figure.run else ""
    return f"{source} {exact_text(figure)} where {figure.reported} is printed{of}".replace("-", "−")
