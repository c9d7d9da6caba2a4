"""The report: facts of a suite, set into a LaTeX template, and LaTeX into PDF.

Every number of the report comes from `crossres.report.facts`; the template holds words only. Whatever is inserted is
escaped, unless it is `Latex` already, and an unknown name is an error.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from crossres.base import CrossresError
from crossres.claims.finding import VERDICTS, Audit
from crossres.files import TEMPLATES, suite_file, write_atomic
from crossres.report import evidence, exhibits, rebuild
from crossres.report.facts import Facts, Number, counted, listing, portion, signed
from crossres.report.inputs import ReportInputs
from crossres.report.latex import Latex, escape, mono, sourced, stacked
from crossres.report.tabular import MISSING
from crossres.report.words import to_latex
from crossres.suites.compare import plain

SOURCE_DATE_EPOCH = "1735689600"
TEXT_WIDTH_IN = 6.4
NARROW_IN = 3.6
INSTALL_TEX = "sudo apt-get install -y --no-install-recommends $(cat envs/apt.txt)"
OVERFULL_PT = 10.0
SETTINGS_COLUMNS = 8


@dataclass(frozen=True)
class BuildInfo:
    """What the report is built from, besides the records; nothing of it depends on the machine or the clock."""

    commit: str | None = None
    """Commit of this project, with `+` when the tree had changes; printed in the appendix."""
    sources_sha256: str | None = None
    """Digest of the training modules as they are now, to flag records of other ones."""
    suite_file: Path | None = None
    """The suite's file, as it was given; the project's own of that name when None."""
    given: Collection[str] = ()
    """Runs whose records were shipped rather than computed."""


def finalize(value: object) -> str:
    """Turn what a template inserts into LaTeX; missing values are an error rather than the word None."""
    if value is None:
        raise CrossresError("the template inserts a value that is missing (None)")
    return escape(plain(value) if isinstance(value, float) and not isinstance(value, Number) else value)


def environment(templates: Path, finalize: Callable[[Any], str] = finalize) -> jinja2.Environment:
    r"""Return a Jinja2 environment for LaTeX: `\BLOCK{}`, `\VAR{}`, `\#{}`, strict, and escaping by `finalize`."""
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates),
        block_start_string=r"\BLOCK{",
        block_end_string="}",
        variable_start_string=r"\VAR{",
        variable_end_string="}",
        comment_start_string=r"\#{",
        comment_end_string="}",
        undefined=jinja2.StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    env.filters.update(mono=mono, sourced=sourced, listing=listing, up=lambda text: text[:1].upper() + text[1:])
    return env


def render_report(
    inputs: ReportInputs, figures_dir: Path, tables_dir: Path, build: BuildInfo, templates: Path = TEMPLATES
) -> str:
    """Return the LaTeX source of a suite's report.

    Args:
        inputs: The suite, its records, their summary and the audit.
        figures_dir: Folder with `NAME.pdf` of every figure the suite has the runs for.
        tables_dir: Folder with `NAME.tex` of every table.
        build: What the report is built from, besides.
        templates: Folder of `report.tex.j2`.

    Returns:
        The source; only figures and the bibliography stay outside it.

    Raises:
        CrossresError: When a figure, a table, a record or a name in the template is missing.
    """
    facts = Facts(inputs.suite, inputs.records, inputs.summary)
    env = environment(templates)
    _add_filters(env, facts)
    context = _context(facts, build) | _audit_context(facts, inputs.audit)
    floats = Floats(facts, figures_dir, tables_dir)
    context |= {"figure_rows": floats.figure_rows, "tables": floats.tables}
    try:
        return env.get_template("report.tex.j2").render(context)
    except jinja2.TemplateNotFound as error:
        raise CrossresError(f"{templates / str(error)}: no such file") from None
    except jinja2.TemplateError as error:
        raise CrossresError(f"{templates}/report.tex.j2: {error}") from error


def _add_filters(env: jinja2.Environment, facts: Facts) -> None:
    env.filters.update(label=facts.label, named=facts.named, selection_gain=facts.selection_gain)
    env.filters["known"] = lambda text: text or "not recorded"
    env.filters["by_gain"] = lambda runs: sorted(runs, key=facts.selection_gain)
    env.filters["sort_by"] = lambda runs, column: sorted(runs, key=lambda run: facts.value(run, column))
    env.tests["taught_by"] = lambda run: bool(facts.taught_by(run))


def _context(facts: Facts, build: BuildInfo) -> dict[str, Any]:
    """Return every name that the template and the captions know, but for the floats."""
    current = {None, build.sources_sha256}
    defined = rebuild.definition(build.suite_file or suite_file(facts.suite.suite))
    figures = exhibits.names("figures", facts.suite)
    return {
        **{name: getattr(facts, name) for name in dir(facts) if not name.startswith("_")},
        **{
            "counted": counted,
            "latex": Latex,
            "abs": abs,
            "signed": signed,
            "portion": portion,
            "listing": listing,
            "Number": Number,
        },
        "has_figure": lambda name: name in figures,
        "build": build,
        "stale": [r for r in facts.records if build.sources_sha256 and r.provenance.sources_sha256 not in current],
        "defined": defined,
        "command": rebuild.command(facts.suite, defined.chosen_by, build.given, facts.records[0].spec.budget),
        "shared_rows": _chunks(facts.settings().shared, 2),
        "varying": _varying(facts),
    }


def _audit_context(facts: Facts, audit: Audit) -> dict[str, Any]:
    """Return the names of the audit's section."""
    factors = [(factor, evidence.level_rows(facts, factor)) for factor in facts.suite.factors.values()]
    figures = [figure.estimate for finding in audit.findings for figure in finding.figures]
    controls = [control.estimate for finding in audit.findings for control in finding.controls]
    return {
        "audit": audit,
        "tested": [finding for finding in audit.findings if finding.verdict != "not tested here"],
        "verdicts": VERDICTS,
        "decided": lambda verdict: evidence.decided(audit, verdict),
        "claim_rows": evidence.claim_rows(audit),
        "control_rows": evidence.control_rows(audit),
        "factors": factors,
        "calibration_rows": evidence.calibration_rows(facts),
        "compared": evidence.compared(audit),
        "wrong_rows": evidence.wrong_rows(audit, facts),
        "tests_made": sum(estimate is not None and estimate.p is not None for estimate in figures + controls),
        "paired": any(record.correct for record in facts.records),
    }


