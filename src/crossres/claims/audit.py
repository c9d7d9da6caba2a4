"""Claims to verdicts, by rule.

A claim's figure is estimated from the records, with an interval and, where the claim or a control names a bound, a test
against it; Holm's correction is over all of an audit's tests. `_judge` holds the rules, from top to bottom.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from crossres.claims import statistics
from crossres.claims.document import (
    Audit,
    Bound,
    Claim,
    Claims,
    Controlled,
    Estimate,
    Figure,
    Finding,
    Subject,
    Verdict,
    interval_text,
    value_text,
)
from crossres.claims.measures import MINUTES, PROPORTIONS, AnyMeasure, Contrast, Ratio, Runs
from crossres.records.record import Record, records_by_run
from crossres.suites.compare import differences_beside
from crossres.suites.spec import Spec
from crossres.suites.suite import Suite

LEVEL = 0.05
"""A p after correction has to be below it."""


def audit(suite: Suite, records: Iterable[Record], summary: pd.DataFrame, claims: Claims) -> Audit:
    """Judge every claim by the records of a suite.

    Args:
        suite: The suite.
        records: A record of every run and seed.
        summary: Their table, of `crossres.records.summary.summarise`.
        claims: `paper/claims.yaml`.

    Returns:
        One finding a claim, in the order of the claims.
    """
    runs = Runs((record for found in records_by_run(suite, records).values() for record in found), summary)
    measured = [_measure(key, claim, runs) for key, claim in claims.claims.items()]
    _correct(measured)
    findings = [_finding(entry, runs, claims.of) for entry in measured]
    return Audit(suite=suite.suite, source=claims.source, level=LEVEL, findings=findings)


class Measured(NamedTuple):
    """A claim with its numbers, before it is judged."""

    key: str
    claim: Claim
    figures: list[Figure]
    controls: list[Controlled]


def _measure(key: str, claim: Claim, runs: Runs) -> Measured:
    figures = []
    for run, text, measure in claim.figures():
        missing = _missing(measure, runs)
        found = None if missing else _estimate(measure, runs, claim.direction)
        missing = missing or (None if found else "the records do not hold this figure")
        figures.append(Figure(run=run, reported=text, estimate=found, missing=missing))
    controls = []
    for control in claim.explanation.controls if claim.explanation else ():
        missing = _missing(control.measure, runs)
        found = None if missing else _estimate(control.measure, runs, control.holds_if)
        missing = missing or (None if found else "the records do not hold this figure")
        side = "above" if control.holds_if.above is not None else "below"
        condition = f"{side} {control.holds_if.at:g}".replace("-", "−")
        controls.append(Controlled(what=control.what, condition=condition, estimate=found, missing=missing))
    return Measured(key, claim, figures, controls)


def _missing(measure: AnyMeasure, runs: Runs) -> str | None:
    """Say which run or seed a measure lacks, or nothing."""
    absent = [run for run in measure.needs if run not in runs.specs]
    if absent:
        return f"the suite has no run {', '.join(absent)}"
    if isinstance(measure, Ratio) and measure.column == MINUTES and (partly := runs.with_stored_logits(measure.needs)):
        return f"the minutes of {', '.join(partly)} leave out a teacher's pass, since its logits were stored and shared"
    return None if runs.seeds(measure.needs) else f"no seed is common to {', '.join(measure.needs)}"


# Numbers


def _estimate(measure: AnyMeasure, runs: Runs, bound: Bound | None) -> Estimate | None:
    """Return a measure's mean over seeds with its interval and, against a bound, its test."""
    seeds = runs.seeds(measure.needs)
    values = [measure.of(runs, seed) for seed in seeds]
    if None in values:
        return None
    numbers = [value for value in values if value is not None]
    found: dict[str, Any] = {"value": float(np.mean(numbers)), "seeds": len(seeds)}
    if len(seeds) > 1 and measure.by_training and not measure.without_chance:
        found |= _over_blocks(measure, runs, seeds, bound) or _over_seeds(numbers, bound)
    elif isinstance(measure, Contrast) and measure.column in PROPORTIONS:
        found |= _over_images(measure, runs, seeds[0], bound)
    if isinstance(measure, Contrast):
        found |= _paired(measure, runs, seeds, found, bound)
    return Estimate(**found)


