"""LaTeX text: what is LaTeX already, and the escaping of everything else."""

from __future__ import annotations

import re

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
    "α": r"$\alpha$",
    "β": r"$\beta$",
    "λ": r"$\lambda$",
    "→": r"$\rightarrow$",
    "−": r"$-$",
    "×": r"$\times$",
    "±": r"$\pm$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "·": r"$\cdot$",
    "–": r"\textendash{}",
    "—": r"\textemdash{}",
    "…": r"\dots{}",
    "’": r"'",
}


class Latex(str):
    """Text that is LaTeX already and must not be escaped again."""


def escape(text: object) -> Latex:
    """Escape text so that LaTeX prints it character by character; `Latex` passes as it is."""
    if isinstance(text, Latex):
        return text
    escaped = "".join(LATEX_SYMBOLS.get(char) or _plain(char) for char in re.sub(r"[ \t\r\n]+", " ", str(text)))
    for pair in ("--", "''", ",,"):  # ligatures of T1 fonts
        while pair in escaped:
            escaped = escaped.replace(pair, f"{pair[0]}{{}}{pair[1]}")
    return Latex(escaped)


def _plain(char: str) -> str:
    # Latin-1 and Latin Extended-A are what T1 fonts and inputenc can set; anything else is named, so that LaTeX runs.
    return char if 32 <= ord(char) < 0x180 and char.isprintable() else f"\\texttt{{U+{ord(char):04X}}}"


def mono(text: str) -> Latex:
    """Set a name, path or command in typewriter, breakable after `/`, `_` and `.`, but not before a file's suffix."""
    escaped = escape(text).replace("'", r"\textquotesingle{}")
    return Latex("\\texttt{" + re.sub(r"(/|\\_|\.(?!\w{1,4}$))(?=.)", r"\1\\allowbreak{}", escaped) + "}")


def sourced(text: str) -> Latex:
    """Set a source: its addresses, files and commits in typewriter, the words between them as they are."""
    parts = re.split(r"(https?://[^\s,]+|\w[\w/-]*\.\w+|\b(?=[a-f]*[0-9])[0-9a-f]{7,40}\b)", text)
    return Latex("".join(mono(part) if index % 2 else escape(part) for index, part in enumerate(parts)))


def stacked(text: str) -> Latex:
    """Set the words of a narrow column's entry below each other."""
    words = [escape(word) for word in text.split(" ")]
    return Latex(r"\shortstack[l]{" + r"\\".join(words) + "}") if len(words) > 1 else words[0]
