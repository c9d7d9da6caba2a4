"""What the report's audit section sets: claims, controls, factors and calibration, as the cells of tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeVar

from crossres.base import CrossresError, nearest
from crossres.claims.finding import (
    VERDICTS,
    Audit,
    ContrastFinding,
    Finding,
    exact_text,
    found_text,
    interval_text,
    number_text,
    p_text,
    reported_text,
)
from crossres.claims.statistics import half_width
from crossres.records.record import Record
from crossres.report.facts import Facts
from crossres.report.latex import mono
from crossres.report.numbers import Number, listing, mean, minus, signed, with_spread
from crossres.report.tabular import MISSING
from crossres.suites.suite import Factor

Named = TypeVar("Named")
CALIBRATION = ("temperature", "nll", "scaled_nll", "ece", "scaled_ece")


class ClaimRow(NamedTuple):
    """A claim in the table of claims; texts are empty where there is nothing to say."""

    finding: Finding
    reported: str
    found: str
    interval: str
    p: str


class FactorTable(NamedTuple):
    """The levels of a factor, each with its run, its accuracy and the difference in points from the first level."""

    title: str
    rows: list[list[str]]


def claim_rows(audit: Audit) -> list[ClaimRow]:
    """Return one row per claim."""
    rows = []
    for finding in audit.findings:
        figure = finding.single
        p = p_text(figure.estimate)
        reported, found = minus(reported_text(figure)), minus(found_text(finding))
        rows.append(ClaimRow(finding, reported, found, minus(interval_text(figure.estimate)), p))
    return rows


class Evidence:
    """The verdicts on the claims, and what they rest on."""

    meanings = VERDICTS

    def __init__(self, facts: Facts, audit: Audit) -> None:
        self.facts = facts
        self.source = audit.source
        self.claims = audit.findings
        self.tested = any(finding.verdict != "not tested" for finding in self.claims)
        self.verdict_counts = list(audit.counts().items())
        self.claim_rows = claim_rows(audit)
        figures = [figure for finding in self.claims for figure in finding.figures]
        controls = [control for finding in self.claims for control in finding.controls]
        self.compared = [figure for figure in figures if figure.agrees is not None]
        """Printed figures that could be compared."""
        self.disagreeing = sum(figure.agrees is False for figure in self.compared)
        self.untested_controls = sum(control.missing is not None for control in controls)
        self.controls_of_one_seed = any(found.estimate and found.estimate.chance == "image" for found in controls)
        self.contrasts = audit.contrasts

    def claim(self, name: str) -> ClaimRow:
        """Return a claim by its key."""
        return _named("claim", name, {row.finding.id: row for row in self.claim_rows})

    def contrast(self, name: str) -> ContrastFinding:
        """Return a planned contrast of the suite by its key."""
        return _named("contrast", name, {contrast.id: contrast for contrast in self.contrasts})

    @property
    def wrong_rows(self) -> list[list[str]]:
        """The printed figures that disagree with the records, one row for all runs with the same two figures."""
        runs: dict[tuple[str, ...], list[str]] = {}
        for finding in self.claims:
            for figure in finding.figures:
                if figure.agrees is not False or figure.estimate is None or figure.reported is None:
                    continue
                printed, value = figure.reported, exact_text(figure)
                unit = f" {finding.unit}" if len(finding.unit) > 1 else finding.unit
                key = (finding.id, minus(printed + unit), minus(value + unit), finding.where)
                runs.setdefault(key, []).extend([self.facts.label(figure.run)] if figure.run else [])
        return [[mono(claim), listing(of) if of else MISSING, *cells] for (claim, *cells), of in runs.items()]

    @property
    def decided(self) -> list[tuple[str, list[tuple[list[str], str]]]]:
        """The reasons of each verdict but `matches the logs`, with the claims that each decided."""
        found: dict[str, dict[str, list[str]]] = {verdict: {} for verdict in VERDICTS if verdict != "matches the logs"}
        for finding in self.claims:
            if finding.verdict in found:
                found[finding.verdict].setdefault(finding.reason, []).append(finding.id)
        return [
            (verdict, [(ids, why) for why, ids in reasons.items()]) for verdict, reasons in found.items() if reasons
        ]

    @property
    def control_rows(self) -> list[list[str]]:
        """The controls that could be tested."""
        rows = []
        for finding in self.claims:
            for control in finding.controls:
                if control.estimate is None:
                    continue
                value = number_text(control.estimate).replace(" ", "\u00a0")
                rows.append([mono(finding.id), control.what, value, control.condition, str(control.answer)])
        return rows

    @property
    def contrast_rows(self) -> list[list[str]]:
        """The planned contrasts of the suite; without their families where there are none."""
        rows, families = [], any(contrast.family for contrast in self.contrasts)
        for contrast in self.contrasts:
            found = contrast.estimate
            value = number_text(found).replace(" ", "\u00a0") if found else MISSING
            family = [contrast.family or MISSING] if families else []
            rows.append([contrast.title, value, contrast.condition, p_text(found), *family, contrast.verdict])
        return rows

    @property
    def factors(self) -> list[FactorTable]:
        return [self._factor(factor) for factor in self.facts.suite.factors.values()]

    def _factor(self, factor: Factor) -> FactorTable:
        """Set each level of a factor against the first, paired by seed."""
        accuracies = [_by_seed(self.facts.by_run[run]) for run in factor.levels.values()]
        first, rows = accuracies[0], []
        for (level, run), own in zip(factor.levels.items(), accuracies, strict=True):
            gains = [own[seed] - first[seed] for seed in own if seed in first and own is not first]
            change = signed(mean(gains) if gains else None, _width(gains))
            rows.append([level, mono(run), with_spread(mean(own.values()), _width(own.values())), change])
        return FactorTable(factor.title, rows)

    @property
    def calibrations(self) -> dict[str, dict[str, Number]]:
        """The runs whose records hold their figures after temperature scaling, means over seeds."""
        calibrations = {}
        for run, records in self.facts.by_run.items():
            found = [
                (scaled.temperature, best.nll, scaled.nll, best.ece, scaled.ece)
                for record in records
                if (scaled := record.calibrated) and (best := record.best).nll is not None and best.ece is not None
            ]
            if found:
                means = (mean(column, 3) for column in zip(*found, strict=True))
                calibrations[run] = dict(zip(CALIBRATION, means, strict=True))
        return calibrations

    @property
    def calibration_rows(self) -> list[list[str]]:
        return [[self.facts.label(run), *map(str, found.values())] for run, found in self.calibrations.items()]


def _named(kind: str, name: str, known: Mapping[str, Named]) -> Named:
    if name not in known:
        raise CrossresError(f"no {kind} '{name}'{nearest(name, known)}")
    return known[name]


def _by_seed(records: Iterable[Record]) -> dict[int, float]:
    return {record.spec.seed: record.best.top1_pct for record in records}


def _width(values: Iterable[float]) -> Number | None:
    kept = list(values)
    return Number(half_width(kept), 2) if len(kept) > 1 else None
