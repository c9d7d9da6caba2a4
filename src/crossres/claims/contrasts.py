"""Planned contrasts to verdicts: the paired t test over seeds, with Holm's correction within a family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from crossres.claims import statistics
from crossres.claims.claim import Claims, Verdict
from crossres.claims.estimate import Answer, answer, estimate, over_seeds
from crossres.claims.finding import LEVEL, ContrastFinding, Estimate, number_text, too_few_text
from crossres.claims.measures import Contrast
from crossres.claims.runs import Runs
from crossres.suites.contrasts import Bound, PlannedContrast
from crossres.suites.suite import Suite


class Test(NamedTuple):
    """The p of a test."""

    p: float
    corrected: float
    """After Holm's correction over its family; the same without one."""


class Decision(NamedTuple):
    """What the values of a contrast say."""

    estimate: Estimate
    answer: Answer


def contrast_findings(suite: Suite, runs: Runs, claims: Claims) -> list[ContrastFinding]:
    """Judge the contrasts of a suite by its records, in the suite's order."""
    values = {name: _planned_values(contrast, suite, runs) for name, contrast in suite.contrasts.items()}
    decided = decide(suite.contrasts, values)
    return [
        _contrast_finding(name, contrast, decided.get(name), suite, runs, claims)
        for name, contrast in suite.contrasts.items()
    ]


def decide(contrasts: Mapping[str, PlannedContrast], values: Mapping[str, list[float] | None]) -> dict[str, Decision]:
    """Judge the contrasts of a suite of which there are all values.

    A contrast in a family is supported or contradicted only if the test against the respective bound rejects after
    Holm's correction over the family, made for each of the two answers; each is false with a probability of at most
    half the level, since only one side of the interval can be wrong.

    Args:
        values: One number per seed, by contrast; None where there are fewer than two, or not all that were planned.
    """
    sides: list[tuple[Answer, dict[str, Bound]]] = [
        ("supported", {name: one.supported_if for name, one in contrasts.items()}),
        ("contradicted", {name: one.contradicted_if for name, one in contrasts.items()}),
    ]
    tests = {said: _tests(contrasts, values, bounds) for said, bounds in sides}
    found: dict[str, Decision] = {}
    for name, contrast in contrasts.items():
        if (numbers := values[name]) is None:
            continue
        made = over_seeds(numbers)
        assert made.low is not None
        assert made.high is not None
        passed = [
            said
            for said, bounds in sides
            if bounds[name].holds(made.low, made.high) and tests[said][name].corrected < LEVEL
        ]
        test = tests["supported"][name]
        p_holm = test.corrected if contrast.family else None
        estimate = made.model_copy(update={"p": test.p, "p_holm": p_holm})
        found[name] = Decision(estimate, passed[0] if passed else "undecided")
    return found


def _tests(
    contrasts: Mapping[str, PlannedContrast], values: Mapping[str, list[float] | None], bounds: Mapping[str, Bound]
) -> dict[str, Test]:
    """Return the test of each contrast against a bound; one that cannot be made counts in its family."""
    p = {name: 1.0 if found is None else statistics.t_test(found, bounds[name].at) for name, found in values.items()}
    corrected = dict(p)
    for family in {one.family for one in contrasts.values() if one.family}:
        members = [name for name, one in contrasts.items() if one.family == family]
        corrected |= zip(members, statistics.holm([p[name] for name in members]), strict=True)
    return {name: Test(p[name], corrected[name]) for name in p}


def _planned_values(contrast: PlannedContrast, suite: Suite, runs: Runs) -> list[float] | None:
    """Return one number per seed; None until all planned ones are there, since a look on the way must not decide."""
    there, measure = runs.seeds(contrast.runs), _measure(contrast)
    found = [measure.of(runs, seed) for seed in there]
    values = [value for value in found if value is not None]
    complete = set(there) >= set(suite.common_seeds(contrast.runs)) and len(values) == len(there)
    return values if complete and len(values) > 1 else None


def _measure(contrast: PlannedContrast) -> Contrast:
    return Contrast(column=contrast.column, runs=contrast.runs)


def _contrast_finding(
    name: str, contrast: PlannedContrast, decided: Decision | None, suite: Suite, runs: Runs, claims: Claims
) -> ContrastFinding:
    measure, claim = _measure(contrast), claims.claims.get(contrast.claim or "")
    found: Estimate | None = None
    verdict: Verdict = "undecided"
    planned = len(suite.common_seeds(contrast.runs))
    if decided:
        found, verdict = decided
        more = f", {found.seeds - planned} more than planned" if found.seeds > planned else ""
        reason = f"{number_text(found)} over {found.seeds} seeds{more}; supported if {contrast.supported_if}"
        if contrast.smallest_effect:
            reason += f", contradicted if {contrast.contradicted_if}"
            small = verdict == "supported" and answer(found, contrast.contradicted_if) == "supported"
            reason += "; below the smallest effect of interest" if small else ""
    else:
        found = None if (missing := measure.missing(runs)) else estimate(measure, runs)
        if found is None:
            verdict, reason = "not tested", missing or "the records do not hold this figure"
        else:
            reason = too_few_text(found)
    same = claim and isinstance(claim.measure, Contrast) and (claim.measure.column, claim.measure.runs)
    return ContrastFinding(
        id=name,
        title=contrast.title,
        claim=contrast.claim,
        family=contrast.family,
        column=contrast.column,
        condition=str(contrast.supported_if),
        reported=claim.figures[0].reported if claim and same == (measure.column, measure.runs) else None,
        estimate=found,
        verdict=verdict,
        reason=reason,
    )
