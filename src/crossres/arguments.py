"""What the verbs take, checked before any of them starts."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from pathlib import Path

from crossres import files
from crossres.base import CrossresError, nearest

DEVICES = ("auto", "cuda", "cpu")
AT_THE_ROOT: Mapping[str, str | None] = {
    **dict.fromkeys(("import-thesis", "plan", "export", "status", "watch", "ship", "audit", "tex", "pages", "readme")),
    **{"claims": "file", "document": "output_dir"},
}
"""The verbs that read the project's own files, and the option with which one of them does without."""


def count(word: str) -> int:
    """Read a whole number from 1, as argparse's `type`."""
    if not (word.isdecimal() and int(word)):
        raise argparse.ArgumentTypeError(f"'{word}' is not a whole number from 1")
    return int(word)


def seconds(word: str) -> float:
    """Read a time above 0, as argparse's `type`."""
    try:
        found = float(word)
    except ValueError:
        found = math.nan
    if not 0 < found < math.inf:
        raise argparse.ArgumentTypeError(f"'{word}' is not a number of seconds above 0")
    return found


def device(word: str) -> str:
    """Read a device, as argparse's `type`, which looks at a default out of the environment, too."""
    if word not in DEVICES:
        raise argparse.ArgumentTypeError(f"no device '{word}', here or in CROSSRES_DEVICE{nearest(word, DEVICES)}")
    return word


def check_place(args: argparse.Namespace) -> None:
    """Check that a verb which reads the project's own files is run where they are.

    Raises:
        CrossresError: When it is run anywhere else.
    """
    spared_by = AT_THE_ROOT.get(args.verb)
    if args.verb not in AT_THE_ROOT or (spared_by and getattr(args, spared_by) is not None):
        return
    if not files.SUITES.is_dir():
        raise CrossresError(f"{args.verb}: run this from the repository's root; {Path.cwd()} has no {files.SUITES}")
