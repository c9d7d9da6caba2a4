"""The deposit: a valid Workflow Run RO-Crate with everything that a reader needs, and no place of this machine."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import requests
from rocrate_validator.models import Severity, ValidationSettings
from rocrate_validator.services import validate
from rocrate_validator.utils.http import HttpRequester

from crossres.files import suite_file
from crossres.suites.suite import load_suite
from tests.project import copy_of_the_project

CONTEXT = Path(__file__).with_name("ro-crate-1.1-context.json")
"""As published at its own `@id`, in the public domain (CC0)."""


def crossres(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "crossres", *words], cwd=project, capture_output=True, text=True)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the suite `published` as if it were built."""
    project = copy_of_the_project(tmp_path_factory.mktemp("deposit"))
    results = project / "results/published"
    (results / "figures").mkdir(parents=True)
    for name in ("report.pdf", "claims.json", "figures/fig0.pdf"):
        (results / name).write_text("{}")
    return project


@pytest.fixture(scope="module")
def deposited(project: Path) -> Path:
    done = crossres(project, "deposit", "published")
    assert done.returncode == 0, done.stderr
    return project / "results/published/deposit.zip"


def context_only(self: HttpRequester, url: str, **_: Any) -> requests.Response:
    response = requests.Response()
    response.status_code = 200 if url == json.loads(CONTEXT.read_text())["@id"] else 504
    response.headers["Content-Type"] = "application/ld+json"
    response._content = CONTEXT.read_bytes()
    return response


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_deposit_is_a_workflow_run_crate(deposited: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HttpRequester, "get", context_only, raising=False)
    settings = ValidationSettings(
        rocrate_uri=str(deposited),
        profile_identifier="workflow-run-crate-0.5",
        requirement_severity=Severity.REQUIRED,
        offline=True,
    )
    result = validate(settings)
    assert [issue.message for issue in result.get_issues()] == []
    assert result.executed_checks


def test_every_run_is_an_action_with_its_record_and_teacher(deposited: Path) -> None:
    with zipfile.ZipFile(deposited) as crate:
        graph = {entity["@id"]: entity for entity in json.loads(crate.read("ro-crate-metadata.json"))["@graph"]}
        for run, seed in load_suite(suite_file("published")).jobs():
            (record,) = graph[f"#{run}-seed{seed}"]["result"]
            assert json.loads(crate.read(record["@id"]))["spec"]["run"] == run
    assert graph["#kd_32-seed42"]["object"] == graph["#teacher_32-seed42"]["result"]
    assert {"@id": "results/published/report.pdf"} in graph["#workflow-run"]["result"]


def test_the_deposit_names_no_place_of_this_machine(deposited: Path, project: Path) -> None:
    with zipfile.ZipFile(deposited) as crate:
        assert not [name for name in crate.namelist() if name.startswith("/") or ".." in name]
        assert str(project).encode() not in crate.read("ro-crate-metadata.json")


def test_a_deposit_without_results_names_the_command_that_makes_them(project: Path) -> None:
    done = crossres(project, "deposit", "mini")
    assert done.returncode == 1
    assert "results/mini/report.pdf: no such file" in done.stderr and "snakemake --cores 1" in done.stderr
