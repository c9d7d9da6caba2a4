"""What a comparison of two sets of records finds: the document, its text for the terminal, and its page."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import Any, Literal

from tabulate import tabulate

from crossres.base import Strict
from crossres.claims.statistics import MOST_SEEDS

Verdict = Literal["identical", "equivalent", "different", "cannot tell"]
VERDICTS: dict[Verdict, str] = {
    "identical": "weights and predictions are the same to the bit (the history, where neither is recorded)",
    "equivalent": "the interval of the difference in accuracy lies within the margin",
    "different": "the interval lies beyond the margin",
    "cannot tell": "the interval contains an end of the margin, or each side has one seed",
}
COLUMNS = {"accuracy_pct": ("accuracy (%)", 2), "nll": ("NLL", 3), "ece": ("ECE", 3)}
"""Head and decimals of each figure."""


class Figure(Strict):
    """A test figure of the selected weights on both sides, as means over seeds."""

    first: float
    second: float
    low: float | None
    high: float | None
    """Ends of the 90 % interval over seeds of second minus first; null where each side has one seed."""


class Images(Strict):
    """Two networks on the same test images, which say nothing of other seeds."""

    predictions_differ: int
    """Images for which they predict different classes."""
    low_pct: float
    high_pct: float
    """Ends of the 90 % interval of the difference in accuracy, in points."""
    mcnemar_p: float
    """Exact p of equal accuracies."""


class Pair(Strict):
    """Two records of a run: of the same seed, or in the order of the seeds where no seed is shared."""

    seeds: tuple[int, int]
    changes: dict[str, tuple[Any, Any]]
    """Keys in which spec and provenance differ, with both values."""
    bits_depend_on: list[str]
    """Whatever differs that weights depend on. Where nothing does, they are expected to be the same to the bit."""
    same_weights: bool | None
    """Null where they are not recorded."""
    accuracy_pct: tuple[float, float]
    images: Images | None
    """Null where predictions of the same images are not recorded."""


class RunComparison(Strict):
    """One run on both sides, over its seeds."""

    run: str
    verdict: Verdict
    design: Literal["paired", "Welch", "one against several", "one each"]
    """How seeds are compared."""
    seeds: tuple[int, int]
    """Number of seeds that are compared, on each side."""
    figures: dict[str, Figure]
    p: float | None
    """p of accuracies that differ by the margin or more (TOST)."""
    seeds_to_decide: int | None
    """Seeds per side that probably decide; null where it is decided, or no spread over seeds is known."""
    pairs: list[Pair]

    @property
    def more(self) -> str:
        """The seeds that probably decide, as text; empty where it is decided."""
        if self.verdict != "cannot tell":
            return ""
        if self.seeds_to_decide is None:
            return "at least 2"
        return f"over {MOST_SEEDS:,}" if self.seeds_to_decide == MOST_SEEDS else str(self.seeds_to_decide)


class Comparison(Strict):
    """Two sets of records, run by run."""

    first: str
    second: str
    margin_pct: float
    runs: list[RunComparison]
    missing: list[str]
    """Runs of the first side that the second lacks."""

    def failures(self, required: str) -> list[str]:
        """Say of each run why it is not `identical`, or not even `equivalent`, with the same spec."""
        failed = [f"{run}: no record in {self.second}" for run in self.missing]
        for one in self.runs:
            keys = dict.fromkeys(chain.from_iterable(pair.changes for pair in one.pairs))
            if spec := [key.removeprefix("spec.") for key in keys if key.startswith("spec.")]:
                failed.append(f"{one.run}: its spec differs in {', '.join(spec)}")
            elif one.verdict not in ("identical", required):
                failed.append(f"{one.run}: {one.verdict}" + f" (seeds to decide: {one.more})" * bool(one.more))
        return failed


def as_text(comparison: Comparison) -> str:
    """Return a comparison as text for a terminal."""
    tables = [tabulate(rows, headers="keys", disable_numparse=True) for rows in _tables(comparison)]
    remarks = "\n".join(f"{what} ({runs})" for what, runs in _remarks(comparison).items())
    return "\n\n".join(filter(None, [*tables, remarks, _about(comparison)]))


def as_html(comparison: Comparison) -> str:
    """Return a comparison as an HTML page."""
    from crossres.report import html

    tables = []
    for rows in _tables(comparison):
        cells = [[html.marked(cell) if head == "verdict" else cell for head, cell in row.items()] for row in rows]
        tables.append(html.table(list(rows[0]), cells, ()))
    return html.page("Comparison", _about(comparison), "\n".join(tables), VERDICTS | _remarks(comparison))


def _about(comparison: Comparison) -> str:
    counts = Counter(one.verdict for one in comparison.runs)
    return (
        f"{comparison.first} → {comparison.second}: {', '.join(f'{counts[v]} {v}' for v in VERDICTS if counts[v])}. "
        f"Margin in accuracy: ±{comparison.margin_pct:g} points. In brackets: 90 % interval of the difference."
    )


def _tables(comparison: Comparison) -> list[list[dict[str, str]]]:
    """Return the rows of the runs, compared over seeds, and of the pairs of records."""
    pairs = [_pair_row(one.run, pair) for one in comparison.runs for pair in one.pairs]
    return [[_run_row(one) for one in comparison.runs], pairs]


def _run_row(one: RunComparison) -> dict[str, str]:
    row = {"run": one.run, "seeds": " against ".join(dict.fromkeys(map(str, one.seeds))), "design": one.design}
    for label, (head, digits) in COLUMNS.items():
        row[head] = "not recorded"
        if figure := one.figures.get(label):
            row[head] = "\n".join(_difference(figure.first, figure.second, figure.low, figure.high, digits))
    return row | {"verdict": one.verdict, "seeds to decide": one.more}


def _pair_row(run: str, pair: Pair) -> dict[str, str]:
    images, unlike = pair.images, pair.bits_depend_on
    low, high = (images.low_pct, images.high_pct) if images else (None, None)
    accuracies, difference = _difference(*pair.accuracy_pct, low, high, 2)
    more = f" and {len(unlike) - 2} more" if len(unlike) > 2 else ""
    return {
        "run": run,
        "seed": " / ".join(dict.fromkeys(map(str, pair.seeds))),
        "weights": {None: "not recorded", True: "same", False: "differ"}[pair.same_weights],
        "same bits expected": f"no: {', '.join(unlike[:2])}{more}" if unlike else "yes",
        "predictions": f"{images.predictions_differ:,} differ" if images else "not recorded",
        "accuracy (%)": accuracies,
        "over test images": difference,
        "McNemar's p": f"{images.mcnemar_p:.3g}" if images else "",
    }


def _difference(first: float, second: float, low: float | None, high: float | None, digits: int) -> tuple[str, str]:
    """Return two figures, and their difference with its interval."""
    interval = "" if low is None else f" [{low:+z.{digits}f}, {high:+z.{digits}f}]"
    return f"{first:.{digits}f} → {second:.{digits}f}", f"{second - first:+z.{digits}f}{interval}"


def _remarks(comparison: Comparison) -> dict[str, str]:
    """Return each difference in spec and provenance with its runs, and the runs that are missing."""
    runs: dict[str, dict[str, None]] = {}
    for one in comparison.runs:
        for key, values in chain.from_iterable(pair.changes.items() for pair in one.pairs):
            first, second = (text if len(text := str(value)) < 40 else f"{text[:12]}…" for value in values)
            runs.setdefault(f"{key}: {first} → {second}", {})[one.run] = None
    listed = {
        change: ", ".join(names) if len(names) < len(comparison.runs) else "all runs" for change, names in runs.items()
    }
    return listed | ({f"not in {comparison.second}": ", ".join(comparison.missing)} if comparison.missing else {})