def _varying(facts: Facts) -> list[list[list[Any]]]:
    """Return the tables of the settings in which the runs differ, so many runs each: rows of cells, the head first."""
    rows = [[name, *values] for name, values in facts.settings().varying if name != "Network"]  # the prose gives it
    tables: list[list[list[Any]]] = []
    if not rows:
        return tables
    for part in _chunks(range(len(facts.by_run)), SETTINGS_COLUMNS):
        head = ["Setting", *(stacked(facts.label(facts.runs()[index])) for index in part)]
        tables.append([head, *([row[0], *(row[1 + index] or MISSING for index in part)] for row in rows)])
    return tables


def _chunks(items: Sequence[Any], size: int) -> list[list[Any]]:
    """Cut a sequence into lists of equal length, the last one shorter."""
    return [list(items[start : start + size]) for start in range(0, len(items), size)]


@dataclass(frozen=True)
class Floats:
    """A suite's figures and tables, with their captions rendered."""

    facts: Facts
    figures_dir: Path
    tables_dir: Path

    def caption(self, kind: str, name: str) -> Latex:
        """Set the caption of a figure or table."""
        return to_latex(exhibits.load(kind, name).caption(self.facts))

    def figure_rows(self, section: str) -> list[list[dict[str, Any]]]:
        """Return the figures of a section in rows: neighbours that are one column wide stand side by side."""
        rows: list[list[dict[str, Any]]] = []
        for name in self._of_section("figures", section):
            width = pdf_width_in(self.figures_dir / f"{name}.pdf")
            entry = {
                **{"name": name, "caption": self.caption("figures", name), "narrow": width <= NARROW_IN},
                "width": Latex(r"\linewidth" if width > TEXT_WIDTH_IN else f"{width:.2f}in"),
                "file": mono(f"src/crossres/report/figures/{name}.py"),
            }
            if entry["narrow"] and rows and len(rows[-1]) == 1 and rows[-1][0]["narrow"]:
                rows[-1].append(entry)
            else:
                rows.append([entry])
        return rows

    def tables(self, section: str) -> list[dict[str, Any]]:
        """Return the tables of a section with their LaTeX."""
        names = self._of_section("tables", section)
        return [
            {"name": name, "caption": self.caption("tables", name), "tabular": self._tabular(name)}
            for name in sorted(names, key=lambda name: exhibits.load("tables", name).ORDER)
        ]

    def _tabular(self, name: str) -> Latex:
        file = self.tables_dir / f"{name}.tex"
        if not file.is_file():
            raise CrossresError(f"{file}: no such file; the report needs the table '{name}'")
        return Latex(file.read_text(encoding="utf-8").rstrip())

    def _of_section(self, kind: str, section: str) -> list[str]:
        names = exhibits.names(kind, self.facts.suite)
        return [name for name in names if section == exhibits.load(kind, name).SECTION]


