"""A mistyped target, answered before the workflow is planned."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from crossres import files
from crossres.base import CrossresError, nearest
from crossres.report import catalog
from crossres.suites.spec import Suite

EXPORT = files.export_dir(Path()).name


def check_targets(words: Iterable[str], suite: Suite, results: Path, rules: Collection[str]) -> None:
    """Check the targets among the words of Snakemake's command line: rules and paths under `results/`.

    Args:
        words: The words after the command. Before `--`, only paths under `results/` can be told from options' values.
        suite: The suite.
        results: The folder of its results.
        rules: Names of the rules.

    Raises:
        CrossresError: One line that names the nearest right target.
    """
    only_targets = False
    for word in words:
        if word.startswith(f"{files.RESULTS}/"):
            _check_path(Path(word), suite, results, only_targets)
        elif only_targets and "/" not in word and not Path(word).exists() and word not in rules:
            raise CrossresError(f"no rule '{word}'{nearest(word, rules)}")
        only_targets = only_targets or word == "--"


def _check_path(target: Path, suite: Suite, results: Path, surely: bool) -> None:
    if not target.is_relative_to(results):
        other = target.relative_to(files.RESULTS).parts[0]
        if other != suite.suite and files.suite_file(other).is_file():
            raise CrossresError(f"{target}: not of suite {suite.suite}; add --config suite={other}")
        if surely:  # otherwise it may be an option's value
            raise CrossresError(f"{target}: the results of this suite and budget are under {results}/")
        return
    if target.exists():
        return
    folder, *rest = target.relative_to(results).parts
    if not rest or folder == EXPORT:  # a file of the whole suite, or a report that Snakemake is to write
        return
    if folder not in (*catalog.KINDS, EXPORT, *suite.runs):
        raise CrossresError(f"{target}: no run '{folder}'{nearest(folder, (*suite.runs, *catalog.KINDS, EXPORT))}")
    if folder in catalog.KINDS:
        _check_product(target, suite, folder)
    elif rest[0].removeprefix("seed") not in map(str, suite.seeds_of(folder)):
        seeds = ", ".join(f"seed{seed}" for seed in suite.seeds_of(folder))
        raise CrossresError(f"{target}: no '{rest[0]}' of {folder}; known: {seeds}")


def _check_product(target: Path, suite: Suite, kind: str) -> None:
    names = catalog.names(kind, suite)
    if target.stem not in names:
        why = " for these runs" if target.stem in catalog.names(kind) else ""
        raise CrossresError(f"{target}: no {kind.removesuffix('s')} '{target.stem}'{why}{nearest(target.stem, names)}")
