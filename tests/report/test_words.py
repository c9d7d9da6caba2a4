"""The markup of captions in LaTeX and in HTML."""

from __future__ import annotations

import pytest

from crossres.report.words import to_html, to_latex


@pytest.mark.parametrize(
    ("text", "latex", "html"),
    [
        ("95\u202f% *t* intervals", r"95\,\% $t$ intervals", "95\u202f% <i>t</i> intervals"),
        ("[fig:a_b] and [tab:c].", r"Figure~\ref{fig:a_b} and Table~\ref{tab:c}.", "Figure a_b and Table c."),
        ("DKD [cite:zhao2022]", r"DKD \citep{zhao2022}", "DKD [zhao2022]"),
        ("kd_32 < 2 * 3 & β", r"kd\_32 \textless{} 2 * 3 \& $\beta$", "kd_32 &lt; 2 * 3 &amp; β"),
    ],
)
def test_marks_are_set_and_the_rest_is_escaped(text: str, latex: str, html: str) -> None:
    assert to_latex(text) == latex
    assert to_html(text) == html
