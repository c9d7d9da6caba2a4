"""Whether two sets of records show the same results, run by run."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, starmap
from operator import ne
from pathlib import Path
from statistics import fmean

from crossres import files
from crossres.base import CrossresError, nearest
from crossres.claims import statistics
from crossres.claims.statistics import Equivalence
from crossres.records.record import Record, read_record
from crossres.suites.suite import load_suite
from crossres.tools.comparison import Comparison, Figure, Images, Pair, RunComparison, Verdict

FIGURES = {"accuracy_pct": "top1_pct", "nll": "nll", "ece": "ece"}
NAMES = ("spec.suite", "spec.run", "spec.thesis_id", "spec.evaluation", "provenance.weights_sha256")
"""What is not counted as a difference: it changes no training, or is the result."""
SEEDS = ("spec.seed", "spec.teacher_seed", "spec.stream_seed")
WITHOUT_EFFECT = tuple(f"provenance.{key}" for key in ("commit", "image", "versions.python", "versions.safetensors"))
"""Differences that trained bits do not depend on."""


def read_records(name: str) -> tuple[Path, dict[str, list[Record]]]:
    """Return where the records of a suite, folder or file are, and those of each run.

    Those of a suite are the shipped ones or, if it has none, those in results/.

    Raises:
        CrossresError: When there is none, one is broken, or they are not those of one suite.
    """
    if name.endswith((".yaml", ".yml")):
        name = load_suite(Path(name)).suite
    for place in (files.SHIPPED / name, files.suite_dir(name), Path(name)):
        inside = chain(place.rglob("seed*/record.json"), place.rglob("seed*.json"))
        if paths := [place] if place.is_file() else sorted(inside):
            break
    else:
        raise CrossresError(f"{name}: no records there; give a suite, a folder of its records, or one record")
    records = sorted(map(read_record, paths), key=lambda record: record.spec.seed)
    by_run = {run: [one for one in records if one.name == run] for run in sorted({one.name for one in records})}
    jobs = {(one.name, one.spec.seed) for one in records}
    if len({one.spec.suite for one in records}) > 1 or len(jobs) < len(records):
        raise CrossresError(
            f"{place}: records of several suites, or several of one run and seed; give one suite's folder"
        )
    return place, by_run


def compare(first: str, second: str, margin_pct: float, runs: Sequence[str] | None = None) -> Comparison:
    """Compare two suites, folders or records; where each has one run, their names may differ.

    Args:
        first: What to compare with, as `read_records` takes it.
        second: What is compared.
        margin_pct: Difference in accuracy, in points, up to which two runs are equivalent.
        runs: Runs to compare; all when None.

    Raises:
        CrossresError: When they have no run in common, or the first lacks one of `runs`.
    """
    (place, ours), (other_place, theirs) = read_records(first), read_records(second)
    for run in runs or ():
        if run not in ours:
            raise CrossresError(f"{place}: no record of run '{run}'{nearest(run, ours)}")
    chosen = list(runs or ours)
    both = {run: run for run in chosen if run in theirs}
    if len(ours) == len(theirs) == 1:
        both = dict(zip(ours, theirs, strict=True))
    if not both:
        raise CrossresError(f"no run in common: {place} has {', '.join(chosen)}; {other_place} has {', '.join(theirs)}")
    return Comparison(
        first=str(place),
        second=str(other_place),
        margin_pct=margin_pct,
        runs=[_compare_run(ours[run], theirs[other], margin_pct) for run, other in both.items()],
        missing=[run for run in chosen if run not in both],
    )


def _compare_run(first: list[Record], second: list[Record], margin_pct: float) -> RunComparison:
    by_seed = {one.spec.seed: one for one in second}
    shared = [(one, by_seed[one.spec.seed]) for one in first if one.spec.seed in by_seed]
    pairs = list(starmap(_pair, shared or zip(first, second, strict=False)))
    identical = bool(shared) and all(starmap(_are_identical, shared))
    if paired := identical or len(shared) > 1:
        first, second = [one for one, _ in shared], [other for _, other in shared]
    fewest, most = sorted((len(first), len(second)))
    compared = {label: _over_seeds(name, first, second, paired, margin_pct) for label, name in FIGURES.items()}
    test = compared["accuracy_pct"][1]
    verdict: Verdict = "identical" if identical else _verdict(test)
    asked = test if verdict == "cannot tell" else None
    return RunComparison(
        run=" / ".join(dict.fromkeys((first[0].name, second[0].name))),
        verdict=verdict,
        design="one each" if most == 1 else "paired" if paired else "Welch" if fewest > 1 else "one against several",
        seeds=(len(first), len(second)),
        figures={label: figure for label, (figure, _) in compared.items() if figure},
        p=test and test.p,
        seeds_to_decide=asked and statistics.seeds_to_decide(asked.value, asked.spread, margin_pct),
        pairs=pairs,
    )


def _over_seeds(
    name: str, first: list[Record], second: list[Record], paired: bool, margin: float
) -> tuple[Figure | None, Equivalence | None]:
    """Return a test figure and its test over seeds: None where it is not recorded, or each side has one seed."""
    ours, theirs = ([getattr(one.best, name) for one in side] for side in (first, second))
    if None in (*ours, *theirs):
        return None, None
    test = statistics.equivalence(ours, theirs, margin, paired) if len(ours) + len(theirs) > 2 else None
    low, high = test.interval if test else (None, None)
    return Figure(first=fmean(ours), second=fmean(theirs), low=low, high=high), test


def _verdict(test: Equivalence | None) -> Verdict:
    level = (1 - statistics.TOST_LEVEL) / 2
    if test is None or level <= test.p <= 1 - level:
        return "cannot tell"
    return "equivalent" if test.p < level else "different"


def _are_identical(first: Record, second: Record) -> bool:
    bits, other_bits = ((one.provenance.weights_sha256, one.predictions) for one in (first, second))
    return bits == other_bits if any((*bits, *other_bits)) else first.history == second.history


def _pair(first: Record, second: Record) -> Pair:
    seeds = first.spec.seed, second.spec.seed
    weights = first.provenance.weights_sha256, second.provenance.weights_sha256
    ignored = NAMES if seeds[0] == seeds[1] else (*NAMES, *SEEDS)
    differing = {"spec": first.spec.differing(second.spec), "provenance": first.provenance.differing(second.provenance)}
    changes = {f"{part}.{key}": both for part, found in differing.items() for key, both in found.items()}
    changes = {key: both for key, both in changes.items() if key not in ignored}
    others = ["seed"] * (seeds[0] != seeds[1]) + ["a GPU"] * ("cuda" in first.provenance.versions)
    return Pair(
        seeds=seeds,
        changes=changes,
        bits_depend_on=[key.partition(".")[2] for key in changes if key not in WITHOUT_EFFECT] + others,
        same_weights=None if None in weights else weights[0] == weights[1],
        accuracy_pct=(first.best.top1_pct, second.best.top1_pct),
        images=_over_images(first, second),
    )


def _over_images(first: Record, second: Record) -> Images | None:
    right, also_right = first.correct_images(), second.correct_images()
    images = {(one.provenance.data_sha256, one.spec.dataset.test_images) for one in (first, second)}
    if right is None or also_right is None or len(images) > 1:
        return None
    gains_pct = [100.0 * (b - a) for a, b in zip(right, also_right, strict=True)]
    middle, width = fmean(gains_pct), statistics.half_width(gains_pct, statistics.TOST_LEVEL)
    return Images(
        predictions_differ=sum(map(ne, first.predictions or (), second.predictions or ())),
        low_pct=middle - width,
        high_pct=middle + width,
        mcnemar_p=statistics.mcnemar(right, also_right),
    )
