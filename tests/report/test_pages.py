"""What the HTML report and the README show: captions as in the PDF, escaped pages, and nothing stale."""

from __future__ import annotations

import csv
import re
from html import unescape
from pathlib import Path

import pandas as pd
import pytest

from crossres import files
from crossres.base import CrossresError
from crossres.claims.audit import audit
from crossres.claims.claim import load_claims
from crossres.claims.finding import VERDICTS, Audit
from crossres.records.record import Record, read_record
from crossres.records.summary import summarise
from crossres.report import exhibits, pages, tables
from crossres.report.facts import Facts
from crossres.report.inputs import ReportInputs
from crossres.suites.spec import Budget
from crossres.suites.suite import Suite, load_suite
from crossres.tools import readme

README = Path("README.md")


@pytest.fixture(scope="module")
def suite() -> Suite:
    return load_suite(files.suite_file("published"))


@pytest.fixture(scope="module")
def records(suite: Suite) -> list[Record]:
    return [read_record(files.shipped_record("published", run, seed)) for run, seed in suite.jobs()]


@pytest.fixture(scope="module")
def summary(records: list[Record]) -> pd.DataFrame:
    return summarise(records)


@pytest.fixture(scope="module")
def found(suite: Suite, records: list[Record], summary: pd.DataFrame) -> Audit:
    return audit(suite, records, summary, load_claims(files.CLAIMS))


@pytest.fixture(scope="module")
def written(
    suite: Suite,
    records: list[Record],
    summary: pd.DataFrame,
    found: Audit,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    pages.write(ReportInputs(suite, records, summary, found), folder)
    return folder


def cells(page: Path) -> list[list[str]]:
    """Read a page's table without its markup."""
    rows = re.findall(r"<tr>(.*?)</tr>", page.read_text(encoding="utf-8"))[1:]
    return [[unescape(cell).strip() for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)] for row in rows]


@pytest.mark.parametrize("kind", exhibits.KINDS)
def test_every_figure_and_table_has_its_caption_without_latex(kind: str, suite: Suite, written: Path) -> None:
    for name in exhibits.names(kind, suite):
        text = (written / f"captions/{name}.html").read_text(encoding="utf-8")
        assert text.endswith(".") and len(text) > 80
        assert not re.search(r"[\\${}]|VAR|BLOCK", text), name


def test_a_caption_of_several_seeds_is_as_in_the_pdf(
    suite: Suite, records: list[Record], summary: pd.DataFrame
) -> None:
    spec = records[0].spec.model_copy(update={"seed": 43})
    facts = Facts(suite, [*records, records[0].model_copy(update={"spec": spec})], summary)
    text = pages.caption("tables", "results_summary", facts)
    assert "the half-width of its 95\u202f% <i>t</i> interval; compression is" in text


def test_a_table_s_page_prints_the_digits_of_the_other_formats(
    suite: Suite, summary: pd.DataFrame, written: Path, tmp_path: Path
) -> None:
    for name in exhibits.names("tables", suite):
        with open(tables.write(name, summary, tmp_path)[0], encoding="utf-8") as file:
            assert cells(written / f"tables/{name}.html") == [
                [cell or "—" for cell in row] for row in list(csv.reader(file))[1:]
            ]


def test_the_page_of_the_claims_has_each_with_its_verdict_and_reason(found: Audit, written: Path) -> None:
    rows = cells(written / "claims.html")
    assert [re.sub("<.*", "", row[0]) for row in rows] == [finding.statement for finding in found.findings]
    assert [re.sub("<.*?>", "", row[1]) for row in rows] == [finding.verdict for finding in found.findings]
    assert [row[6] for row in rows] == [finding.reason for finding in found.findings]
    style = (written / "claims.html").read_text(encoding="utf-8").partition("</style>")[0]
    assert all(
        f".{verdict.replace(' ', '-')} " in style.replace(",", " ") for verdict in VERDICTS if "not t" not in verdict
    )


def test_a_statement_is_text(found: Audit) -> None:
    finding = found.findings[0].model_copy(update={"statement": "<script>alert(1)</script>"})
    page = pages.claims_page(found.model_copy(update={"findings": [finding]}))
    assert "<script" not in page and "&lt;script&gt;" in page


def test_the_page_of_the_records_says_what_each_run_reached(records: list[Record], written: Path) -> None:
    rows = cells(written / "records.html")
    assert [row[:3] for row in rows] == [[r.name, "42", f"{r.best.top1_pct:.2f}"] for r in records]
    assert "68fc1581138e5d8001efbf410bd0e3663961f111" in (written / "records.html").read_text()


def test_what_a_budget_cut_is_stamped(suite: Suite, records: list[Record], summary: pd.DataFrame) -> None:
    budget = Budget(epochs=2)
    cut = [r.model_copy(update={"spec": r.spec.model_copy(update={"budget": budget})}) for r in records]
    stamp = "<dt>Truncated</dt><dd>by a budget (epochs 2)"
    assert stamp in pages.records_page(Facts(suite, cut, summary))
    assert stamp not in pages.records_page(Facts(suite, records, summary))


def test_the_readme_is_current(
    suite: Suite, records: list[Record], summary: pd.DataFrame, found: Audit, tmp_path: Path
) -> None:
    copy = tmp_path / "README.md"
    text = README.read_text(encoding="utf-8")
    before, _, after = text.partition(readme.START)
    copy.write_text(f"{before}{readme.START}stale{readme.END}{after.partition(readme.END)[2]}", encoding="utf-8")
    for path in readme.write(copy, ReportInputs(suite, records, summary, found)):
        assert path.read_bytes() == path.relative_to(tmp_path).read_bytes(), "run: make readme"
    assert {path.stem for path in Path("docs/figures").iterdir()} == set(readme.FINDINGS)


def test_a_readme_without_its_marks_is_left_alone(
    suite: Suite, records: list[Record], summary: pd.DataFrame, found: Audit, tmp_path: Path
) -> None:
    (tmp_path / "README.md").write_text(f"text\n{readme.START}\n")
    with pytest.raises(CrossresError, match="README.md: the line '<!-- end of results -->' is missing"):
        readme.write(tmp_path / "README.md", ReportInputs(suite, records, summary, found))
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
