"""What the HTML report and the README show: captions as in the PDF, escaped pages, and nothing stale."""

from __future__ import annotations

import csv
import dataclasses
import re
from html import unescape
from pathlib import Path

import pytest

from crossres import files
from crossres.base import CrossresError
from crossres.claims.audit import audit
from crossres.claims.claim import load_claims
from crossres.claims.finding import VERDICTS
from crossres.records.record import read_record
from crossres.records.summary import summarise
from crossres.report import exhibits, html, tables, tex
from crossres.report.facts import Facts
from crossres.report.inputs import ReportInputs
from crossres.suites.contrasts import PlannedContrast
from crossres.suites.spec import Budget
from crossres.suites.suite import load_suite

README = Path("README.md")
RECORDS = [files.shipped_record("published", *job) for job in load_suite(files.suite_file("published")).jobs()]


@pytest.fixture(scope="module")
def inputs() -> ReportInputs:
    suite = load_suite(files.suite_file("published"))
    records = [read_record(files.shipped_record("published", run, seed)) for run, seed in suite.jobs()]
    summary = summarise(records)
    return ReportInputs(suite, records, summary, audit(suite, records, summary, load_claims(files.CLAIMS)))


@pytest.fixture(scope="module")
def written(inputs: ReportInputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    html.write(inputs, RECORDS, folder, folder)
    return folder


def cells(page: Path) -> list[list[str]]:
    """Read a page's table without its markup."""
    rows = re.findall(r"<tr>(.*?)</tr>", page.read_text(encoding="utf-8"))[1:]
    return [[unescape(cell).strip() for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)] for row in rows]


@pytest.mark.parametrize(("kind", "mark"), [("figures", "fig"), ("tables", "tab")])
def test_a_figure_and_a_table_keep_their_contract(kind: str, mark: str, inputs: ReportInputs, written: Path) -> None:
    for name in exhibits.names(kind):
        module = exhibits.load(kind, name)
        assert set(module.RUNS) <= set(inputs.suite.runs), name
        assert module.SECTION in tex.SECTIONS, name
        assert module.caption(inputs.facts).endswith(".") and f"[{mark}:{name}]" in module.reference(inputs.facts), name
    for name in exhibits.names(kind, inputs.suite):
        text = (written / f"captions/{name}.html").read_text(encoding="utf-8")
        assert text.strip() and not re.search(r"[\\${}*[]", text), name


def test_an_unknown_figure_is_named() -> None:
    with pytest.raises(CrossresError, match="no figure 'fig3_acuracy_all'; did you mean 'fig3_accuracy_all'"):
        exhibits.load("figures", "fig3_acuracy_all")


def test_the_caption_of_a_table_says_what_is_over_several_seeds(inputs: ReportInputs) -> None:
    spec = inputs.records[0].spec.model_copy(update={"seed": 43})
    second = inputs.records[0].model_copy(update={"spec": spec})
    text = html.caption("tables", "results_summary", Facts(inputs.suite, [*inputs.records, second], inputs.summary))
    assert "95\u202f% <i>t</i> interval" in text
    assert "interval" not in html.caption("tables", "results_summary", inputs.facts)


def test_a_table_s_page_prints_the_digits_of_the_other_formats(
    inputs: ReportInputs, written: Path, tmp_path: Path
) -> None:
    for name in exhibits.names("tables", inputs.suite):
        with open(tables.write(name, inputs.summary, tmp_path)[0], encoding="utf-8") as file:
            rows = [[cell or "—" for cell in row] for row in csv.reader(file)]
        assert cells(written / f"tables/{name}.html") == rows[1:]


def test_the_page_of_the_claims_has_each_with_its_verdict_and_reason(inputs: ReportInputs, written: Path) -> None:
    rows, findings = cells(written / "claims.html"), inputs.audit.findings
    assert [re.sub("<.*", "", row[0]) for row in rows] == [finding.statement for finding in findings]
    assert [re.sub("<.*?>", "", row[1]) for row in rows] == [finding.verdict for finding in findings]
    assert [row[6] for row in rows] == [finding.reason for finding in findings]
    style = (written / "claims.html").read_text(encoding="utf-8").partition("</style>")[0]
    assert all(
        f".{verdict.replace(' ', '-')} " in style.replace(",", " ") for verdict in VERDICTS if "not t" not in verdict
    )


def test_the_first_page_has_the_main_figure_every_verdict_and_a_link_to_each_record(
    inputs: ReportInputs, written: Path, tmp_path: Path
) -> None:
    page = (written / "first.html").read_text(encoding="utf-8")
    assert all(f"app.showResultInfo('{path}')" in page for path in RECORDS)
    assert page.count("<span class=") == len(inputs.audit.findings) and "<img" not in page
    contrast = {"title": "64 px", "runs": {"kd_64_to_32": 1, "kd_32": -1}, "supported_if": {"above": 0}}
    planned = inputs.suite.model_copy(update={"contrasts": {"c": PlannedContrast.parse(contrast, "c")}})
    (tmp_path / "fig0_contrasts.svg").write_text("<svg/>")
    drawn = html.first_page(dataclasses.replace(inputs, suite=planned), RECORDS, tmp_path)
    assert '<img alt="Planned contrasts' in drawn and 'src="data:image/svg+xml;base64,PHN2Zy8+"' in drawn


def test_a_statement_is_text(inputs: ReportInputs) -> None:
    finding = inputs.audit.findings[0].model_copy(update={"statement": "<script>alert(1)</script>"})
    page = html.claims_page(inputs.audit.model_copy(update={"findings": [finding]}))
    assert "<script>alert" not in page and "&lt;script&gt;" in page


def test_the_page_of_the_records_says_what_each_run_reached(inputs: ReportInputs, written: Path) -> None:
    rows = cells(written / "records.html")
    assert [row[:3] for row in rows] == [[r.name, "42", f"{r.best.top1_pct:.2f}"] for r in inputs.records]
    assert "68fc1581138e5d8001efbf410bd0e3663961f111" in (written / "records.html").read_text()


def test_what_a_budget_cut_is_stamped(inputs: ReportInputs) -> None:
    budget = Budget(epochs=2)
    cut = [r.model_copy(update={"spec": r.spec.model_copy(update={"budget": budget})}) for r in inputs.records]
    stamp = "<dt>Truncated</dt><dd>by a budget (epochs 2)"
    assert stamp in html.records_page(Facts(inputs.suite, cut, inputs.summary))
    assert stamp not in html.records_page(inputs.facts)
