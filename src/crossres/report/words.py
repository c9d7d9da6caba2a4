"""The markup of captions and of sentences about figures and tables, set for LaTeX and for HTML.

It is plain text but for `*x*`, a variable in italics, `[fig:NAME]` and `[tab:NAME]`, which refer to a figure or table,
and `[cite:KEY]`, which cites an entry of the bibliography.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping

from markupsafe import Markup

from crossres.report.latex import Latex, escape

MARKS = re.compile(
    r"\*(?P<variable>[A-Za-z])\*|\[fig:(?P<figure>\w+)\]|\[tab:(?P<table>\w+)\]|\[cite:(?P<cited>[\w-]+)\]"
)
IN_LATEX = {
    "variable": "${}$",
    "figure": r"Figure~\ref{{fig:{}}}",
    "table": r"Table~\ref{{tab:{}}}",
    "cited": r"\citep{{{}}}",
}
IN_HTML = {"variable": "<i>{}</i>", "figure": "Figure {}", "table": "Table {}", "cited": "[{}]"}


def to_latex(text: str) -> Latex:
    """Set a text for LaTeX, escaped."""
    return Latex(_set(text, IN_LATEX, escape))


def to_html(text: str) -> Markup:
    """Set a text for HTML, escaped."""
    return Markup(_set(text, IN_HTML, lambda part: html.escape(part, quote=False)))


def _set(text: str, forms: Mapping[str, str], escaped: Callable[[str], str]) -> str:
    parts, end = [], 0
    for mark in MARKS.finditer(text):
        kind = str(mark.lastgroup)
        parts += [escaped(text[end : mark.start()]), forms[kind].format(mark[kind])]
        end = mark.end()
    return "".join([*parts, escaped(text[end:])])
