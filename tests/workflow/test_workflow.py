"""The workflow itself: dry runs of every suite, the published build, the demo, and the ways it stops."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from crossres import files
from crossres.report import exhibits
from crossres.suites.suite import load_suite
from tests.browser import Browser
from tests.project import copy_of_the_project, job_counts, planned, snakemake

pytestmark = pytest.mark.workflow
ROOT = Path.cwd()
HAS_TEX = shutil.which("latexmk") is not None
needs_tex = pytest.mark.skipif(not HAS_TEX, reason="latexmk is not installed: the PDF is not built")
HAS_CHROMIUM = shutil.which("chromium") is not None and shutil.which("chromedriver") is not None
needs_chromium = pytest.mark.skipif(not HAS_CHROMIUM, reason="Chromium and its driver are missing: envs/browser.sh")
SUITES = sorted(path.stem for path in files.SUITES.glob("*.yaml"))
TARGETS = () if HAS_TEX else ("--", "figures", "tables", "source", "pages")
PUBLISHED = ("--config", "suite=published")
THESIS = {  # accuracy, gap to the teacher and retention, as the thesis prints them
    "v1": ("76.12", "0.53", "99.31"),
    "v2": ("76.19", "0.46", "99.40"),
    "v3": ("66.85", "9.80", "87.21"),
    "v3.1": ("75.63", "1.02", "98.67"),
    "v4": ("77.93", "6.46", "92.35"),
}


def make_no_torch(folder: Path) -> str:
    """A folder for PYTHONPATH in which importing torch or its like, or opening a connection, is an error."""
    blocked = folder / "blocked"
    blocked.mkdir()
    for name in ("torch", "torchvision", "timm", "safetensors"):
        (blocked / f"{name}.py").write_text("raise ImportError('blocked: this suite must not need it')\n")
    (blocked / "sitecustomize.py").write_text(
        "import socket\n\n\ndef refuse(*_):\n    raise OSError('blocked: this suite must not need the network')\n\n\n"
        "socket.socket.connect = refuse\n"
    )
    return str(blocked)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copy_of_the_project(tmp_path_factory.mktemp("published"))
    blocked = make_no_torch(tmp_path_factory.mktemp("no-torch"))
    done = snakemake(folder, "--cores", "2", *PUBLISHED, *TARGETS, PYTHONPATH=blocked)
    assert done.returncode == 0, done.stderr
    return folder / "results/published"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copy_of_the_project(tmp_path_factory.mktemp("demo"))
    done = snakemake(folder, "--cores", "2", "--config", "suite=demo", *TARGETS)
    assert done.returncode == 0, done.stderr
    return folder / "results/demo"


def students(results: Path) -> dict[str, dict[str, str]]:
    with open(results / "tables/all_experiments.csv") as file:
        return {row["thesis_id"]: row for row in csv.DictReader(file) if row["thesis_id"]}


@pytest.mark.parametrize("suite", SUITES)
def test_dry_run(project: Path, suite: str) -> None:
    counts = planned(project, "--config", f"suite={suite}", "device=cpu")
    entry = load_suite(files.suite_file(suite))
    assert counts.get("train", 0) == (0 if entry.records == "shipped" else len(entry.jobs()))
    assert counts["figure"] == len(exhibits.names("figures", entry))


def test_shipped_records_cannot_be_trained(project: Path) -> None:
    counts = planned(project, "--forceall", *PUBLISHED, "records=computed")
    assert not {"train", "evaluate", "spec", "data"} & set(counts)


@pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="a CUDA device is here: `paper` would train")
def test_without_a_gpu_paper_stops_before_any_job(project: Path) -> None:
    done = snakemake(project, "--quiet", "all")
    assert done.returncode != 0
    assert [line for line in done.stderr.splitlines() if line.startswith("crossres: suite paper: training 7 of 7 runs")]
    assert not (project / "results/paper").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["suite=demoo"], "no suite 'demoo'; did you mean 'demo'"),
        (["sute=demo"], "sute: unknown key; did you mean 'suite'"),
        (["suite=demo", "budget={epoch: 1}"], "budget.epoch: unknown key; did you mean 'epochs'"),
    ],
)
def test_a_typo_in_the_config_is_one_line(project: Path, words: list[str], message: str) -> None:
    done = snakemake(project, "-n", "--quiet", "all", "--config", *words)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_repeated_key_of_the_config_is_refused(project: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("suite: demo\ndevice: cpu\nsuite: published\n")
    done = snakemake(project, "-n", "--configfile", str(own))
    assert done.returncode != 0
    assert f"crossres: {own}" in done.stderr and "line 3" in done.stderr and "'suite'" in done.stderr


@pytest.mark.parametrize("value", ["{epochs: 1, epochs: 2}", "{epochs: 1, shapes: {a: 1, a: 2}}"])
def test_a_key_repeated_on_the_command_line_is_refused(project: Path, value: str) -> None:
    done = snakemake(project, "-n", "--config", "suite=demo", f"budget={value}")
    assert done.returncode != 0
    assert re.search(r"crossres: config: budget: .*the key '(epochs|a)' is there a second time", done.stderr)


def test_a_failing_verb_fails_its_rule_with_its_own_line(project: Path) -> None:
    done = snakemake(project, "--cores", "1", "--config", "cifar100=no/archive", "--", "data/cifar100/manifest.json")
    assert done.returncode != 0
    assert "crossres: no/archive: no such folder or archive" in done.stdout + done.stderr
    assert "MissingOutputException" not in done.stderr


def test_the_published_tables_equal_the_thesis(published: Path) -> None:
    rows = students(published)
    assert {name: (row["accuracy_pct"], row["gap_pct"], row["retention_pct"]) for name, row in rows.items()} == THESIS


def test_published_builds_every_product(published: Path) -> None:
    suite = load_suite(files.suite_file("published"))
    for kind, suffixes in (("figures", (".pdf", ".png", ".svg")), ("tables", (".csv", ".tex", ".md"))):
        made = {path.name for path in (published / kind).iterdir() if path.suffix != ".log" and path.stat().st_size}
        assert made == {f"{name}{suffix}" for name in exhibits.names(kind, suite) for suffix in suffixes}


@needs_tex
def test_the_published_report_is_the_same_again(published: Path, tmp_path: Path) -> None:
    again = copy_of_the_project(tmp_path / "elsewhere" / "deeper")
    done = snakemake(again, "--cores", "2", *PUBLISHED)
    assert done.returncode == 0, done.stderr
    for name in ("report.pdf", *(f"figures/{path.name}" for path in (published / "figures").glob("*.p*"))):
        assert (again / "results/published" / name).read_bytes() == (published / name).read_bytes(), name


@needs_tex
def test_the_report_compiles_where_it_lies_and_where_it_is_sent(published: Path, tmp_path: Path) -> None:
    """The text is that of the report: from the tarball without BibTeX, from the zip, and in its own folder."""
    folder, report = published.parents[1], (published / "report.pdf").read_bytes()
    done = snakemake(folder, "--cores", "1", *PUBLISHED, "--", "arxiv")
    assert done.returncode == 0, done.stderr
    arxiv, overleaf, lying = tmp_path / "arxiv", tmp_path / "overleaf", tmp_path / "lying"
    with tarfile.open(published / "arxiv.tar.gz") as tar:
        assert all(re.fullmatch(r"[A-Za-z0-9_+.,=/-]+", name) for name in tar.getnames())
        assert {(entry.uid, entry.gid, entry.uname, entry.gname) for entry in tar} == {(0, 0, "", "")}
        tar.extractall(arxiv, filter="data")
    sources = [path for path in arxiv.rglob("*") if path.is_file()]
    assert not [path for path in sources if str(Path.home()).encode() + b"/" in path.read_bytes()]
    assert not [path for path in sources if str(folder).encode() in path.read_bytes()]
    with zipfile.ZipFile(published / "overleaf.zip") as packed:
        packed.extractall(overleaf)
    shutil.copytree(published, lying)
    (lying / "report.pdf").unlink()
    (lying / "report.bbl").unlink()
    latexmk = ("latexmk", "-norc", "-pdf")
    for place, times, words, pdf in (
        (arxiv, 3, ("pdflatex", "-no-shell-escape"), "report.pdf"),
        (overleaf, 1, (*latexmk, "-jobname=output"), "output.pdf"),
        (lying, 1, latexmk, "report.pdf"),
    ):
        for _ in range(times):
            command = [*words, "-interaction=nonstopmode", "-halt-on-error", "report.tex"]
            subprocess.run(command, cwd=place, check=True, capture_output=True)
        assert pages_of(place / pdf) == pages_of(io.BytesIO(report))


def pages_of(pdf: Path | io.BytesIO) -> list[str]:
    """Return the text of each page."""
    pypdf = pytest.importorskip("pypdf")
    return [page.extract_text() for page in pypdf.PdfReader(pdf).pages]


def test_the_claims_of_published_have_the_verdicts_on_record(published: Path) -> None:
    folder = published.parent.parent
    done = snakemake(folder, "--cores", "1", "--quiet", "all", *PUBLISHED, "--", "claims")
    assert done.returncode == 0, done.stderr
    assert "suite published" in done.stdout + done.stderr
    for words, code in ((["--recorded"], 0), (["--require", "dkd_collapse=supported"], 1)):
        command = [sys.executable, "-m", "crossres", "claims", "--suite", "published", *words]
        assert subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == code


@pytest.mark.parametrize(
    ("module", "rerun", "kept"),
    [
        ("claims/measures.py", {"audit", "tex", "pages"}, {"summary", "figure", "table"}),
        ("report/tex.py", {"tex", "pages"}, {"summary", "audit", "figure", "table"}),
        ("training/loop.py", set(), {"summary", "audit", "figure", "table", "tex", "pdf", "pages"}),
    ],
)
def test_an_edited_module_reruns_the_rules_of_its_room(
    published: Path, module: str, rerun: set[str], kept: set[str]
) -> None:
    folder, path = published.parents[1], published.parents[1] / "src/crossres" / module
    text = path.read_text()
    path.write_text(f"{text}# edited\n")
    try:
        done = snakemake(folder, "-n", *PUBLISHED, *TARGETS)
    finally:
        path.write_text(text)
    said = done.stdout + done.stderr
    counts = job_counts(said) if "Job stats" in said else {}
    assert rerun <= set(counts), said
    assert not kept & set(counts)


def test_the_demo_learns(demo: Path) -> None:
    rows = students(demo)
    assert set(rows) == set(THESIS)
    chance_pct = 5
    assert all(float(row["accuracy_pct"]) > 8 * chance_pct for row in rows.values()), rows


def test_editing_a_run_reruns_that_run_alone(demo: Path) -> None:
    project = demo.parent.parent
    suite = project / "workflow/suites/demo.yaml"
    text = suite.read_text()
    suite.write_text(text.replace("  dkd_beta8:\n", "  dkd_beta8:\n    objective: {nckd_weight: 4.0}\n"))
    try:
        counts = planned(project, "--config", "suite=demo", "--", "figures")
    finally:
        suite.write_text(text)
    seeds = len(load_suite(suite).seeds)
    assert (counts["spec"], counts["train"], counts["evaluate"]) == (seeds, seeds, seeds)


def test_a_budget_has_its_own_folder_and_stamp(project: Path) -> None:
    budget = "budget={train_images: 64, test_images: 40, epochs: 1}"
    words = ("--cores", "2", "--config", "suite=demo", budget, "--", "tables", "source")
    done = snakemake(project, *words)
    assert done.returncode == 0, done.stderr
    assert "runcated" in (project / "results/demo-truncated/report.tex").read_text()
    assert not (project / "results/demo").exists()


@pytest.fixture(scope="module")
def html(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The HTML report, made without a network."""
    page = published / "report.html"
    words = (*PUBLISHED, "--report", str(page.relative_to(published.parents[1])), *TARGETS)
    done = snakemake(published.parents[1], *words, PYTHONPATH=make_no_torch(tmp_path_factory.mktemp("no-network")))
    assert done.returncode == 0, done.stderr
    return page