def pdf_width_in(path: Path) -> float:
    """Return the width of a PDF's first page in inches.

    Raises:
        CrossresError: When the file is missing or is not such a PDF.
    """
    if not path.is_file():
        raise CrossresError(f"{path}: no such file; the report needs the figure '{path.stem}'")
    box = re.search(rb"/MediaBox\s*\[\s*([\d.-]+)\s+[\d.-]+\s+([\d.-]+)\s+[\d.-]+\s*\]", path.read_bytes())
    if box is None:
        raise CrossresError(f"{path}: not a PDF with a readable page size; delete it and draw it again")
    return (float(box[2]) - float(box[1])) / 72


def build_pdf(tex: str, out_pdf: Path, bibliography: Path, figures: Path) -> list[str]:
    """Compile a report; equal input gives an equal file, byte by byte, wherever and whenever it is built.

    Args:
        tex: The source.
        out_pdf: Where the PDF goes, atomically; after an error, the log stands beside it as `NAME.log`.
        bibliography: The BibTeX file.
        figures: Folder of the figures that the source includes.

    Returns:
        Warnings worth a look: lines that stick out of the margin by more than 10 pt.

    Raises:
        CrossresError: When LaTeX is not installed, fails, or leaves a reference or citation undefined.
    """
    if not (shutil.which("latexmk") and shutil.which("pdflatex")):
        raise CrossresError(f"latexmk is not installed, so the PDF cannot be built; install it with: {INSTALL_TEX}")
    with tempfile.TemporaryDirectory(prefix="crossres-report-") as folder:
        work = Path(folder)
        (work / "report.tex").write_text(tex, encoding="utf-8")
        shutil.copyfile(bibliography, work / "references.bib")
        for name in re.findall(r"\\includegraphics(?:\[[^]]*\])?\{([^}]+\.pdf)\}", tex):
            if not (figures / name).is_file():
                raise CrossresError(f"{figures / name}: no such file; the report includes it")
            shutil.copyfile(figures / name, work / name)
        code = _latexmk(work)
        log = _read(work / "report.log")
        problem = latex_problem(code, log, _read(work / "report.blg"))
        if problem:
            kept = out_pdf.with_suffix(".log")
            write_atomic(kept, log)
            raise CrossresError(f"LaTeX: {problem}; the log is kept as {kept}")
        write_atomic(out_pdf, (work / "report.pdf").read_bytes())
    return overfull_lines(log)


def _latexmk(folder: Path) -> int:
    env = {key: value for key, value in os.environ.items() if not key.startswith(("TEXINPUTS", "BIBINPUTS", "TEXMF"))}
    env |= {"SOURCE_DATE_EPOCH": SOURCE_DATE_EPOCH, "FORCE_SOURCE_DATE": "1", "TZ": "UTC", "max_print_line": "10000"}
    command = ["latexmk", "-norc", "-pdf", "-bibtex", "-interaction=nonstopmode", "-halt-on-error", "report.tex"]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, check=False).returncode


def _read(path: Path) -> str:
    with contextlib.suppress(FileNotFoundError):
        return path.read_text(encoding="utf-8", errors="replace")
    return ""


def latex_problem(code: int, log: str, bibtex_log: str) -> str | None:
    """Name what is wrong with a LaTeX run: its first error, or the first undefined reference or citation."""
    error = re.search(r"^(!.*)$", log, re.MULTILINE)
    if error:
        return error[1].rstrip(".")
    undefined = re.search(r"(?:Reference|Citation) [`'][^']*'.*undefined", log)
    if undefined:
        return undefined[0].rstrip(".")
    lost = re.search(r"I didn't find a database entry for \S+|I found no \S+ command.*", bibtex_log)
    if lost and "Citation" in log:
        return f"BibTeX: {lost[0]}"
    return f"latexmk ended with code {code}" if code else None


def overfull_lines(log: str) -> list[str]:
    """Return the log's complaints about lines that are too wide by more than 10 pt."""
    found = re.findall(r"(Overfull \\hbox \(([\d.]+)pt too wide\).*)", log)
    return [line for line, points in found if float(points) > OVERFULL_PT]
