"""The worked example of docs/own-experiment.md, taken from the page and run from outside the repository."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

from crossres.records.record import read_record
from crossres.suites.datasets import DATASETS
from crossres.suites.suite import load_suite
from tests import cifar
from tests.project import copy_of_the_project, planned, snakemake

pytestmark = pytest.mark.workflow
NAMES = ("resnets.yaml", "trial.yaml", "cifar10.yaml", "mine.yaml")


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `mine` in a home of its own, with the page's files."""
    folder = tmp_path_factory.mktemp("home") / "mine"
    folder.mkdir()
    blocks = re.findall(r"```yaml\n(.*?)```", Path("docs/own-experiment.md").read_text(), re.DOTALL)
    for name, block in zip(NAMES, blocks, strict=True):
        (folder / name).write_text(block)
    return folder


def pass_for_cifar10(project: Path, archive: Path) -> None:
    """Write an archive of a small CIFAR-10, and let its files pass for the published ones in a copy of the project."""
    content = cifar.small("cifar10")
    faked = cifar.entry("cifar10", content).files
    with open(project / "src/crossres/suites/datasets.py", "a") as file:
        file.write(f'DATASETS["cifar10"] = DATASETS["cifar10"]._replace(files={faked!r})\n')
    cifar.write_archive(archive, "cifar-10-batches-py/", content)


def test_the_example_is_planned_from_outside(mine: Path, project: Path) -> None:
    counts = planned(project, "--config", f"suite={mine / 'resnets.yaml'}", "device=cpu")
    assert counts["train"] == counts["evaluate"] == len(load_suite(mine / "resnets.yaml").jobs())
    assert "weights" not in counts


def test_the_trial_ends_with_a_report(mine: Path, project: Path) -> None:
    budget = "budget={train_images: 512, test_images: 100, epochs: 1}"
    words = ("--cores", "2", "--config", f"suite={mine / 'trial.yaml'}", "device=cpu", budget)
    done = snakemake(project, *words, "--", "tables", "source", "pages")
    assert done.returncode == 0, done.stdout + done.stderr
    results = project / "results/resnets_trial-truncated"
    with open(results / "summary.csv") as file:
        assert {row["run"] for row in csv.DictReader(file)} == {"big", "small_kd", "small_dkd_beta4"}
    assert "runcated" in (results / "report.tex").read_text()
    pages = "".join(path.read_text() for path in (results / "pages").rglob("*.html"))
    assert "DKD minus KD" in pages
    assert "thesis" not in pages.lower()


def test_cifar10_runs_from_a_file_of_ones_own(mine: Path, tmp_path: Path) -> None:
    """The page's files as they stand, `~` included; the archive is a small one in CIFAR-10's format."""
    project = copy_of_the_project(tmp_path)
    pass_for_cifar10(project, mine / "cifar-10-python.tar.gz")
    budget = "budget={train_images: 250, test_images: 50, epochs: 1}"
    words = ("--cores", "2", "--configfile", str(mine / "mine.yaml"), "--config", "device=cpu", budget, "--")
    done = snakemake(project, *words, "results/cifar10_pair-truncated/summary.csv", "export", HOME=str(mine.parent))
    assert done.returncode == 0, done.stdout + done.stderr
    results = project / "results/cifar10_pair-truncated"
    with open(results / "summary.csv") as file:
        assert {row["run"] for row in csv.DictReader(file)} == {"big_48", "small_alone", "small_dkd_beta6"}
    record = read_record(results / "small_dkd_beta6/seed2/record.json")
    assert record.spec.dataset.classes == 10 and record.spec.objective.nckd_weight == 6
    assert record.predictions is not None and len(record.predictions) == 50
    configuration = json.loads((results / "export/config.json").read_text())
    assert configuration["class_names"] == cifar.names("cifar10")
    assert tuple(configuration["mean"]) == DATASETS["cifar10"].normalisation.mean
    assert configuration["architecture"] == "resnet10t" and configuration["stem_stride"] == 1