def variable(page: Path, name: str) -> Any:
    """Read one of the HTML report's variables."""
    text = page.read_text(encoding="utf-8")
    return json.JSONDecoder().raw_decode(text.split(f'<script id="{name}">\n    var {name} = ')[1])[0]


def test_the_html_report_holds_everything(html: Path, published: Path) -> None:
    suite, folder = load_suite(files.suite_file("published")), published.parents[1]
    tables = exhibits.names("tables", suite)
    expected = {
        "Figures": {published / f"figures/{name}.svg" for name in exhibits.names("figures", suite)},
        "Tables": {published / f"pages/tables/{name}.html" for name in tables}
        | {published / f"tables/{name}.csv" for name in tables},
        "Claims": {published / "pages/claims.html", published / "claims.json"},
        "Records": {published / "pages/records.html"}
        | {folder / files.shipped_record("published", run, seed) for run, seed in suite.jobs()},
    } | ({"Report": {published / "report.pdf"}} if HAS_TEX else {})
    shown = variable(html, "categories")
    found = {category: {folder / path for part in parts.values() for path in part} for category, parts in shown.items()}
    assert found == expected
    for path, entry in variable(html, "results").items():
        assert base64.b64decode(entry["data_uri"].partition("base64,")[2]) == (folder / path).read_bytes()
        assert "system-message" not in entry["caption"]
        if path.endswith((".svg", ".csv")):
            assert (published / f"pages/captions/{Path(path).stem}.html").read_text() in entry["caption"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("chromium")) as started:
        started.requested()  # those of its own first page
        yield started