def _over_seeds(values: list[float], bound: Bound | None) -> dict[str, Any]:
    width, mean = statistics.half_width(values), float(np.mean(values))
    if width <= 1e-9 * abs(mean):
        return {}
    found: dict[str, Any] = {"low": mean - width, "high": mean + width, "interval": f"t over {len(values)} seeds"}
    p = None if bound is None else statistics.t_test(values, bound.at)
    return found if p is None else {**found, "test": f"t over {len(values)} seeds", "p": p}


def _over_blocks(measure: AnyMeasure, runs: Runs, seeds: list[int], bound: Bound | None) -> dict[str, Any]:
    """Set runs against each other by seed, with the spread of all runs of the same networks; empty where it cannot."""
    if not isinstance(measure, Contrast) or not measure.minus:
        return {}
    compared = (*measure.plus, *measure.minus)
    networks = {runs.specs[run].model.name for run in compared}
    like = [
        run for run in runs.specs if runs.specs[run].model.name in networks and set(seeds) <= set(runs.seeds([run]))
    ]
    table = {run: [measure.term(runs, run, seed) for seed in seeds] for run in like}
    pool = {run: values for run, values in table.items() if None not in values}
    weights = [measure.plus.count(run) - measure.minus.count(run) for run in pool]
    contrast = statistics.block_contrast(
        np.array(list(pool.values()), dtype=float), weights, bound.at if bound else 0.0
    )
    if contrast is None:
        return {}
    text = f"t over {len(seeds)} seeds, spread of {len(pool)} runs"
    found: dict[str, Any] = {"low": contrast.interval.low, "high": contrast.interval.high, "interval": text}
    return {**found, "test": text, "p": contrast.p} if bound else found


def _over_images(measure: Contrast, runs: Runs, seed: int, bound: Bound | None) -> dict[str, Any]:
    """Treat the test images as the only source of chance; one seed gives no other."""
    images = runs.test_images(measure.plus[0])
    plus, minus = (
        [(measure.term(runs, run, seed) or 0.0) / 100 for run in side] for side in (measure.plus, measure.minus)
    )
    if not minus and len(plus) == 1:
        low, high = statistics.wilson(plus[0], images)
        found: dict[str, Any] = {"interval": f"Wilson, {images:,} images"}
    else:
        contrast = statistics.proportions_contrast(plus, minus, images, (bound.at if bound else 0.0) / 100)
        low, high = contrast.interval
        found = {"interval": f"Newcombe, {images:,} images, unpaired"}
        found |= {"test": "z of independent proportions", "p": contrast.p} if bound else {}
    return {**found, "low": 100 * low, "high": 100 * high}


def _paired(
    measure: Contrast, runs: Runs, seeds: list[int], found: dict[str, Any], bound: Bound | None
) -> dict[str, Any]:
    """Compare two runs image by image, where their records say which images they have right."""
    if measure.column != "accuracy_pct" or measure.until_end_of or (len(measure.plus), len(measure.minus)) != (1, 1):
        return {}
    first, second = (runs.correct(run, seeds) for run in (*measure.minus, *measure.plus))
    if first is None or second is None or first.shape != second.shape:
        return {}
    generator = np.random.default_rng(zlib.crc32(repr((measure.minus, measure.plus, seeds)).encode()))
    low, high = statistics.paired_bootstrap(first, second, generator)
    tests = [statistics.mcnemar(one, other) for one, other in zip(first, second, strict=True)]
    more: dict[str, Any] = {"bootstrap": (100 * low, 100 * high)}
    more["mcnemar"] = [(seed, *test) for seed, test in zip(seeds, tests, strict=True)]
    if len(seeds) == 1:
        more |= {"low": 100 * low, "high": 100 * high, "interval": "paired bootstrap over images"}
        if bound is not None and bound.at == 0:
            more |= {"test": "exact McNemar", "p": tests[0].p}
    return more


