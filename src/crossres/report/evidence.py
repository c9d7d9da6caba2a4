"""What the report's audit section sets: claims, controls, factors and calibration as rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from crossres.claims.finding import (
    Audit,
    ControlResult,
    Finding,
    Quantity,
    found_text,
    interval_text,
    p_text,
    reported_text,
    value_text,
)
from crossres.claims.statistics import half_width
from crossres.records.record import Record
from crossres.report.facts import Facts, Number
from crossres.suites.suite import Factor


class ClaimRow(NamedTuple):
    """A claim in the table of claims; texts are empty where there is nothing to say."""

    finding: Finding
    reported: str
    found: str
    interval: str
    p: str


class ControlRow(NamedTuple):
    """A control that the suite has the runs for."""

    id: str
    control: ControlResult
    value: str
    p: str


class LevelRow(NamedTuple):
    """A level of a factor: its accuracy in per cent, and the difference in points from the first level."""

    level: str
    run: str
    accuracy: Number
    half_width: Number | None
    """Of the 95 % t interval; None below two seeds, as is that of the change."""
    change: Number | None
    change_half_width: Number | None


class CalibrationRow(NamedTuple):
    """A run's test figures before and after temperature scaling, means over seeds."""

    run: str
    temperature: Number
    nll: Number
    nll_after: Number
    ece: Number
    ece_after: Number


class WrongRow(NamedTuple):
    """A printed figure that disagrees with the records, for all runs with the same two figures."""

    id: str
    runs: list[str]
    printed: str
    value: str
    where: str


def claim_rows(audit: Audit) -> list[ClaimRow]:
    """Return a row a claim."""
    rows = []
    for finding in audit.findings:
        figure = finding.single
        p = p_text(figure.estimate)
        reported, found = _minus(reported_text(figure)), _minus(found_text(finding))
        rows.append(ClaimRow(finding, reported, found, _minus(interval_text(figure.estimate)), p))
    return rows


def control_rows(audit: Audit) -> list[ControlRow]:
    """Return a row a control that could be tested."""
    rows = []
    for finding in audit.findings:
        for control in finding.controls:
            if control.estimate is not None:
                interval = interval_text(control.estimate).replace(
                    " ", "\u00a0"
                )  # so that it stays whole in a narrow column
                value = _minus(f"{value_text(control.estimate)} {interval}".strip())
                rows.append(ControlRow(finding.id, control, value, p_text(control.estimate)))
    return rows


def decided(audit: Audit, verdict: str) -> list[tuple[list[str], str]]:
    """Return the reasons of a verdict with the claims that each decided."""
    reasons: dict[str, list[str]] = {}
    for finding in audit.findings:
        if finding.verdict == verdict:
            reasons.setdefault(finding.reason, []).append(finding.id)
    return [(ids, reason) for reason, ids in reasons.items()]


def compared(audit: Audit) -> list[Quantity]:
    """Return the printed figures that could be compared."""
    return [figure for finding in audit.findings for figure in finding.figures if figure.agrees is not None]


def wrong_rows(audit: Audit, facts: Facts) -> list[WrongRow]:
    """Return the printed figures that disagree with the records."""
    rows: dict[tuple[str, ...], WrongRow] = {}
    for finding in audit.findings:
        for figure in finding.figures:
            if figure.agrees is not False or figure.estimate is None or figure.reported is None:
                continue
            digits = len(figure.reported.partition(".")[2]) + 1
            printed, value = figure.reported + finding.unit, f"{figure.estimate.value:.{digits}f}{finding.unit}"
            new = WrongRow(finding.id, [], _minus(printed), _minus(value), finding.where)
            row = rows.setdefault((finding.id, printed, value), new)
            row.runs.extend([facts.label(figure.run)] if figure.run else [])
    return list(rows.values())


def level_rows(facts: Facts, factor: Factor) -> list[LevelRow]:
    """Return a row a level of a factor, each set against the first, paired by seed."""
    by_level = {level: _by_seed(facts.by_run[run]) for level, run in factor.levels.items()}
    first = next(iter(by_level.values()))
    rows = []
    for level, run in factor.levels.items():
        own = by_level[level]
        gains = [own[seed] - first[seed] for seed in own if seed in first and own is not first]
        mean = Number(sum(gains) / len(gains), 2) if gains else None
        accuracy = Number(sum(own.values()) / len(own), 2)
        rows.append(LevelRow(level, run, accuracy, _width(own.values()), mean, _width(gains)))
    return rows


def calibration_rows(facts: Facts) -> list[CalibrationRow]:
    """Return a row a run whose records hold its figures after temperature scaling."""
    rows = []
    for run, records in facts.by_run.items():
        pairs = [(record.best, record.calibrated) for record in records if record.calibrated is not None]
        if not pairs or any(best.nll is None or best.ece is None for best, _ in pairs):
            continue
        before = [(best.nll or 0.0, best.ece or 0.0) for best, _ in pairs]
        after = [(scaled.temperature, scaled.nll, scaled.ece) for _, scaled in pairs]
        (nll, ece), (temperature, nll_after, ece_after) = (
            map(_mean, zip(*part, strict=True)) for part in (before, after)
        )
        numbers = (temperature, nll, nll_after, ece, ece_after)
        rows.append(CalibrationRow(run, *(Number(value, 3) for value in numbers)))
    return rows


def _minus(text: str) -> str:
    return text.replace("-", "−")


def _by_seed(records: Iterable[Record]) -> dict[int, float]:
    return {record.spec.seed: record.best.top1_pct for record in records}


def _mean(values: Iterable[float]) -> float:
    kept = list(values)
    return sum(kept) / len(kept)


def _width(values: Iterable[float]) -> Number | None:
    kept = list(values)
    return Number(half_width(kept), 2) if len(kept) > 1 else None
