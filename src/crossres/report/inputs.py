"""What a report is written from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from crossres.claims.finding import Audit
from crossres.files import read_json
from crossres.records.record import Record, read_record
from crossres.records.summary import read_summary
from crossres.report.facts import Facts
from crossres.suites.suite import Suite, load_suite


@dataclass(frozen=True)
class ReportInputs:
    """A suite with everything that is known of its runs; the report, the pages and the README are functions of it."""

    suite: Suite
    records: Sequence[Record]
    """One per run and seed."""
    summary: pd.DataFrame
    """The table of the records, from `crossres.records.summary.summarise`."""
    audit: Audit
    """The verdicts on the claims, from `crossres.claims.audit.audit`."""

    @classmethod
    def read(cls, suite_file: Path, summary: Path, records: Iterable[Path], claims: Path) -> ReportInputs:
        """Read all four from the files that the workflow writes.

        Raises:
            CrossresError: When a file is missing or malformed.
        """
        audit = Audit.parse(read_json(claims), str(claims))
        loaded = [read_record(path) for path in records]
        return cls(load_suite(suite_file), loaded, read_summary(summary, loaded), audit)

    @cached_property
    def facts(self) -> Facts:
        return Facts(self.suite, self.records, self.summary)
