"""The sources of a report as archives, and its numbers for other papers."""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from crossres.base import CrossresError
from crossres.files import shipped_record, suite_file
from crossres.records.record import read_record
from crossres.report.keyed import numbers_by_key
from crossres.report.pdf import pack
from crossres.report.tex import render_numbers
from crossres.suites.suite import Suite, load_suite
from tests.report.test_report import BIBLIOGRAPHY, demo, inputs_of, needs_latex, records_of, source_of, text_of

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


def paper(folder: Path, body: str) -> subprocess.CompletedProcess[str]:
    """Compile a paper that uses the numbers."""
    preamble = r"\documentclass{article}\usepackage[T1]{fontenc}\input{numbers}"
    (folder / "paper.tex").write_text(rf"{preamble}\begin{{document}}{body}\end{{document}}", encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    return subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", errors="replace", check=False)


@needs_latex
def test_every_number_prints_in_text_and_in_formulas_and_an_unknown_key_is_named(demo: Suite, tmp_path: Path) -> None:
    inputs = inputs_of(demo, records_of(demo))
    numbers = numbers_by_key(inputs)
    (tmp_path / "numbers.tex").write_text(render_numbers(inputs), encoding="utf-8")
    lines = "".join(rf"\noindent\detokenize{{{key}}}=\crossres{{{key}}}.\par " for key in numbers)
    single = [key for key, value in numbers.items() if re.fullmatch(r"[−<]?[\d.,]+", value)]
    formulas = "".join(rf"$\crossres{{{key}}}$ " for key in single)
    done = paper(tmp_path, rf"\section{{\crossres{{demo.claims}}}}{lines}{formulas}\input{{numbers}}")
    assert done.returncode == 0, done.stdout[-2000:]
    found = text_of(tmp_path / "paper.pdf").replace(" ", "")
    negative = next(key for key in single if numbers[key].startswith("−"))
    for key in (negative, "demo.run.kd_32.accuracy_pct", "demo.claim.dkd_collapse.verdict"):
        assert f"{key}={numbers[key].replace(' ', '')}." in found
    done = paper(tmp_path, r"\crossres{demo.run.kd_23.accuracy_pct}")
    assert done.returncode != 0
    assert "demo.run.kd_23.accuracy_pct" in done.stdout


def test_keyed_numbers_are_those_of_the_summary_and_of_the_audit(demo: Suite) -> None:
    inputs = inputs_of(demo, records_of(demo))
    numbers, summary = numbers_by_key(inputs), inputs.summary
    accuracies = summary[summary["run"] == "kd_32"]["accuracy_pct"]
    assert numbers["demo.run.kd_32.accuracy_pct"] == f"{accuracies.mean():.2f}"
    assert numbers["demo.run.kd_32.seeds"] == str(len(accuracies))
    assert float(numbers["demo.run.kd_32.accuracy_pct.half_width"]) > 0
    assert numbers["demo.runs"] == str(len(demo.runs))
    for contrast in inputs.audit.contrasts:
        assert contrast.estimate and contrast.estimate.low is not None
        assert numbers[f"demo.contrast.{contrast.id}"] == f"{contrast.estimate.value:.2f}".replace("-", "−")
        assert numbers[f"demo.contrast.{contrast.id}.low"] == f"{contrast.estimate.low:.2f}".replace("-", "−")
        assert numbers[f"demo.contrast.{contrast.id}.verdict"] == contrast.verdict
    counts = {key: int(value) for key, value in numbers.items() if re.fullmatch(r"demo\.claims\.[\w-]+", key)}
    assert sum(counts.values()) == int(numbers["demo.claims"]) == len(inputs.audit.findings)


@pytest.mark.parametrize("name", ["published", "mini"])
def test_every_number_of_the_report_has_a_key(name: str, tmp_path: Path) -> None:
    suite = load_suite(suite_file(name))
    records = [read_record(shipped_record(name, run, seed)) for run, seed in suite.jobs()]
    inputs = inputs_of(suite, records)
    elsewhere = [finding.statement for finding in inputs.audit.findings]
    elsewhere += [version for record in records for version in record.provenance.versions.values()]
    number = r"\d[\d,]*\.\d+"
    known = set(re.findall(number, " ".join([*numbers_by_key(inputs).values(), *elsewhere])))
    body = source_of(suite, records, tmp_path).split(r"\begin{document}")[1]
    printed = re.sub(r"\\includegraphics\[.*?\]", "", body)
    assert {found for found in re.findall(rf"(?<![\w.]){number}(?!\w)", printed) if found not in known} == set()
