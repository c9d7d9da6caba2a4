"""A paper of one's own outside the checkout: what `crossres new` writes builds, and the checkout stays as it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.project import planned, snakemake

pytestmark = pytest.mark.workflow


def crossres(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "crossres", *words], cwd=project, capture_output=True, text=True)


@pytest.fixture
def paper(project: Path, tmp_path: Path) -> Path:
    done = crossres(project, "new", str(tmp_path / "mypaper"))
    assert done.returncode == 0, done.stderr
    return tmp_path / "mypaper"


def tree(folder: Path) -> dict[str, int]:
    """Return the files of a folder with their sizes, but for what Python and Snakemake keep for themselves."""
    kept = (path for path in folder.rglob("*") if path.is_file() and not {"__pycache__", ".snakemake"} & {*path.parts})
    return {str(path.relative_to(folder)): path.stat().st_size for path in kept}


def test_a_new_paper_is_built_and_the_checkout_stays_as_it_is(project: Path, paper: Path) -> None:
    before = tree(project)
    done = snakemake(
        paper, "--cores", "2", "--config", "seeds=[1, 2]", "--", "source", "results/study/pages/claims.html"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    tex = (paper / "results/study/report.tex").read_text()
    assert "Your name" in tex and "mypaper" not in tex and "Alrawahi" not in tex and "thesis" not in tex.lower()
    assert "fig:seeds" in tex and "tab:minutes" in tex
    assert "teacher_helps" in (paper / "results/study/claims.json").read_text()
    pages = "".join(path.read_text() for path in (paper / "results/study/pages").rglob("*.html"))
    assert "A student with a teacher is more accurate" in pages and "thesis" not in pages.lower()
    assert tree(project) == before


def test_a_new_paper_is_planned_from_a_git_address(project: Path, paper: Path) -> None:
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", "-C", str(project)]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "x"], ["tag", "v1"]):
        subprocess.run([*git, *words], check=True)
    snakefile = paper / "Snakefile"
    local = f'"{project}/workflow/Snakefile"'
    assert local in snakefile.read_text()
    before = planned(paper, "--cores", "1")
    snakefile.write_text(snakefile.read_text().replace(local, f'"git+file://{project}/workflow/Snakefile@v1"'))
    assert planned(paper, "--cores", "1") == before


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ("figures: [figures/none.py]", "figures: figures/none.py: no such file"),
        ("figures: [fig3_accuracy_all.py]", "'fig3_accuracy_all' is there already"),
        ("tables: [broken.py]", "broken.py: could not be imported"),
    ],
)
def test_a_wrong_file_of_ones_own_is_named(paper: Path, config: str, named: str) -> None:
    (paper / "fig3_accuracy_all.py").touch()
    (paper / "broken.py").write_text("import nothing_of_this_name\n")
    (paper / "other.yaml").write_text(config)
    done = snakemake(paper, "-n", "--cores", "1", "--configfile", "config.yaml", "other.yaml")
    assert done.returncode != 0 and named in done.stderr and "Traceback" not in done.stderr


def test_a_folder_that_holds_something_is_left_alone(project: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    done = crossres(project, "new", str(tmp_path))
    assert done.returncode == 1 and "is there already" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
