"""Where a suite file is, and the command that rebuilds its report."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from crossres.files import SHIPPED, suite_file
from crossres.report.facts import Facts
from crossres.suites.suite import Suite

ELSEWHERE = "/path/to"
"""Stands for a folder outside the project: a report names no folder of the machine that built it."""


class Rebuild(NamedTuple):
    """The file of a suite, and the command that rebuilds its report."""

    file: str
    """Relative to the project's root, or the file's name alone where it is outside."""
    outside: bool
    """Whether the user's own file is outside the project."""
    command: list[str]
    """The command in lines, to be pasted into a shell."""


def how_to_rebuild(facts: Facts, file: Path, given: Collection[str], root: Path | None = None) -> Rebuild:
    """Return how the report of a suite is rebuilt.

    Args:
        facts: The runs of the suite.
        file: The suite's file.
        given: Runs whose records were not computed.
        root: The project's root, the working directory when None.
    """
    root = (root or Path.cwd()).resolve()
    whole = (root / file).resolve()
    outside = not whole.is_relative_to(root)
    place = file.name if outside else whole.relative_to(root).as_posix()
    own = not outside and whole == root / suite_file(whole.stem)
    chosen_by = f"{ELSEWHERE}/{place}" if outside else whole.stem if own else place
    words = [shlex.quote(word) for word in (f"suite={chosen_by}", *_other_config(facts, given))]
    lines = [f"snakemake --cores all --config {words[0]}", *words[1:]]
    return Rebuild(place, outside, [f"{line} \\" for line in lines[:-1]] + lines[-1:])


def _other_config(facts: Facts, given: Collection[str]) -> list[str]:
    """Return what else the config has to say: the seeds, which records are computed, and the budget."""
    words, budget, suite = [], facts.records[0].spec.budget, facts.suite
    seeds = {record.spec.seed for record in facts.records if suite.run(record.spec.run).seeds is None}
    if seeds and seeds != set(suite.seeds):
        words.append(f"seeds={sorted(seeds)}")
    if given and suite.records != "shipped":
        computed = ", ".join(run for run in suite.runs if run not in given)
        words.append(f"records=[{computed}]" if computed else "records=shipped")
    if budget is not None:
        cuts = budget.model_dump(exclude_none=True)
        words.append("budget={" + ", ".join(f"{key}: {str(value).lower()}" for key, value in cuts.items()) + "}")
    return words


def given_runs(suite: Suite, records: Iterable[Path]) -> list[str]:
    """Return the runs whose records are shipped under `paper/records/`, and not computed, by the records' files."""
    folder = (SHIPPED / suite.suite).resolve()
    found = {file.resolve().relative_to(folder).parts[0] for file in records if file.resolve().is_relative_to(folder)}
    return [run for run in suite.runs if run in found]