def show(browser: Browser, category: str, entry: str, path: Path) -> str:
    """From the first page, click an entry's eye; return the element, in JavaScript, once the file is what it shows."""
    browser.click("//nav//ol//a")
    browser.click(f"//nav//a[normalize-space()='{category}']")
    browser.click(f"//nav//tr[td[1][normalize-space()='{entry}']]//a[1]")
    kind = "img:not(h1 img)" if path.suffix == ".svg" else "iframe"
    element = f"document.querySelector('{kind}')"
    browser.until(f"{element} && {element}.src === results['{path}'].data_uri")
    return element


def page_rows(browser: Browser) -> list[list[str]]:
    """Read the table of a page, as it is seen."""
    browser.frame(0)
    cells = "[...document.querySelectorAll('tbody tr')].map(row => [...row.cells].map(cell => cell.innerText.trim()))"
    rows: list[list[str]] = browser.until(cells)
    browser.frame(None)
    return rows


@pytest.mark.browser
@needs_chromium
def test_a_browser_shows_everything_without_a_network(
    browser: Browser, html: Path, published: Path, tmp_path: Path
) -> None:
    suite, results = load_suite(files.suite_file("published")), Path("results/published")
    screenshots = ROOT / os.environ.get("CROSSRES_SCREENSHOTS", str(tmp_path))
    browser.open(html)
    browser.until("document.querySelector('#rulegraph canvas, #rulegraph svg')")
    browser.screenshot(screenshots / "first.png")
    for name in exhibits.names("figures", suite):
        image = show(browser, "Figures", name, results / f"figures/{name}.svg")
        browser.until(f"{image}.complete && {image}.naturalWidth > 250 && {image}.clientWidth > 250")
        browser.screenshot(screenshots / f"{name}.png")
        browser.click(f"//nav//tr[td[1][normalize-space()='{name}']]//a[2]")
        caption = browser.until("document.querySelector('nav .prose').innerText")
        assert caption.split() == unescape((published / f"pages/captions/{name}.html").read_text()).split()
    for name in exhibits.names("tables", suite):
        show(browser, "Tables", name, results / f"pages/tables/{name}.html")
        with open(published / f"tables/{name}.csv") as file:
            assert page_rows(browser) == [[cell or "—" for cell in row] for row in list(csv.reader(file))[1:]]
    show(browser, "Claims", "claims", results / "pages/claims.html")
    browser.screenshot(screenshots / "claims.png")
    found = json.loads((published / "claims.json").read_text())["findings"]
    claims = [[row[0].splitlines()[0], row[1], row[6]] for row in page_rows(browser)]
    assert claims == [[finding["statement"], finding["verdict"], finding["reason"]] for finding in found]
    show(browser, "Records", "All runs", results / "pages/records.html")
    assert [row[0] for row in page_rows(browser)] == list(suite.runs)
    if HAS_TEX:
        show(browser, "Report", "report.pdf", results / "report.pdf")
    assert browser.errors() == []
    assert [url for url in browser.requested() if url.startswith(("http", "ws", "ftp"))] == []


@pytest.mark.browser
@needs_chromium
def test_the_browser_has_no_network_and_tells_of_errors(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "broken.html"
    page.write_text("<img src='http://192.0.2.1/image.png'><script>missing()</script>")
    browser.open(page)
    browser.until("document.images[0].complete")
    errors = "\n".join(browser.errors())
    assert "missing is not defined" in errors and "ERR_PROXY_CONNECTION_FAILED" in errors
    assert "http://192.0.2.1/image.png" in browser.requested()
