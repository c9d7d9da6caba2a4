"""The report's LaTeX, compiled and packed: equal input gives equal bytes, wherever and whenever it is built."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from pathlib import Path

from crossres.base import CrossresError
from crossres.files import BIBLIOGRAPHY, read_text, write_atomic

SOURCE_DATE_EPOCH = "1735689600"
INSTALL_TEX = "sudo apt-get install -y --no-install-recommends $(cat envs/apt.txt)"
OVERFULL_PT = 10.0


def build_pdf(tex: str, out_pdf: Path, bibliography: Path, folder: Path) -> list[str]:
    """Compile a report.

    Args:
        tex: The source.
        out_pdf: Where the PDF goes, atomically, and beside it its references as `NAME.bbl`; after an error, the log
            stands there as `NAME.log`.
        bibliography: The BibTeX file.
        folder: Where the files are that the source includes.

    Returns:
        Warnings worth a look: lines that stick out of the margin by more than 10 pt.

    Raises:
        CrossresError: When LaTeX is not installed, fails, or leaves a reference or citation undefined.
    """
    if not (shutil.which("latexmk") and shutil.which("pdflatex")):
        raise CrossresError(f"latexmk is not installed, so the PDF cannot be built; install it with: {INSTALL_TEX}")
    with tempfile.TemporaryDirectory(prefix="crossres-report-") as temporary:
        work = Path(temporary)
        for name, content in {**included(tex, folder), BIBLIOGRAPHY.name: bibliography.read_bytes()}.items():
            write_atomic(work / name, content)
        (work / "report.tex").write_text(tex, encoding="utf-8")
        code = _latexmk(work)
        log = _read(work / "report.log")
        problem = latex_problem(code, log, _read(work / "report.blg"))
        if problem:
            kept = out_pdf.with_suffix(".log")
            write_atomic(kept, log)
            raise CrossresError(f"LaTeX: {problem}; the log is kept as {kept}")
        write_atomic(out_pdf.with_suffix(".bbl"), _read(work / "report.bbl"))
        write_atomic(out_pdf, (work / "report.pdf").read_bytes())
    return overfull_lines(log)


def included(tex: str, folder: Path) -> dict[str, bytes]:
    """Return the figures and sources that a report includes, each by its place beside the report.

    Raises:
        CrossresError: When one is missing.
    """
    found = {}
    for name in re.findall(r"\\(?:includegraphics(?:\[[^]]*\])?|input)\{([^}]+)\}", tex):
        file = name if Path(name).suffix else f"{name}.tex"
        if not (folder / file).is_file():
            raise CrossresError(f"{folder / file}: no such file; the report includes it")
        found[file] = (folder / file).read_bytes()
    return found


def pack(source: Path, folder: Path) -> None:
    """Write the source of a report, with the figures that it includes, as arXiv and as Overleaf take it.

    arXiv runs no BibTeX, so that `arxiv.tar.gz` has the references as `.bbl`. Overleaf does, and `overleaf.zip` has the
    bibliography. Equal input gives equal bytes.

    Args:
        source: The report's LaTeX file; beside it are its figures, its references and its bibliography.
        folder: Where both go.
    """
    shared = {source.name: source.read_bytes(), **included(read_text(source), source.parent)}
    references = source.with_suffix(".bbl")
    packed, zipped = io.BytesIO(), io.BytesIO()
    with (
        gzip.GzipFile("", "wb", fileobj=packed, mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w") as tar,
    ):
        for name, content in sorted({**shared, references.name: references.read_bytes()}.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(content), int(SOURCE_DATE_EPOCH)
            tar.addfile(entry, io.BytesIO(content))
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(
            {**shared, BIBLIOGRAPHY.name: (source.parent / BIBLIOGRAPHY.name).read_bytes()}.items()
        ):
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    write_atomic(folder / "arxiv.tar.gz", packed.getvalue())
    write_atomic(folder / "overleaf.zip", zipped.getvalue())


def _latexmk(folder: Path) -> int:
    env = {key: value for key, value in os.environ.items() if not key.startswith(("TEXINPUTS", "BIBINPUTS", "TEXMF"))}
    env |= {"SOURCE_DATE_EPOCH": SOURCE_DATE_EPOCH, "FORCE_SOURCE_DATE": "1", "TZ": "UTC", "max_print_line": "10000"}
    command = ["latexmk", "-norc", "-pdf", "-bibtex", "-interaction=nonstopmode", "-halt-on-error", "report.tex"]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, check=False).returncode


def _read(path: Path) -> str:
    with contextlib.suppress(FileNotFoundError):
        return path.read_text(encoding="utf-8", errors="replace")
    return ""


def latex_problem(code: int, log: str, bibtex_log: str) -> str | None:
    """Name what is wrong with a LaTeX run: its first error, or the first undefined reference or citation."""
    error = re.search(r"^(!.*)$", log, re.MULTILINE)
    if error:
        return error[1].rstrip(".")
    undefined = re.search(r"(?:Reference|Citation) [`'][^']*'.*undefined", log)
    if undefined:
        return undefined[0].rstrip(".")
    lost = re.search(r"I didn't find a database entry for \S+|I found no \S+ command.*", bibtex_log)
    if lost and "Citation" in log:
        return f"BibTeX: {lost[0]}"
    return f"latexmk ended with code {code}" if code else None


def overfull_lines(log: str) -> list[str]:
    """Return the log's complaints about lines that are too wide by more than 10 pt."""
    found = re.findall(r"(Overfull \\hbox \(([\d.]+)pt too wide\).*)", log)
    return [line for line, points in found if float(points) > OVERFULL_PT]
