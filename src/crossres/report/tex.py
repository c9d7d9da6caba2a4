"""The report's LaTeX source: what is known of a suite, set into the template of `paper/report/`.

The template holds words only; every number comes from the modules beside this one. Whatever is inserted is escaped,
unless it is `Latex` already, and an unknown name is an error.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jinja2

from crossres.base import CrossresError
from crossres.claims.finding import number_text
from crossres.files import TEMPLATES, read_text, suite_file
from crossres.report import exhibits, rebuild
from crossres.report.comparisons import Comparisons
from crossres.report.evidence import Evidence
from crossres.report.execution import Execution
from crossres.report.facts import Facts
from crossres.report.findings import Findings
from crossres.report.inputs import ReportInputs
from crossres.report.keyed import numbers_by_key
from crossres.report.latex import Latex, either_mode, escape, mono, sourced, with_mono_keys
from crossres.report.numbers import Number, capitalised, counted, listing, portion
from crossres.report.setup import Setup
from crossres.report.words import to_latex
from crossres.suites.compare import plain

TEMPLATE = TEMPLATES / "report"
TEXT_WIDTH_IN = 6.4
NARROW_IN = 3.6


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


def environment(template: Path) -> jinja2.Environment:
    r"""Return a Jinja2 environment for LaTeX: `\BLOCK{}`, `\VAR{}`, `\#{}`, strict, and escaping by `finalize`."""
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template),
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
    env.globals.update(abs=abs, counted=counted, portion=portion)
    env.filters.update(latex=Latex, mono=mono, sourced=sourced, listing=listing, capitalised=capitalised)
    env.filters["number"] = number_text
    env.filters.update(with_mono_keys=with_mono_keys, either_mode=either_mode)
    env.filters["fixed"] = lambda number: str(Number(number, 2))
    env.filters["cells"] = lambda row: Latex(" & ".join(map(finalize, row)))
    return env


def render_report(
    inputs: ReportInputs, figures_dir: Path, tables_dir: Path, build: BuildInfo, template: Path = TEMPLATE
) -> str:
    """Return the LaTeX source of a suite's report; only figures and the bibliography stay outside it.

    Args:
        inputs: The suite, its records, their summary and the audit.
        figures_dir: Folder with `NAME.pdf` of every figure the suite has the runs for.
        tables_dir: Folder with `NAME.tex` of every table.
        build: What the report is built from, besides.
        template: Folder of `report.tex.j2`, of the sections that it includes, and of what the project's suites add.

    Raises:
        CrossresError: When a figure, a table, a record or a name in the template is missing.
    """
    facts, file = inputs.facts, build.suite_file or suite_file(inputs.suite.suite)
    comparisons = Comparisons(facts)
    known = {
        "suite": inputs.suite,
        "build": build,
        "facts": facts,
        "setup": Setup(facts),
        "execution": Execution(facts, build.given, build.sources_sha256),
        "comparisons": comparisons,
        "findings": Findings(facts, comparisons),
        "evidence": Evidence(facts, inputs.audit),
        "exhibits": SetExhibits(facts, figures_dir, tables_dir),
        "rebuild": rebuild.how_to_rebuild(facts, file, build.given),
    }
    env, main = environment(template), own_template(file, template) or template / "report.tex.j2"
    env.filters.update(label=facts.label, named=facts.named, accuracy=facts.accuracy)
    try:
        return env.from_string(read_text(main)).render(known)
    except jinja2.TemplateNotFound as error:
        raise CrossresError(f"{template / str(error.name)}: no such file") from None
    except jinja2.TemplateError as error:
        raise CrossresError(f"{main}: {error}") from error


def render_numbers(inputs: ReportInputs, template: Path = TEMPLATE) -> str:
    """Return the LaTeX file that gives other papers the numbers of the report, each by its key."""
    env = environment(template)
    return env.get_template("numbers.tex.j2").render(suite=inputs.suite, numbers=numbers_by_key(inputs))


def own_template(suite: Path, folder: Path = TEMPLATE) -> Path | None:
    """Return the template of one suite, if there is one.

    Args:
        suite: The suite's file. The template has its name and stands beside it.
        folder: Where the templates of the project's own suites are instead.
    """
    is_of_project = suite.resolve() == suite_file(suite.stem).resolve()
    found = (folder if is_of_project else suite.parent) / f"{suite.stem}.tex.j2"
    return found if found.is_file() else None


SECTIONS = ("verdicts", "method", "results", "audit")
"""The sections that have figures and tables, in the report's order."""


class SetExhibit(NamedTuple):
    """A figure or table, set for LaTeX."""

    name: str
    caption: Latex
    body: Latex
    """The width of a figure; the tabular of a table."""
    narrow: bool = False
    """Whether a figure is one column wide."""


@dataclass(frozen=True)
class SetExhibits:
    """A suite's figures and tables, set for LaTeX, with the sentences that refer to them."""

    facts: Facts
    figures_dir: Path
    tables_dir: Path

    def see(self, figure: str) -> Latex:
        """Refer to a figure in brackets, where the suite has it."""
        return Latex(rf" (Figure~\ref{{fig:{figure}}})" if figure in exhibits.shown("figures", self.facts) else "")

    def references(self, kind: str, section: str) -> Latex:
        """Return the sentences of a section that refer to its figures or tables."""
        names = self._ordered(kind, section)
        return Latex(" ".join(to_latex(exhibits.load(kind, name).reference(self.facts)) for name in names))

    def figure_rows(self, section: str) -> list[list[SetExhibit]]:
        """Return the figures of a section in rows: neighbours that are one column wide stand side by side."""
        rows: list[list[SetExhibit]] = []
        for name in self._ordered("figures", section):
            width = pdf_width_in(self.figures_dir / f"{name}.pdf")
            shown = Latex(r"\linewidth" if width > TEXT_WIDTH_IN else f"{width:.2f}in")
            figure = self._set("figures", name, shown, narrow=width <= NARROW_IN)
            if figure.narrow and rows and len(rows[-1]) == 1 and rows[-1][0].narrow:
                rows[-1].append(figure)
            else:
                rows.append([figure])
        return rows

    def tables(self, section: str) -> list[SetExhibit]:
        """Return the tables of a section."""
        found = []
        for name in self._ordered("tables", section):
            file = self.tables_dir / f"{name}.tex"
            if not file.is_file():
                raise CrossresError(f"{file}: no such file; the report needs the table '{name}'")
            found.append(self._set("tables", name, Latex(file.read_text(encoding="utf-8").rstrip())))
        return found

    @property
    def all(self) -> list[dict[str, str]]:
        """Every figure and table of the report, with the file that makes it."""
        made = [
            (kind, section, name)
            for kind in exhibits.KINDS
            for section in SECTIONS
            for name in self._ordered(kind, section)
        ]
        return [
            {"name": name, "word": kind[:-1].capitalize(), "label": f"{kind[:3]}:{name}", "module": _module(kind, name)}
            for kind, _, name in made
        ]

    def _set(self, kind: str, name: str, body: Latex, narrow: bool = False) -> SetExhibit:
        caption = to_latex(exhibits.load(kind, name).caption(self.facts))
        return SetExhibit(name, caption, body, narrow)

    def _ordered(self, kind: str, section: str) -> list[str]:
        """Return the figures or tables of a section in their order."""
        modules = {name: exhibits.load(kind, name) for name in exhibits.shown(kind, self.facts)}
        found = [name for name, module in modules.items() if section == module.SECTION]
        return sorted(found, key=lambda name: modules[name].ORDER)


def _module(kind: str, name: str) -> str:
    return f"{kind}/{name}.py"


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
