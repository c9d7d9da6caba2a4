"""Numbers, counts and lists as the report prints them, in plain text."""

from __future__ import annotations

from collections.abc import Iterable

from crossres.report.tabular import MISSING


class Number(float):
    """A number that prints with fixed decimals, and keeps them in a difference."""

    digits: int

    def __new__(cls, value: float, digits: int) -> Number:
        number = super().__new__(cls, value)
        number.digits = digits
        return number

    def __str__(self) -> str:
        return minus(f"{float(self):,.{self.digits}f}")

    def __sub__(self, other: float) -> Number:
        return Number(float(self) - float(other), self.digits)

    def __abs__(self) -> Number:
        return Number(abs(float(self)), self.digits)

    def worded(self, more: str, less: str, equal: str) -> str:
        """Say a difference in points by its sign, and `equal` where it is zero at the printed precision."""
        if round(float(self), self.digits) == 0:
            return equal
        return f"{abs(self)} points {more if self > 0 else less}"


def digits_of(column: str) -> int:
    """Return the decimals that a column of the summary is printed with."""
    if column.endswith(("_pct", "loss")) or column == "compression":
        return 2
    return 1 if column.endswith(("_millions", "minutes")) else 0


def mean(values: Iterable[float], digits: int = 2) -> Number:
    kept = list(values)
    return Number(sum(kept) / len(kept), digits)


def signed(number: Number | None, spread: Number | None = None) -> str:
    """Print a difference with its sign, and its half-width where there is one; a dash where there is no difference."""
    return MISSING if number is None else with_spread(minus(f"{float(number):+.{number.digits}f}"), spread)


def with_spread(value: object, spread: Number | None) -> str:
    return str(value) if spread is None else f"{value} ± {spread}"


def minus(text: str) -> str:
    """Print minus signs rather than hyphens."""
    return text.replace("-", "−")


def listing(items: Iterable[object]) -> str:
    """Join items as a sentence does: `a, b and c`."""
    *most, last = map(str, items)
    return f"{', '.join(most)} and {last}" if most else last


def counted(number: int, word: str) -> str:
    """Return `1 run`, `2 runs`."""
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def portion(part: int, whole: int, word: str) -> str:
    """Return `All 3 records`, `2 of the 3 records` or `The only record`."""
    if part < whole:
        return f"{part:,} of the {counted(whole, word)}"
    return f"All {counted(whole, word)}" if whole > 1 else f"The only {word}"


def capitalised(text: str) -> str:
    """Return a text with its first letter in upper case and the others as they are."""
    return text[:1].upper() + text[1:]
