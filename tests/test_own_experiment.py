"""The worked example of docs/own-experiment.md, taken from the page and run from outside the repository."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from crossres.spec import load_suite
from tests.project import copy_of_the_project, snakemake
from tests.test_workflow import job_counts

pytestmark = pytest.mark.workflow
NAMES = ("resnets.yaml", "trial.yaml")


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page's two suites."""
    folder = tmp_path_factory.mktemp("mine")
    blocks = re.findall(r"```yaml\n(.*?)```", Path("docs/own-experiment.md").read_text(), re.DOTALL)
    for name, block in zip(NAMES, blocks, strict=True):
        (folder / name).write_text(block)
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_of_the_project(tmp_path_factory.mktemp("project"))


def test_the_example_is_planned_from_outside(mine: Path, project: Path) -> None:
    suite = load_suite(mine / "resnets.yaml")
    done = snakemake(project, "-n", "--config", f"suite={mine / 'resnets.yaml'}", "device=cpu")
    assert done.returncode == 0, done.stderr
    counts = job_counts(done.stdout + done.stderr)
    assert counts["train"] == counts["evaluate"] == len(suite.jobs()) == 7
    assert "weights" not in counts


def test_the_trial_ends_with_a_report(mine: Path, project: Path) -> None:
    budget = "budget={train_images: 512, test_images: 100, epochs: 1}"
    words = ("--cores", "2", "--config", f"suite={mine / 'trial.yaml'}", "device=cpu", budget)
    done = snakemake(project, *words, "--", "tables", "source")
    assert done.returncode == 0, done.stdout + done.stderr
    results = project / "results/resnets_trial-truncated"
    with open(results / "summary.csv") as file:
        assert {row["run"] for row in csv.DictReader(file)} == {"big", "small_kd", "small_dkd_beta4"}
    assert "runcated" in (results / "report.tex").read_text()
