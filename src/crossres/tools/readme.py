"""The results in README.md, three findings with two figures, and docs/verdicts.md with the verdict on every claim."""

from __future__ import annotations

import tempfile
from pathlib import Path

from crossres import files
from crossres.base import CrossresError
from crossres.claims.audit import audit
from crossres.claims.claim import load_claims
from crossres.claims.finding import Audit, Estimate, counts_text, number_text, value_text
from crossres.files import read_text
from crossres.records.record import read_record
from crossres.records.summary import summarise
from crossres.report import figures, html
from crossres.report.inputs import ReportInputs
from crossres.suites.suite import load_suite

README = Path("README.md")
START, END = "<!-- results: written by `crossres docs` -->", "<!-- end of results -->"
FINDINGS = {
    "fig4_retention_bar": (
        "**Retention compares students of one teacher only.** The student of the 64 px teacher retains {retained_64} % "
        "of its teacher's accuracy, and that of the 32 px teacher {retained_32} %. Yet the former is more accurate."
    ),
    "fig7_matched_epochs": (
        "**DKD with β = 8 was stopped early; at equal epochs, most of its deficit is gone.** The accuracy of v3 (DKD, "
        "β = 8) minus that of v2 (KD) is {collapse} points at the end, {collapse_epochs} at equal epochs, "
        "{collapse_rate} at equal learning rates; v3.1 has β = 2. The thesis has one seed, so none of these decides."
    ),
}
"""The findings that have a figure, by its name."""
LAST_FINDING = (
    "**The thesis's runs cannot show what resolution contributes.** The student of the 64 px teacher gains {gain} "
    "points, but the two teachers also differ in {settings} training settings. With the small networks that were "
    "trained here, teachers that differ in resolution alone give {gain_here} points."
)


def readme_files() -> dict[Path, str]:
    """Return README.md with its results renewed, the figures that it shows, and the page of verdicts.

    Raises:
        CrossresError: When the README lacks a mark.
    """
    before, start, rest = read_text(README).partition(START)
    _, end, after = rest.partition(END)
    if not (start and end):
        raise CrossresError(f"{README}: the line '{END if start else START}' is missing; put it back")
    inputs, mini = _inputs("published"), _inputs("mini").audit
    contents = {README: before + "\n\n".join([START, *_paragraphs(inputs, mini), END]) + after}
    contents[Path("docs/verdicts.md")] = _verdicts(inputs.audit, mini)
    with tempfile.TemporaryDirectory() as folder:
        for name in FINDINGS:
            drawn = Path(folder, f"{name}.svg")
            figures.render(name, inputs.summary, inputs.records, drawn)
            contents[Path(f"docs/figures/{name}.svg")] = read_text(drawn)
    return contents


def _inputs(name: str) -> ReportInputs:
    suite = load_suite(files.suite_file(name))
    records = [read_record(files.shipped_record(suite.suite, run, seed)) for run, seed in suite.jobs()]
    summary = summarise(records)
    return ReportInputs(suite, records, summary, audit(suite, records, summary, load_claims(files.CLAIMS)))


def _paragraphs(inputs: ReportInputs, mini: Audit) -> list[str]:
    numbers, shown = _numbers(inputs.audit, mini), []
    for name, finding in FINDINGS.items():
        title = str(figures.load(name).__doc__).rstrip(".")
        caption = html.caption("figures", name, inputs.facts)
        shown += [finding.format(**numbers), f"![{title}](docs/figures/{name}.svg)", f"<sub>{caption}</sub>"]
    total, counts = len(inputs.audit.findings), counts_text(inputs.audit)
    links = "[Every verdict](docs/verdicts.md), and [what the words mean](docs/partial-rebuilds.md#the-verdicts)"
    judged = f"The {total} claims of the thesis, by its own logs: {counts}. {links}"
    return [*shown, LAST_FINDING.format(**numbers), judged]


def _numbers(published: Audit, mini: Audit) -> dict[str, str]:
    """Return what the findings quote, each number with its 95 % interval over seeds if it has one."""

    def text(estimate: Estimate | None) -> str:
        if estimate is None:
            return "?"
        return number_text(estimate) if estimate.chance == "seed" else value_text(estimate).replace("-", "−")

    logs, here = ({finding.id: finding for finding in found.findings} for found in (published, mini))
    retained = {figure.run: figure.estimate for figure in logs["retentions"].figures}
    at_epochs, at_rate = (control.estimate for control in logs["dkd_collapse"].controls)
    return {
        "retained_64": text(retained["kd_64_to_32"]),
        "retained_32": text(retained["kd_32"]),
        "collapse": text(logs["dkd_collapse"].single.estimate),
        "collapse_epochs": text(at_epochs),
        "collapse_rate": text(at_rate),
        "gain": text(logs["cross_resolution_gain"].single.estimate),
        "settings": str(len(logs["cross_resolution_gain"].also_differs)),
        "gain_here": text(here["cross_resolution_gain"].single.estimate),
    }


def _verdicts(published: Audit, mini: Audit) -> str:
    head = ["| claim | by the thesis's logs | by the small networks of `mini` |", "|---|---|---|"]
    pairs = zip(published.findings, mini.findings, strict=True)
    rows = [f"| {logs.statement} | {logs.verdict} | {here.verdict} |" for logs, here in pairs]
    text = "Generated by `crossres docs`. [How claims are judged](partial-rebuilds.md#the-verdicts)"
    return "\n".join(["# Every verdict", "", text, "", *head, *rows, ""])
