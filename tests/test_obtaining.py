"""The project as users get it: cloned, unpacked, moved, and started from shells of all kinds."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.project import copy_of_the_project
from tests.test_habits import TARGETS

MADE_FROM = ("envs/requirements.lock", "envs/uv.lock", "pyproject.toml")
SCRIPTS = re.compile(r"(?:^|&& |; |\$\(|\| )@?(?:envs|docker|tests)/[\w.-]+", re.MULTILINE)
"""A command that is a file of the project."""


def run(folder: Path, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, env=os.environ | env, capture_output=True, text=True, check=False)


@pytest.mark.skipif(not Path(".git").exists(), reason="this is no clone")
def test_a_clone_has_the_same_lines_whatever_git_is_told(tmp_path: Path) -> None:
    words = ("clone", "--quiet", "--depth=1", f"file://{Path.cwd()}", str(tmp_path))
    made = run(Path(), "git", "-c", "core.autocrlf=true", *words)
    assert made.returncode == 0, made.stderr
    assert "w/crlf" not in run(tmp_path, "git", "ls-files", "--eol").stdout


def test_no_file_needs_its_execute_bit() -> None:
    """Some programs that unpack archives lose it."""
    recipes = run(Path(), "make", "-n", *sorted(TARGETS)).stdout
    scripts = [*Path("envs").glob("*.sh"), Path("docker/build"), Path("docker/bootstrap"), Path(".ci/run")]
    for text in (recipes, *(path.read_text() for path in scripts)):
        assert SCRIPTS.findall(re.sub("#.*", "", text)) == []


def test_what_a_shell_sets_for_other_pythons_does_not_reach_those_of_make(tmp_path: Path) -> None:
    copy_of_the_project(tmp_path)
    (tmp_path / "probe.mk").write_text("probe: ; @env\n")
    others = {"PYTHONPATH": "/x", "PIP_USER": "1", "MPLBACKEND": "module://x.y", "HOME": "/nowhere"}
    done = run(
        tmp_path, "env", "-u", "USER", "-u", "LOGNAME", "make", "-f", "Makefile", "-f", "probe.mk", "probe", **others
    )
    found = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    assert found["HOME"].startswith(str(tmp_path)) and found["USER"]
    assert found.keys().isdisjoint(others.keys() - {"HOME"})


def test_make_finds_the_name_of_a_suite_file(tmp_path: Path) -> None:
    (tmp_path / "probe.mk").write_text("probe: ; @echo $(REPORT)\n")
    suite = "SUITE=workflow/suites/mini.yaml"
    words = ("--no-print-directory", "-f", "Makefile", "-f", str(tmp_path / "probe.mk"))
    done = run(Path(), "make", *words, "probe", suite)
    assert done.stdout == "results/mini/report.html\n", done.stderr


def test_an_environment_of_another_folder_is_not_up_to_date(tmp_path: Path) -> None:
    folder = copy_of_the_project(tmp_path)
    digest = hashlib.sha256(b"".join((folder / name).read_bytes() for name in MADE_FROM)).hexdigest()
    (folder / ".venv/bin").mkdir(parents=True)
    for place, code in ((folder, 0), (tmp_path / "before", 1)):
        (folder / ".venv/bin/crossres").write_text(f"#!{place}/.venv/bin/python\n")
        (folder / ".venv/ready").write_text(f"{digest}  -\n")
        done = run(folder, "bash", "envs/setup.sh", ".venv", "requirements.lock", PYTHON="no-such-python")
        assert done.returncode == code, done.stderr
    assert "no-such-python is missing" in done.stderr


def test_figures_need_no_backend_of_the_readers(tmp_path: Path) -> None:
    program = "from crossres.report.drawing import style\nwith style.journal(): style.panels(1, 1)"
    done = run(Path(), sys.executable, "-c", program, MPLBACKEND="module://no_such.backend", MPLCONFIGDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("body", "code"), [("pytest.skip('no Apptainer')", 1), ("pass", 0)])
def test_a_target_that_checked_nothing_fails_and_says_what_is_missing(body: str, code: int, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(f"import pytest\ndef test_it(): {body}\n")
    words = ("-m", "pytest", "-c", "/dev/null", "-ra", "-p", "tests.conftest", "--some-must-run", str(tmp_path))
    done = run(Path(), sys.executable, *words)
    assert done.returncode == code, done.stderr
    assert ("no Apptainer" in done.stdout) == bool(code)
