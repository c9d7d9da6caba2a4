"""The sources of a report as archives."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from crossres.base import CrossresError
from crossres.report.pdf import pack
from crossres.suites.suite import Suite
from tests.report.test_report import BIBLIOGRAPHY, demo, records_of, source_of

__all__ = ["demo"]  # a fixture


def test_packed_sources_hold_what_the_report_includes_and_are_equal_to_the_byte(demo: Suite, tmp_path: Path) -> None:
    packed = []
    for place in ("one", "another/place"):
        results = tmp_path / place
        source = results / "report.tex"
        tex = source_of(demo, records_of(demo), results)
        source.write_text(rf"\input{{numbers}}{tex}", encoding="utf-8")
        (results / "references.bib").write_bytes(BIBLIOGRAPHY.read_bytes())
        (results / "report.bbl").write_text("references")
        (results / "figures/unused.pdf").touch()
        (results / "numbers.tex").write_text("numbers")
        pack(source, results)
        packed.append([(results / name).read_bytes() for name in ("arxiv.tar.gz", "overleaf.zip")])
    assert packed[0] == packed[1]
    with tarfile.open(fileobj=io.BytesIO(packed[0][0])) as tar:
        names = set(tar.getnames())
    assert {"report.tex", "report.bbl", "numbers.tex"} < names
    assert "figures/unused.pdf" not in names
    assert set(zipfile.ZipFile(io.BytesIO(packed[0][1])).namelist()) == names - {"report.bbl"} | {"references.bib"}
    (tmp_path / "one/numbers.tex").unlink()
    with pytest.raises(CrossresError, match="numbers.tex: no such file"):
        pack(tmp_path / "one/report.tex", tmp_path)
