"""The numbers of the report by key, for papers that are written elsewhere: `mini.run.kd_32.accuracy_pct`."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import pandas as pd

from crossres.claims.finding import VERDICTS, Audit, Estimate, decimals, p_text
from crossres.claims.statistics import half_width
from crossres.records.summary import NUMBER_COLUMNS
from crossres.report import exhibits, tables
from crossres.report.comparisons import Comparisons
from crossres.report.evidence import Evidence
from crossres.report.execution import Execution
from crossres.report.facts import Facts
from crossres.report.findings import Findings
from crossres.report.inputs import ReportInputs
from crossres.report.numbers import Number, digits_of, mean
from crossres.report.tabular import spread_key
from crossres.suites.compare import SETTINGS

NOT_RESULTS = ("seed", "stopped_early", "truncated", "nonfinite_steps")
Keyed = Iterator[tuple[str, object]]


def numbers_by_key(inputs: ReportInputs) -> dict[str, str]:
    """Return the numbers that the report prints, as it prints them; of two for one key, the first."""
    comparisons = Comparisons(inputs.facts)
    parts = (
        _counts(inputs),
        _runs(inputs),
        _remarks(inputs.facts, comparisons),
        _gains(comparisons),
        _claims(inputs.audit),
    )
    found: dict[str, str] = {}
    for key, value in itertools.chain(*parts):
        if value not in (None, ""):
            found.setdefault(f"{inputs.suite.suite}.{key}", re.sub(r"(?<!\w)-(?=\d)", "−", str(value)))
    return found


def _counts(inputs: ReportInputs) -> Keyed:
    facts, evidence, verdicts = inputs.facts, Evidence(inputs.facts, inputs.audit), inputs.audit.counts()
    yield "runs", len(facts.by_run)
    yield "records", len(facts.records)
    yield "training_time", Execution(facts).training_time()
    if facts.runs("teacher"):
        yield "training_time.teachers", Execution(facts).training_time("teacher")
    yield "claims", len(evidence.claims)
    for verdict in VERDICTS if evidence.claims else ():
        yield f"claims.{verdict.replace(' ', '-')}", verdicts.get(verdict, 0)
    yield "figures.compared", len(evidence.compared)
    yield "figures.disagreeing", evidence.disagreeing


def _runs(inputs: ReportInputs) -> Keyed:
    """Yield the numbers of each run: those of the tables, then the others of the summary."""
    facts = inputs.facts
    shown = [tables.build(name, inputs.summary) for name in exhibits.shown("tables", facts)]
    columns = [(table.frame, column.key, column.digits) for table in shown for column in table.columns]
    rest = (key for key in (*NUMBER_COLUMNS, "parameters_millions", "seeds") if key not in NOT_RESULTS)
    columns += [(facts.table, key, digits_of(key)) for key in rest]
    for frame, column, digits in columns:
        for key, suffix in ((column, ""), (spread_key(column), ".half_width")):
            if digits is not None and {"run", key} <= set(frame):
                for run, value in zip(frame["run"], frame[key], strict=True):
                    yield f"run.{run}.{column}{suffix}", None if pd.isna(value) else Number(value, digits)
    for run, numbers in Evidence(facts, inputs.audit).calibrations.items():
        yield from ((f"run.{run}.{name}", number) for name, number in numbers.items())


def _remarks(facts: Facts, comparisons: Comparisons) -> Keyed:
    """Yield the settings of each run, by their keys in a suite, and what the report says of single runs."""
    findings = Findings(facts, comparisons)
    for run, texts in comparisons.texts.items():
        yield from ((f"run.{run}.{setting.path}", text) for setting, text in zip(SETTINGS, texts, strict=True))
        yield f"run.{run}.selection_gain", facts.selection_gain(run)
    for run, epochs in findings.unstable_losses.items():
        yield f"run.{run}.unstable_epochs", epochs
    if stop := findings.early_stop:
        yield f"run.{stop.run}.stop_rate_pct", stop.rate_share
        yield from ((f"run.{run}.accuracy_at_stop_pct", best) for run, best in stop.bests.items())


def _gains(comparisons: Comparisons) -> Keyed:
    """Yield the difference in points of the pairs and the levels that are compared, the second run minus the first."""
    levels = [list(factor.levels.values()) for factor in comparisons.facts.suite.factors.values()]
    for first, second in (*comparisons.pairs, *((base, run) for base, *others in levels for run in others)):
        gains = comparisons.gains(first, second)
        if gains:
            yield f"gain.{second}.{first}", mean(gains)
        if len(gains) > 1:
            yield f"gain.{second}.{first}.half_width", Number(half_width(gains), 2)


def _claims(audit: Audit) -> Keyed:
    """Yield the verdict, the figures and the controls of each claim, and the planned contrasts."""
    for finding in audit.findings:
        key = f"claim.{finding.id}"
        yield f"{key}.verdict", finding.verdict
        for figure in finding.figures:
            place = f"{key}.run.{figure.run}" if figure.run else key
            yield f"{place}.reported", figure.reported
            yield from _estimate(place, figure.estimate)
        for number, control in enumerate(finding.controls, 1):
            yield f"{key}.control.{number}.answer", control.answer
            yield f"{key}.control.{number}.condition", control.condition
            yield from _estimate(f"{key}.control.{number}", control.estimate)
    for contrast in audit.contrasts:
        yield f"contrast.{contrast.id}.verdict", contrast.verdict
        yield f"contrast.{contrast.id}.condition", contrast.condition
        yield f"contrast.{contrast.id}.reported", contrast.reported
        yield from _estimate(f"contrast.{contrast.id}", contrast.estimate)


def _estimate(key: str, estimate: Estimate | None) -> Keyed:
    if estimate is None:
        return
    for suffix, value in (("", estimate.value), (".low", estimate.low), (".high", estimate.high)):
        yield f"{key}{suffix}", None if value is None else f"{value:.{decimals(estimate)}f}"
    yield f"{key}.seeds", estimate.seeds
    yield f"{key}.p", p_text(estimate)
