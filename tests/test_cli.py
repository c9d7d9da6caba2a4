"""The command line: help, one-line errors, exit statuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from crossres.__main__ import main


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    verbs = "import-thesis data weights spec train evaluate show-batch schema summary table figure tex pdf pages readme"
    for verb in verbs.split():
        assert f"    {verb}" in shown


def test_help_loads_nothing_heavy() -> None:
    code = "import sys, crossres.__main__; print(sorted({'torch', 'pandas', 'matplotlib'} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert shown.strip() == "[]"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "--spec", "no/spec.json"], "no/spec.json: no such file"),
        (["spec", "--resolved", "{", "--output", "x"], "--resolved: not valid JSON"),
        (["import-thesis", "--source", "no/logs"], "no/logs: no such folder or archive"),
        (["data", "cifar100", "--root", "{tmp}", "--source", "no/archive"], "no/archive: no such folder or archive"),
        (["table", "x", "--summary", "no.csv", "--output-dir", "{tmp}"], "no.csv: no such file"),
    ],
)
def test_a_mistake_is_one_line_and_exit_1(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word.format(tmp=tmp_path) if word == "{tmp}" else word for word in words]) == 1
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "package"), [(["plan", "--suite", "demo"], "torch"), (["watch", "published"], "plotext")]
)
def test_a_package_that_is_missing_is_named(words: list[str], package: str) -> None:
    """As in the lighter environment that only builds the report."""
    code = f"import sys; sys.modules[{package!r}] = None; from crossres.__main__ import main; sys.exit(main({words}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines() == [f"crossres: {words[0]} needs {package}, which .venv has: make setup"]
    assert done.returncode == 1
