"""Settings side by side, and what they let the runs be compared for."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from crossres.claims.statistics import half_width
from crossres.report.facts import Facts
from crossres.report.latex import stacked
from crossres.report.numbers import Number, mean, signed
from crossres.report.tabular import MISSING
from crossres.suites.compare import SETTINGS, differing, setting_texts

SETTINGS_COLUMNS = 8
"""Runs that a table of settings holds."""
MAX_PAIRS = 40
"""Pairs that fit on a page; their number grows with the square of the runs."""


class SettingsTable(NamedTuple):
    """Named properties of several things: those that all share, and the others."""

    shared: list[tuple[str, str]]
    """Name and value."""
    varying: list[tuple[str, list[str | None]]]
    """Name and the value of each thing, None where it has no use for the property."""

    @classmethod
    def of(cls, properties: Mapping[str, Sequence[str | None]]) -> SettingsTable:
        """Sort properties, each given with its value for every thing; one that no thing has a use for is left out."""
        found = cls([], [])
        for name, values in properties.items():
            distinct = {value for value in values if value is not None}
            if len(distinct) > 1:
                found.varying.append((name, list(values)))
            elif distinct:
                found.shared.append((name, distinct.pop()))
        return found


class VaryingTable(NamedTuple):
    """A part of the table of the settings in which the runs differ."""

    head: list[str]
    rows: list[list[str]]


class Comparisons:
    """The settings of a suite's runs, all of them and two by two."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.texts = {run: setting_texts(run, facts.specs) for run in facts.specs}
        by_setting = zip(*self.texts.values(), strict=True)
        self.settings = SettingsTable.of({s.name: texts for s, texts in zip(SETTINGS, by_setting, strict=True)})

    @property
    def shared_rows(self) -> list[list[str]]:
        """The settings that all runs share, two a row."""
        settings = [*self.settings.shared, *[("", "")] * (len(self.settings.shared) % 2)]
        return [[*first, *second] for first, second in _chunks(settings, 2)]

    @property
    def varying_tables(self) -> list[VaryingTable]:
        """The settings in which the runs differ, `SETTINGS_COLUMNS` runs a table; the prose gives the networks."""
        varying = [(name, values) for name, values in self.settings.varying if name != "Network"]
        tables = []
        runs = self.facts.runs()
        number = math.ceil(len(runs) / SETTINGS_COLUMNS)
        for columns in _chunks(range(len(runs)), math.ceil(len(runs) / number)) if varying else []:
            head = ["Setting", *(stacked(self.facts.label(runs[column])) for column in columns)]
            rows = [
                [name, *(stacked(values[column] or MISSING, "t") for column in columns)] for name, values in varying
            ]
            tables.append(VaryingTable(head, rows))
        return tables

    def differ_in(self, first: str, second: str, except_for: str = "") -> list[str]:
        """Return the settings in which two runs differ, but for those whose names start so."""
        texts = map(str, differing(self.texts[first], self.texts[second]))
        return [text for text in texts if not (except_for and text.startswith(except_for))]

    @cached_property
    def close_pairs(self) -> dict[tuple[str, str], int]:
        """The pairs of runs, teachers apart, that differ in at most two groups, and in how many settings."""
        runs = self.facts.runs("student") + self.facts.runs("alone")
        found = {pair: differing(*map(self.texts.__getitem__, pair)) for pair in itertools.combinations(runs, 2)}
        return {pair: len(all_) for pair, all_ in found.items() if len({one.setting.group for one in all_}) <= 2}

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        """The close pairs; of many, those that differ in the fewest settings."""
        shown = set(sorted(self.close_pairs, key=self.close_pairs.__getitem__)[:MAX_PAIRS])
        return [pair for pair in self.close_pairs if pair in shown]

    @cached_property
    def pair_rows(self) -> list[list[str]]:
        """The cells of the table of pairs: the two runs, the second's gain in points, and what they differ in."""
        label, rows = self.facts.label, []
        for first, second in self.pairs:
            gains = self.gains(first, second)
            width = Number(half_width(gains), 2) if len(gains) > 1 else None
            gain = signed(mean(gains) if gains else None, width)
            rows.append([label(first), label(second), gain, "; ".join(self.differ_in(first, second)) or "none"])
        return rows

    @property
    def pairs_have_intervals(self) -> bool:
        return any(len(self.gains(*pair)) > 1 for pair in self.pairs)

    def gains(self, first: str, second: str) -> list[float]:
        """Return the second's accuracy minus the first's for each seed that both have."""
        ones, others = ({r.spec.seed: r.best.top1_pct for r in self.facts.by_run[run]} for run in (first, second))
        return [others[seed] - ones[seed] for seed in ones if seed in others]


def _chunks(items: Sequence[Any], size: int) -> list[list[Any]]:
    """Cut a sequence into lists of equal length, the last one shorter."""
    return [list(items[start : start + size]) for start in range(0, len(items), size)]
