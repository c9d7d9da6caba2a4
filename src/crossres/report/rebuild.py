"""Where a suite is defined, and the command that builds its report again, in the same words on every machine."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from crossres.files import SHIPPED, suite_file
from crossres.report.facts import Facts
from crossres.suites.spec import Budget
from crossres.suites.suite import Suite

WIDTH = 74
"""Characters of a line of the command, as many as the report's lines hold."""
ELSEWHERE = "/path/to"
"""Stands for a folder outside the project: a report names no place of the machine that built it."""


class Definition(NamedTuple):
    """The file of a suite, as a report names it."""

    file: str
    """Relative to the project's root, or the file's name alone where it is outside."""
    outside: bool
    """Whether it is a file of the user's own, outside the project."""
    chosen_by: str
    """What `--config suite=` says."""


def definition(file: Path, root: Path | None = None) -> Definition:
    """Name the file of a suite.

    Args:
        file: The file, as it was given.
        root: The project's root, the working directory when None.
    """
    root = (root or Path.cwd()).resolve()
    whole = (root / file).resolve()
    if not whole.is_relative_to(root):
        return Definition(file.name, True, f"{ELSEWHERE}/{file.name}")
    inside = whole.relative_to(root)
    return Definition(inside.as_posix(), False, inside.stem if inside == suite_file(inside.stem) else inside.as_posix())


def given_runs(suite: Suite, records: Iterable[Path]) -> list[str]:
    """Return the runs whose records are shipped under `paper/records/`, and not computed, by the records' files."""
    folder = (SHIPPED / suite.suite).resolve()
    found = {file.resolve().relative_to(folder).parts[0] for file in records if file.resolve().is_relative_to(folder)}
    return [run for run in suite.runs if run in found]


class Rebuild(NamedTuple):
    """How a report is built again."""

    file: str
    outside: bool
    command: list[str]


def how_to_rebuild(facts: Facts, file: Path, given: Collection[str]) -> Rebuild:
    """Return how a report is built again, from its suite's file and the runs whose records were not computed."""
    found = definition(file)
    lines = command(facts.suite, found.chosen_by, given, facts.records[0].spec.budget)
    return Rebuild(found.file, found.outside, lines)


def command(
    suite: Suite, chosen_by: str, given: Collection[str], budget: Budget | None, width: int = WIDTH
) -> list[str]:
    """Return the command that builds a report again, in lines that can be pasted into a shell.

    Args:
        suite: The suite.
        chosen_by: What `--config suite=` says.
        given: Runs whose records were not computed.
        budget: What cut the runs, if anything did.
        width: Characters of a line.
    """
    words = [f"suite={chosen_by}"]
    computed = [run for run in suite.runs if run not in given]
    if given and suite.records != "shipped":
        words.append(f"records=[{', '.join(computed)}]" if computed else "records=shipped")
    if budget is not None:
        cuts = budget.model_dump(exclude_none=True)
        words.append("budget={" + ", ".join(f"{key}: {str(value).lower()}" for key, value in cuts.items()) + "}")
    return _lines(["snakemake --cores all --config", *(shlex.quote(word) for word in words)], width)


def _lines(words: list[str], width: int) -> list[str]:
    """Break a command between words, and a quoted word that is too long after a comma, where its quote is reopened."""
    lines = [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + len(word) + 3 > width:
            lines[-1] += " \\"
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
        while len(lines[-1]) > width and ", " in lines[-1][:width]:
            cut = lines[-1].rindex(", ", 0, width - 2) + 2
            lines[-1:] = [f"{lines[-1][:cut]}'\\", f"'{lines[-1][cut:]}"]
    return lines
