"""What the planned contrasts of a suite can find, before anything is trained."""

from __future__ import annotations

from typing import NamedTuple

from tabulate import tabulate

from crossres.base import CrossresError
from crossres.claims import statistics
from crossres.claims.finding import LEVEL
from crossres.suites.suite import Suite


class Power(NamedTuple):
    """The power of one contrast."""

    contrast: str
    family: str
    seeds: int
    seed_sd: float
    """Assumed standard deviation over seeds."""
    effect: float
    """Distance from the bound."""
    power: float
    """Probability that the test finds this effect, at the level of a single test."""
    power_first: float
    """The same at the strictest step of Holm's correction over its family: the least that it has."""
    detectable: float
    """Effect that is found with a probability of 0.8 at that step."""


def powers(suite: Suite) -> list[Power]:
    """Return the power of every contrast that names a standard deviation.

    Raises:
        CrossresError: When none does.
    """
    families = [contrast.family for contrast in suite.contrasts.values()]
    found = []
    for name, one in suite.contrasts.items():
        seeds = len(suite.common_seeds(one.runs))
        if one.seed_sd is None or one.effect == 0 or seeds < 2:
            continue
        strictest = LEVEL / (families.count(one.family) if one.family else 1)
        single, first = (statistics.power(one.effect, one.seed_sd, seeds, alpha) for alpha in (LEVEL, strictest))
        detectable = statistics.detectable(one.seed_sd, seeds, strictest)
        found.append(Power(name, one.family or "", seeds, one.seed_sd, one.effect, single, first, detectable))
    if not found:
        raise CrossresError(f"suite {suite.suite}: no contrast over several seeds has a seed_sd and an effect to find")
    return found


def power_text(suite: Suite) -> str:
    """Return the powers as text for a terminal."""
    heads = ("contrast", "family", "seeds", "SD", "effect", "power", "with Holm", "80 % with Holm")
    table = tabulate(powers(suite), heads, floatfmt=("", "", "", "g", "g", ".2f", ".2f", ".2f"))
    return (
        f"{table}\ntwo-sided paired t tests over seeds at {LEVEL:g}; SD is assumed (seed_sd in the suite's file)\n"
        "with Holm: the power at the strictest step of its correction, and the effect that has 80 % power there"
    )
