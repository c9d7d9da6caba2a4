"""What a suite compares to decide a question, declared before its runs are trained."""

from __future__ import annotations

from pydantic import Field, model_validator

from crossres.base import Positive, Strict


class Bound(Strict):
    """The side of a number on which another has to lie."""

    above: float | None = None
    below: float | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Bound:
        if (self.above is None) == (self.below is None):
            raise ValueError("give one of above and below")
        return self

    def __str__(self) -> str:
        return f"{'above' if self.above is not None else 'below'} {self.at:g}".replace("-", "−")

    @property
    def at(self) -> float:
        return self.above if self.above is not None else self.below or 0.0

    @property
    def sign(self) -> int:
        """1 where larger numbers lie on the side of the bound, −1 where smaller ones do."""
        return 1 if self.above is not None else -1

    def holds(self, low: float, high: float) -> bool:
        """Return whether an interval lies wholly on the side of the bound."""
        return low > self.at if self.above is not None else high < self.at

    def other_side(self, distance: float = 0.0) -> Bound:
        """Return the other side: of the bound, or of the point that lies so far inside this one."""
        at = self.at + self.sign * distance
        return Bound(below=at) if self.above is not None else Bound(above=at)


class PlannedContrast(Strict):
    """A weighted sum of runs, seed by seed, and what it has to be for a claim to hold."""

    title: str
    """What it is, as a noun phrase."""
    claim: str | None = None
    """The claim whose verdict it gives, by its key in the document of the claims."""
    family: str | None = None
    """The contrasts over which its p is corrected by Holm's method: those with the same word. Without one, its p is not
    corrected."""
    column: str = "accuracy_pct"
    """Column of the summary."""
    runs: dict[str, float] = Field(min_length=1)
    """The weight of each run."""
    supported_if: Bound
    """Where its value lies if the claim holds."""
    smallest_effect: Positive | None = None
    """The smallest distance from that bound that matters. The claim is contradicted by an interval that excludes every
    larger one; without it, by an interval on the other side of the bound."""
    seed_sd: Positive | None = None
    """Standard deviation over seeds with which its power is computed."""

    @property
    def contradicted_if(self) -> Bound:
        return self.supported_if.other_side(self.smallest_effect or 0.0)

    @property
    def effect(self) -> float:
        """The distance from the bound at which power is computed: the smallest effect, or else that of zero."""
        return self.smallest_effect or abs(self.supported_if.at)