def _correct(measured: list[Measured]) -> None:
    """Adjust the p of every test of the audit, in place of the estimates."""
    holders: list[list[Any]] = [holder for entry in measured for holder in (entry.figures, entry.controls)]
    places = [(holder, index) for holder in holders for index in range(len(holder)) if holder[index].estimate]
    adjusted = statistics.holm([holder[index].estimate.p for holder, index in places])
    for (holder, index), p in zip(places, adjusted, strict=True):
        estimate = holder[index].estimate.model_copy(update={"p_holm": p})
        holder[index] = holder[index].model_copy(update={"estimate": estimate})


# Rules


def _finding(entry: Measured, runs: Runs, subject: Subject) -> Finding:
    key, claim, figures, controls = entry
    figures = [
        figure.model_copy(update={"agrees": _agrees(claim, figure, measure, runs, subject)})
        for figure, (_, _, measure) in zip(figures, claim.figures(), strict=True)
    ]
    bounds = [control.holds_if for control in claim.explanation.controls] if claim.explanation else []
    controls = [
        control.model_copy(update={"holds": _holds(control.estimate, bound)}) if control.estimate else control
        for control, bound in zip(controls, bounds, strict=True)
    ]
    others = _also_differs(claim, runs) if not any(figure.missing for figure in figures) else []
    entry = Measured(key, claim, figures, controls)
    verdict, reason = _judge(entry, others, runs.published, _comparable(claim, runs, subject))
    return Finding(
        **{"id": key, "statement": claim.statement, "where": claim.where, "unit": claim.unit, "verdict": verdict},
        **{"reason": reason, "because": claim.explanation.because if claim.explanation else None},
        **{"figures": figures, "controls": controls, "also_differs": others},
    )


def _judge(entry: Measured, others: list[str], published: bool, comparable: bool) -> tuple[Verdict, str]:
    """Return the verdict on a claim and the reason; the first rule that applies decides."""
    _, claim, figures, controls = entry
    missing = claim.untested or next((figure.missing for figure in figures if figure.missing), None)
    if missing:
        return "not tested here", missing
    wrong = [figure for figure in figures if figure.agrees is False]
    exact = published or all(measure.without_chance for _, _, measure in claim.figures())
    if wrong and exact:
        return "arithmetic error", f"the {'logs' if published else 'networks'} give {_shown(wrong[0])}"
    if not comparable and claim.measure is not None and claim.measure.own:
        return "not tested here", claim.measure.own
    if not comparable and claim.direction is None:
        return "not tested here", "the figure is of other images or networks than these"
    if claim.direction is not None and not _holds(figures[0].estimate, claim.direction):
        return "not reproduced", _why_not(claim, figures[0].estimate, claim.direction)
    broken = _broken(controls, others)
    if claim.direction is None and wrong:
        return "not reproduced", f"the records give {_shown(wrong[0])}"
    if broken:
        return "confounded", broken
    if wrong or not comparable:
        return "direction only", _why_direction_only(wrong, comparable)
    return "reproduced", _why_reproduced(claim, controls, published)


def _agrees(claim: Claim, figure: Figure, measure: AnyMeasure, runs: Runs, subject: Subject) -> bool | None:
    """Compare a figure with the printed one, at the printed precision where no chance is in it."""
    if figure.reported is None or figure.estimate is None or not _is_of(measure, runs, subject):
        return None
    if runs.published or measure.without_chance:
        digits = len(figure.reported.partition(".")[2])
        return f"{figure.estimate.value:.{digits}f}" == figure.reported
    return abs(figure.estimate.value - float(figure.reported)) <= claim.tolerance


def _comparable(claim: Claim, runs: Runs, subject: Subject) -> bool:
    figures = claim.figures()
    return not any(_missing(m, runs) for _, _, m in figures) and all(_is_of(m, runs, subject) for _, _, m in figures)


def _is_of(measure: AnyMeasure, runs: Runs, subject: Subject) -> bool:
    """Tell whether a measure is of the networks and images that the claims are about, uncut."""
    if runs.published:
        return True
    specs = [runs.specs[run] for run in measure.needs]
    return all(_is_the_subject(spec, subject, trained=not measure.without_chance) for spec in specs)


