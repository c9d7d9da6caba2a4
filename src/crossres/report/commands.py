"""Verbs of the report."""

from __future__ import annotations

import sys

from crossres import files
from crossres.options import Audit, File, Output, OutputDir, Records, SuiteFile, Summary
from crossres.records import provenance
from crossres.records.record import read_record


def table(name: str, /, *, summary: Summary, output_dir: OutputDir) -> None:
    """Write one table as CSV, LaTeX and Markdown.

    Args:
        name: Name of the table.
    """
    from crossres.records.summary import read_summary
    from crossres.report import tables

    tables.load(name)  # first of all, so that the message names a mistyped name
    tables.write(name, read_summary(summary), output_dir)


def figure(
    name: str,
    /,
    *,
    suite: SuiteFile,
    summary: Summary,
    records: Records,
    output_dir: OutputDir,
    claims: Audit | None = None,
) -> None:
    """Draw one figure as PDF, PNG and SVG.

    Args:
        name: Name of the figure.
    """
    from crossres.claims import finding
    from crossres.records.summary import read_summary
    from crossres.report import figures
    from crossres.suites.suite import load_suite

    figures.load(name)  # first of all, so that the message names a mistyped name
    loaded = [read_record(path) for path in records]
    contrasts = finding.Audit.parse(files.read_json(claims), str(claims)).contrasts if claims else ()
    paths = [output_dir / f"{name}{suffix}" for suffix in (".pdf", ".png", ".svg")]
    grids = load_suite(suite).grids
    figures.render(name, read_summary(summary, loaded), loaded, *paths, contrasts=contrasts, grids=grids)


def tex(
    *, suite: SuiteFile, summary: Summary, records: Records, claims: Audit, output: Output, commit: str | None = None
) -> None:
    """Fill the template of the report.

    The folders figures/ and tables/ are expected beside the output. Beside it go its bibliography, references.bib, and
    its numbers for papers that are written elsewhere, numbers.tex.

    Args:
        commit: Commit to name in the report; without it, git is asked.
    """
    from crossres.report import rebuild
    from crossres.report.inputs import ReportInputs
    from crossres.report.tex import BuildInfo, render_numbers, render_report

    files.check_root()
    inputs = ReportInputs.read(suite, summary, records, claims)
    build = BuildInfo(
        commit=commit or provenance.commit(),
        sources_sha256=provenance.sources_digest(),
        suite_file=suite,
        given=rebuild.given_runs(inputs.suite, records),
    )
    files.write_atomic(output.with_name(files.BIBLIOGRAPHY.name), files.BIBLIOGRAPHY.read_bytes())
    files.write_atomic(output.with_name("numbers.tex"), render_numbers(inputs))
    files.write_atomic(output, render_report(inputs, output.parent / "figures", output.parent / "tables", build))


def pdf(*, source: File, bibliography: File, output: Output) -> None:
    """Compile the report.

    Args:
        source: The report's LaTeX file; the folder figures/ is beside it.
        bibliography: BibTeX file.
    """
    from crossres.report.pdf import build_pdf

    for warning in build_pdf(files.read_text(source), output, bibliography, source.parent):
        print(f"crossres: {warning}", file=sys.stderr)
    print(f"{output}: built")


def arxiv(*, source: File, output_dir: OutputDir) -> None:
    """Pack the source of the report: arxiv.tar.gz for arXiv, overleaf.zip for Overleaf.

    Args:
        source: The report's LaTeX file; its figures, its bibliography and its references (.bbl) are beside it.
    """
    from crossres.report.pdf import pack

    pack(source, output_dir)


def pages(*, suite: SuiteFile, summary: Summary, records: Records, claims: Audit, output_dir: OutputDir) -> None:
    """Write the HTML pages and captions of `snakemake --report`.

    The folder figures/ is expected beside the output.
    """
    from crossres.report import html
    from crossres.report.inputs import ReportInputs

    files.check_root()
    inputs = ReportInputs.read(suite, summary, records, claims)
    html.write(inputs, records, output_dir.parent / "figures", output_dir)
