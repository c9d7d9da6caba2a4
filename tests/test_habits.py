"""What contributors and CI run exists, and is the same thing."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

WORKFLOWS = sorted(Path(".github/workflows").glob("*.yml"))
FORMS = [path for path in Path(".github/ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml"]
PAGES = [*sorted(Path(".").glob("*.md")), *sorted(Path("docs").glob("*.md")), Path("benchmarks/README.md")]
TARGETS = set(re.findall(r"^([a-z0-9-]+):", Path("Makefile").read_text(), re.MULTILINE))


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("vendor.github-workflows", WORKFLOWS),
        ("vendor.github-issue-forms", FORMS),
        ("vendor.github-issue-config", [".github/ISSUE_TEMPLATE/config.yml"]),
        ("vendor.citation-file-format", ["CITATION.cff"]),
    ],
)
def test_files_for_github_keep_its_schemas(schema: str, files: list[str]) -> None:
    command = ["check-jsonschema", "--builtin-schema", schema, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(shutil.which("actionlint") is None, reason="actionlint is not installed")
def test_actionlint_has_no_findings() -> None:
    done = subprocess.run(
        ["actionlint", "-no-color", *map(str, WORKFLOWS)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", WORKFLOWS, ids=str)
def test_actions_are_pinned_to_commits(path: Path) -> None:
    used = re.findall(r"uses: (\S+)", text_of(path))
    assert used and all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action) for action in used), used


def test_hooks_call_the_locked_tools() -> None:
    locked = re.findall(r"^([\w-]+)==", text_of(Path("envs/requirements.lock")), re.MULTILINE)
    packages = {"lint-imports": "import-linter"}
    for repository in yaml.safe_load(text_of(Path(".pre-commit-config.yaml")))["repos"]:
        for hook in repository["hooks"]:
            tool = hook["entry"].split()[0].removeprefix(".venv/bin/")
            assert packages.get(tool, tool) in locked


def test_the_development_container_can_be_set_up() -> None:
    command = json.loads(text_of(Path(".devcontainer/devcontainer.json")))["postCreateCommand"]
    assert re.findall(r"make ([a-z-]+)", command) == ["setup"]


@pytest.mark.parametrize("path", [*PAGES, *WORKFLOWS], ids=str)
def test_every_command_and_link_of_a_page_exists(path: Path) -> None:
    text = text_of(path)
    called = re.findall(r"(?:`|^|: |&& )make ([a-z0-9-]+)", text, re.MULTILINE)
    assert set(called) <= TARGETS
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", text)
    assert [link for link in links if not (path.parent / link).exists()] == []