def _is_the_subject(spec: Spec, subject: Subject, trained: bool) -> bool:
    whole = spec.budget is None and spec.dataset.train_images is None and spec.model.pretrained
    same = spec.dataset.name == subject.dataset and spec.model.name in subject.networks
    return same and (whole or not trained)


def _holds(estimate: Estimate | None, bound: Bound) -> bool:
    """Tell whether a number is on its side of a bound, and significantly so where there is a test."""
    if estimate is None or not bound.met_by(estimate.value):
        return False
    return estimate.p_holm is None or estimate.p_holm < LEVEL


def _broken(controls: list[Controlled], others: list[str]) -> str | None:
    """Say what the explanation does not survive: a control, or, without one, the other settings that differ."""
    tested = [control for control in controls if control.estimate is not None]
    for control in tested:
        if not control.holds and control.estimate is not None:
            return f"control, {control.what}: {_number(control.estimate)}, which is not {control.condition}" + (
                _chance(control.estimate) if _on_its_side(control) else ""
            )
    if others and not tested:
        return f"the runs also differ in {', '.join(others)}, and no control was run"
    return None


def _on_its_side(control: Controlled) -> bool:
    """Tell whether a control that does not hold fails by its p alone."""
    estimate = control.estimate
    if estimate is None:
        return False
    side, at = control.condition.replace("−", "-").split()
    return estimate.value > float(at) if side == "above" else estimate.value < float(at)


def _also_differs(claim: Claim, runs: Runs) -> list[str]:
    """Name the settings beside the named factor in which the two compared runs, or their teachers, differ."""
    measure = claim.measure
    if claim.explanation is None or not isinstance(measure, Contrast):
        return []
    if (len(measure.plus), len(measure.minus)) != (1, 1):
        return []
    one, other = measure.minus[0], measure.plus[0]
    factor, specs = claim.explanation.factor, runs.specs
    found = differences_beside(factor, one, other, specs)
    mine, theirs = specs[one].teacher, specs[other].teacher
    if mine and theirs and mine != theirs:
        found += [f"the teacher's {name}" for name in differences_beside(factor, mine, theirs, specs)]
    return found


# Reasons


def _number(estimate: Estimate) -> str:
    return f"{value_text(estimate)} {interval_text(Figure(estimate=estimate))}".strip().replace("-", "−")


def _chance(estimate: Estimate) -> str:
    return f" beyond chance (p = {estimate.p_holm:.2g} after correction)" if estimate.p_holm is not None else ""


def _shown(figure: Figure) -> str:
    """Set a figure against the printed one, with a digit more than that has."""
    digits = len((figure.reported or "").partition(".")[2]) + 1
    value = f"{figure.estimate.value:.{digits}f}" if figure.estimate else ""
    of = f" for {figure.run}" if figure.run else ""
    return f"{value} where {figure.reported} is printed{of}".replace("-", "−")


def _why_not(claim: Claim, estimate: Estimate | None, bound: Bound) -> str:
    if estimate is None:
        return "there is no figure"
    number = f"{_number(estimate)} {claim.unit}".strip()
    if claim.measure is not None and not claim.measure.by_training:
        return number
    side = "above" if bound.above is not None else "below"
    where = f"{side} {bound.at:g}".replace("-", "−")
    if not bound.met_by(estimate.value):
        return f"{number}, which is not {where}"
    return f"{number}, which is not {where}{_chance(estimate)}"


def _why_direction_only(wrong: list[Figure], comparable: bool) -> str:
    if not comparable:
        return "it holds for these images and networks, which are not the thesis's"
    return f"the direction holds; the records give {_shown(wrong[0])}"


def _why_reproduced(claim: Claim, controls: list[Controlled], published: bool) -> str:
    text = "it agrees with the thesis's logs" if published else "it comes out within its tolerance"
    text = text if claim.reported is not None else "it is so in the records"
    if claim.explanation is None:
        return text
    tested = [control for control in controls if control.holds]
    return f"{text}, and its controls hold" if tested else f"{text}; its explanation is not tested here"
