"""What a browser shows of a suite besides its figures and its PDF: tables, claims, records, captions.

`snakemake --report` puts these files and the figures into one HTML file. Captions are as in the PDF.
"""

from __future__ import annotations

import base64
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import jinja2
from markupsafe import Markup, escape
from tabulate import tabulate

from crossres.claims.finding import VERDICTS, Audit, ContrastFinding, estimate_texts, judged_text
from crossres.files import TEMPLATES, write_atomic
from crossres.report import exhibits, tables
from crossres.report.evidence import ClaimRow, claim_rows
from crossres.report.execution import Execution
from crossres.report.facts import Facts
from crossres.report.inputs import ReportInputs
from crossres.report.numbers import minus
from crossres.report.tabular import MISSING
from crossres.report.words import to_html


def write(inputs: ReportInputs, records: Sequence[Path], figures: Path, directory: Path) -> list[Path]:
    """Write the pages, and the captions of every figure and table.

    Args:
        inputs: What the report is written from.
        records: The files of its records.
        figures: Folder of its figures as SVG.
        directory: Where `first.html`, `claims.html`, `records.html`, `tables/NAME.html` and `captions/NAME.html` go.
    """
    facts = inputs.facts
    contents = {"claims": claims_page(inputs.audit), "records": records_page(facts)}
    contents["first"] = first_page(inputs, records, figures)
    for kind in exhibits.KINDS:
        for name in exhibits.names(kind, inputs.suite):
            contents[f"captions/{name}"] = caption(kind, name, facts)
    for name in exhibits.names("tables", inputs.suite):
        built = tables.build(name, inputs.summary).to_html()
        contents[f"tables/{name}"] = page(name.replace("_", " "), contents[f"captions/{name}"], built)
    for name, content in contents.items():
        write_atomic(directory / f"{name}.html", content)
    return [directory / f"{name}.html" for name in contents]


def caption(kind: str, name: str, facts: Facts) -> Markup:
    """Return the caption of a figure or table as HTML."""
    exhibit = exhibits.load(kind, name)
    if exhibits.has_data(exhibit, facts.records):
        return to_html(exhibit.caption(facts))
    return to_html("The records of this suite do not hold what it shows.")


def first_page(inputs: ReportInputs, records: Sequence[Path], figures: Path) -> str:
    """Return what the report opens on, as a part of a page: its main figure, the verdicts, and each run's records."""
    facts = inputs.facts
    parts: list[str] = []
    for name in exhibits.shown("figures", facts):
        if exhibits.load("figures", name).SECTION == "verdicts":
            drawn = base64.b64encode((figures / f"{name}.svg").read_bytes()).decode()
            text, shown = caption("figures", name, facts), Markup('<img alt="{}" src="{}{}">\n<p>{}</p>')
            parts.append(shown.format(text.striptags(), "data:image/svg+xml;base64,", drawn, text))
    verdicts = [(finding.statement, marked(finding.verdict)) for finding in inputs.audit.findings]
    verdicts = verdicts or [(contrast.title, marked(contrast.verdict)) for contrast in inputs.audit.contrasts]
    if verdicts:
        parts.append(table(["Claim", "Verdict"], verdicts, ()))
    files: dict[str, list[Markup]] = {}
    for record, path in zip(inputs.records, records, strict=True):
        link = Markup("<a href=\"javascript:app.showResultInfo('{}')\">{}</a>")
        files.setdefault(record.name, []).append(link.format(quote(path.as_posix()), record.spec.seed))
    runs = [(facts.label(run), facts.accuracy(run), Markup(" ").join(links)) for run, links in files.items()]
    parts.append(table(["Run", "Accuracy (%)", "Records by seed"], runs, (1,)))
    # Snakemake's first page cuts the top off what is taller than the window.
    return "\n".join(['<div style="max-height: 55vh; overflow-y: auto">', *parts, "</div>"])


def claims_page(audit: Audit) -> str:
    """Return the page of the verdicts: on the claims or, where none are given, on the planned contrasts."""
    heads = ["Claim", "Verdict", "Reported", "Found", "95 % interval", "p", "Why"]
    source = f" Source of the claims: {audit.source}." if audit.source else ""
    about = f"Judged by the records of suite {audit.suite}: {judged_text(audit)}.{source}"
    meanings = {verdict: VERDICTS[verdict] for verdict in audit.counts()}
    rows = [*map(_claim_cells, claim_rows(audit))] or [*map(_contrast_cells, audit.contrasts)]
    return page("Claims", about, table(heads, rows, range(2, 6)) if rows else "", meanings)


def _claim_cells(row: ClaimRow) -> list[str]:
    finding = row.finding
    claim = Markup("{}<small>{} · {}</small>").format(finding.statement, finding.id, finding.where)
    return [claim, marked(finding.verdict), row.reported, row.found, row.interval, row.p, finding.reason]


def _contrast_cells(contrast: ContrastFinding) -> list[str]:
    title = Markup("{}<small>{}</small>").format(contrast.title, contrast.id)
    found = map(minus, estimate_texts(contrast.estimate))
    return [title, marked(contrast.verdict), contrast.reported or MISSING, *found, contrast.reason]


def marked(verdict: str) -> Markup:
    """Return a verdict in its colour."""
    return Markup('<span class="{}">{}</span>').format(verdict.replace(" ", "-"), verdict)


def records_page(facts: Facts) -> str:
    """Return the page of the records: what each run reached, and what it was computed with."""
    about = (
        "One JSON file per run and seed, in the list beside this page: spec, epochs, test results, cost, provenance."
    )
    execution = Execution(facts)
    shared, varying = execution.provenance
    heads = ["Run", "Seed", "Best accuracy (%)", "Best epoch", "Epochs", "Last accuracy (%)", "Minutes"]
    rows = []
    for index, record in enumerate(facts.records):
        best, last = f"{record.best.top1_pct:.2f}", f"{record.last.top1_pct:.2f}"
        numbers = (best, record.best.epoch, len(record.history), last, f"{record.cost.train_minutes:.1f}")
        made_with = [values[index] or MISSING for _, values in varying]
        rows.append([record.name, record.spec.seed, *numbers, *made_with])
    listed = table([*heads, *(name for name, _ in varying)], rows, range(1, len(heads)))
    terms = {}
    if execution.budgets:
        terms["Truncated"] = f"by a budget ({', '.join(execution.budgets)}): not the suite's results"
    terms |= dict(shared)
    if sources := {f"{one.repository} at {one.commit}": None for r in facts.records if (one := r.provenance.source)}:
        terms["Source"] = ", ".join(sources)
    return page("Records", about, listed, terms)


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], right: Container[int]) -> str:
    """Return a table as HTML, its cells escaped unless they are `Markup`, and some columns set to the right."""
    cells = [[str(escape(cell)) for cell in row] for row in rows]
    align = ["right" if index in right else "left" for index in range(len(heads))]
    return str(tabulate(cells, heads, tablefmt="unsafehtml", colalign=align, disable_numparse=True))


def page(title: str, about: str, body: str, terms: Mapping[str, str] | None = None) -> str:
    """Return a page: its title, a paragraph, a table, and terms with what they mean."""
    loader = jinja2.FileSystemLoader(TEMPLATES)
    env = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    return env.get_template("page.html.j2").render(title=title, about=about, table=Markup(body), terms=terms or {})
