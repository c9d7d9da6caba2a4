"""LaTeX text: what is LaTeX already, and the escaping of everything else."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

from crossres.base import CrossresError

if TYPE_CHECKING:
    from crossres.suites.suite import Suite

LATEX_SYMBOLS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "`": r"\textasciigrave{}",
    '"': r"\textquotedbl{}",
    "|": r"\textbar{}",
    "\u00a0": "~",
    "\u202f": r"\,",
    "–": r"\textendash{}",
    "—": r"\textemdash{}",
    "…": r"\dots{}",
    "’": r"'",
    "\u2009": r"\,",
    "\u2011": r"\mbox{-}",
}
MATH = """
α alpha β beta γ gamma δ delta ε epsilon ζ zeta η eta θ theta ι iota κ kappa λ lambda μ mu ν nu ξ xi π pi ρ rho
ς varsigma σ sigma τ tau υ upsilon φ phi χ chi ψ psi ω omega Γ Gamma Δ Delta Θ Theta Λ Lambda Ξ Xi Π Pi Σ Sigma
Υ Upsilon Φ Phi Ψ Psi Ω Omega → rightarrow ← leftarrow ↑ uparrow ↓ downarrow ↔ leftrightarrow ⇒ Rightarrow
× times · cdot ± pm ≤ le ≥ ge ≠ neq ≈ approx ∞ infty √ surd ∼ sim ∝ propto ∈ in
"""
"""Characters, each before the command of mathematics that prints it."""
LATEX_SYMBOLS |= {char: rf"$\{command}$" for char, command in re.findall(r"(\S) (\w+)", MATH)}
LATEX_SYMBOLS["−"] = "$-$"
NOT_IN_T1 = "ĦħĸĿŀŉŦŧſ\u00ad"
ALSO_IN_T1 = "ȘșȚț‐‘“”‚„‹›•†‡‰€™"
"""Where T1 fonts and inputenc differ from Latin-1 and Latin Extended-A, which they can set."""


class Latex(str):
    """Text that is LaTeX already and must not be escaped again."""


def escape(text: object) -> Latex:
    """Escape text so that LaTeX prints it character by character; `Latex` passes as it is."""
    if isinstance(text, Latex):
        return text
    escaped = "".join(map(_escaped, re.sub(r"[ \t\r\n]+", " ", unicodedata.normalize("NFC", str(text)))))
    for pair in ("--", "''", ",,"):  # ligatures of T1 fonts
        while pair in escaped:
            escaped = escaped.replace(pair, f"{pair[0]}{{}}{pair[1]}")
    return Latex(escaped)


def either_mode(number: str) -> Latex:
    """Escape a number so that LaTeX prints it both in text and in a formula."""
    return Latex(re.sub(r"\$(.+?)\$", r"\\ensuremath{\1}", escape(number).replace(r"\textless{}", "$<$")))


def check_titles(suite: Suite, path: Path) -> None:
    """Check that the report can print the texts of a suite.

    Raises:
        CrossresError: Naming the first character that it cannot.
    """
    factors = [text for factor in suite.factors.values() for text in (factor.title, *factor.levels)]
    for text in (suite.title, suite.notice or "", *factors):
        for char in unicodedata.normalize("NFC", text):
            if not (char.isspace() or _is_printed(char)):
                name = f"'{char}' (U+{ord(char):04X} {unicodedata.name(char, '')})"
                raise CrossresError(f"{path}: the report cannot print {name}; write '{text:.60}' without it")


def _is_printed(char: str) -> bool:
    latin = 32 <= ord(char) < 0x180 and char.isprintable() and char not in NOT_IN_T1
    return latin or char in LATEX_SYMBOLS or char in ALSO_IN_T1


def _escaped(char: str) -> str:
    # What cannot be printed is named, so that LaTeX runs.
    return LATEX_SYMBOLS.get(char, char) if _is_printed(char) else f"\\texttt{{U+{ord(char):04X}}}"


def mono(text: str) -> Latex:
    """Set a name, path or command in typewriter, breakable after `/`, `_` and `.`, but not before a file's suffix."""
    escaped = escape(text).replace("'", r"\textquotesingle{}")
    return Latex("\\texttt{" + re.sub(r"(/|\\_|\.(?!\w{1,4}$))(?=.)", r"\1\\allowbreak{}", escaped) + "}")


def sourced(text: str) -> Latex:
    """Set a source: its addresses, files and commits in typewriter, the words between them as they are."""
    parts = re.split(r"(https?://[^\s,]+|\w[\w/-]*\.\w+|\b(?=[a-f]*[0-9])[0-9a-f]{7,40}\b)", text)
    return Latex("".join(mono(part) if index % 2 else escape(part) for index, part in enumerate(parts)))


def with_mono_keys(text: str) -> Latex:
    """Set the keys in a text, which have a `_`, in typewriter, and the words between them as they are."""
    parts = re.split(r"(\b[a-z]\w*_\w+)", text)
    return Latex("".join(mono(part) if index % 2 else escape(part) for index, part in enumerate(parts)))


def stacked(text: str, at: str = "b") -> Latex:
    """Set the words of a narrow column's entry below each other, and break a long name after `_`.

    Args:
        at: `b` or `t`: whether the last or the first of them is in line with the neighbours.
    """
    words = [escape(word) for word in re.sub(r"(\w{5,}?_)(?=\w{5})", r"\1 ", text).split(" ")]
    lines = r"\\".join(words)
    return Latex(rf"\begin{{tabular}}[{at}]{{@{{}}l@{{}}}}{lines}\end{{tabular}}") if len(words) > 1 else words[0]
