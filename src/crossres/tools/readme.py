"""The results in README.md: two figures and the verdicts on the claims, by the suite `published`."""

from __future__ import annotations

from pathlib import Path

from crossres.base import CrossresError
from crossres.claims.finding import Audit
from crossres.files import read_text, write_atomic
from crossres.report import figures, pages
from crossres.report.facts import Facts
from crossres.report.inputs import ReportInputs

FIGURES = ("fig4_retention_bar", "fig7_matched_epochs")
"""The figures that it shows."""
START, END = "<!-- results: written by `make readme` -->", "<!-- end of results -->"


def write(readme: Path, inputs: ReportInputs) -> list[Path]:
    """Draw the figures into `docs/figures/` beside the README, and write what is between its two marks.

    Args:
        readme: The README; what is outside the marks stays as it is.
        inputs: The suite, its records, their summary and the audit.

    Returns:
        The files.

    Raises:
        CrossresError: When the README lacks a mark.
    """
    before, start, rest = read_text(readme).partition(START)
    _, end, after = rest.partition(END)
    if not (start and end):
        raise CrossresError(f"{readme}: the line '{END if start else START}' is missing; put it back")
    drawn = [readme.parent / "docs/figures" / f"{name}.svg" for name in FIGURES]
    for name, path in zip(FIGURES, drawn, strict=True):
        figures.render(name, inputs.summary, inputs.records, path)
    shown = _shown(Facts(inputs.suite, inputs.records, inputs.summary), inputs.audit)
    write_atomic(readme, before + "\n\n".join([START, *shown, END]) + after)
    return [readme, *drawn]


def _shown(facts: Facts, audit: Audit) -> list[str]:
    """Return the paragraphs."""
    shown = []
    for name in FIGURES:
        title = str(figures.load(name).__doc__).rstrip(".")
        shown += [f"![{title}](docs/figures/{name}.svg)", f"<sub>{pages.caption('figures', name, facts)}</sub>"]
    counts = ", ".join(f"{number} {verdict}" for verdict, number in audit.counts().items())
    summary = f"<summary>The thesis's {len(audit.findings)} claims: {counts}</summary>"
    rows = [f"| {finding.statement} | {finding.verdict} |" for finding in audit.findings]
    return [*shown, f"<details>\n{summary}", "\n".join(["| claim | verdict |", "|---|---|", *rows]), "</details>"]
