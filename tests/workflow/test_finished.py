"""What is trained again, and what is not: a run is known by what its files say."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.project import copy_of_the_project, job_counts, planned, snakemake

pytestmark = pytest.mark.workflow
SETTINGS = {"epochs": 1, "batch_size": 32, "warmup_epochs": 1, "patience_epochs": None, "precision": "fp32"}
NETWORK = {"model": {"name": "crossres/tiny_student"}, "optimisation": SETTINGS}
STUDENT = {**NETWORK, "teacher": "teacher", "teacher_view": {"resolution_px": 32}, "objective": {"method": "kd"}}
SUITE: dict[str, Any] = {
    "suite": "tiny",
    "title": "Runs of one epoch",
    "dataset": {"name": "shapes", "train_images": 64, "test_images": 40},
    "seeds": [1],
    "runs": {
        "teacher": {**NETWORK, "objective": {"method": "ce"}},
        "kd": {**STUDENT, "stream_seed": 1},
        "kd_again": {**STUDENT, "stream_seed": 1},
    },
}
RECORDS = [f"results/tiny/{run}/seed1/record.json" for run in SUITE["runs"]]


def write_suite(folder: Path, **changed: Any) -> None:
    (folder / "workflow/suites/tiny.yaml").write_text(yaml.safe_dump(SUITE | changed))


def plan(folder: Path, *words: str, config: tuple[str, ...] = ()) -> dict[str, int]:
    """Return the jobs that would make the records."""
    done = snakemake(folder, "-n", "--cores", "1", *words, "--config", "suite=tiny", *config, "--", *RECORDS)
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    return job_counts(said) if "Job stats" in said else {}


def copy(source: Path, target: Path) -> Path:
    """A fresh clone with copied results: another place, other dates, and no records of Snakemake."""
    shutil.copytree(source, target, copy_function=shutil.copy, ignore=shutil.ignore_patterns(".snakemake"))
    return target


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copy_of_the_project(tmp_path_factory.mktemp("finished"))
    write_suite(folder)
    done = snakemake(folder, "--cores", "2", "--config", "suite=tiny", "--", *RECORDS)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("words", [(), ("-R", "data"), ("--rerun-triggers", "mtime")])
def test_nothing_is_left_to_do(finished: Path, words: tuple[str, ...]) -> None:
    assert plan(finished, *words) == {}


@pytest.mark.parametrize("words", [("--workflow-profile", "none"), ("--forceall",), ("-R", "train", "spec")])
def test_no_option_of_snakemake_trains_again(finished: Path, words: tuple[str, ...]) -> None:
    assert not {"train", "evaluate"} & set(plan(finished, *words))


def test_a_data_folder_that_moved_is_no_reason_to_train_again(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "data", tmp_path / "moved")
    assert plan(finished, config=(f"data_dir={tmp_path}/moved", f"weights_dir={tmp_path}")) == {}


def test_results_copied_to_a_fresh_clone_are_known(finished: Path, tmp_path: Path) -> None:
    assert plan(copy(finished, tmp_path / "clone")) == {}


def test_a_forced_rule_leaves_finished_files_as_they_are(finished: Path, tmp_path: Path) -> None:
    folder = copy(finished, tmp_path / "clone")
    done = snakemake(folder, "--cores", "1", "--forceall", "--config", "suite=tiny", "--", *RECORDS)
    assert done.returncode == 0, done.stderr
    for path in RECORDS:
        assert (folder / path).read_bytes() == (finished / path).read_bytes()


@pytest.mark.parametrize(
    ("run", "changed", "trained"),
    [("kd", {"temperature": 2.0}, 1), ("teacher", {"label_smoothing": 0.2}, 3)],
)
def test_copied_results_of_another_spec_are_trained_again(
    finished: Path, tmp_path: Path, run: str, changed: dict[str, float], trained: int
) -> None:
    folder = copy(finished, tmp_path / "clone")
    entry = SUITE["runs"][run]
    write_suite(folder, runs=SUITE["runs"] | {run: entry | {"objective": entry["objective"] | changed}})
    later = 2e9  # in the year 2033: whatever the dates
    for path in folder.glob("results/tiny/*/seed1/*"):
        os.utime(path, (later, later))
    counts = plan(folder)
    assert (counts["train"], counts["evaluate"]) == (trained, trained)
    done = snakemake(folder, "--cores", "2", "--config", "suite=tiny", "--", *RECORDS)
    assert done.returncode == 0, done.stderr
    assert plan(folder) == {}
    key, value = next(iter(changed.items()))
    assert json.loads((folder / f"results/tiny/{run}/seed1/record.json").read_text())["spec"]["objective"][key] == value
    shutil.copytree(finished / "results", folder / "results", dirs_exist_ok=True)  # Snakemake knows it as up to date
    assert plan(folder)["train"] == trained


@pytest.mark.parametrize("name", ["record.json", "training.json", "weights.safetensors"])
def test_a_torn_file_is_made_again(finished: Path, tmp_path: Path, name: str) -> None:
    folder = copy(finished, tmp_path / "clone")
    path = folder / "results/tiny/kd/seed1" / name
    path.write_bytes(path.read_bytes()[:-40])
    if name != "record.json":
        path.with_name("record.json").unlink()
    assert plan(folder)["evaluate"] == 1


def test_an_evaluation_killed_before_its_last_act_is_made_again(finished: Path, tmp_path: Path) -> None:
    folder = copy(finished, tmp_path / "clone")
    run = folder / "results/tiny/kd/seed1"
    (run / "state" / json.loads((run / "training.json").read_text())["state"]).mkdir(parents=True)
    assert plan(folder) == {"spec": 1, "evaluate": 1}
    done = snakemake(folder, "--cores", "1", "--config", "suite=tiny", "--", *RECORDS)
    assert done.returncode == 0, done.stderr
    assert not list(run.glob("state/*"))
    assert plan(folder) == {}


def test_a_student_of_another_teacher_s_weights_is_trained_again(finished: Path, tmp_path: Path) -> None:
    folder = copy(finished, tmp_path / "clone")
    for name in ("record.json", "training.json"):
        path = folder / "results/tiny/kd/seed1" / name
        document = json.loads(path.read_text())
        document["provenance"]["teacher_sha256"] = "0" * 64
        path.write_text(json.dumps(document))
    assert plan(folder)["train"] == 1


@pytest.mark.parametrize("words", [("-R", "data"), ()])
def test_success_means_that_every_target_is_there(finished: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    """Snakemake skips a job whose inputs are all `ancient` and there while a job above it must run."""
    folder = copy_of_the_project(tmp_path)
    write_suite(folder)
    shutil.copytree(finished / "data", folder / "data")
    if not words:  # killed while it made the data: the rule has to run again
        marker = folder / ".snakemake/incomplete"
        marker.mkdir(parents=True)
        (marker / base64.b64encode(b"data/shapes/manifest.json").decode()).write_text("1")
    counts = plan(folder, *words)
    assert counts["train"] == counts["evaluate"] == len(RECORDS)


@pytest.mark.parametrize("changes", [{"title": "Another title"}, {"runs": {"teacher": SUITE["runs"]["teacher"]}}])
def test_an_edited_suite_has_its_summary_made_again(finished: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    folder, summary = copy(finished, tmp_path / "clone"), "results/tiny/summary.csv"
    (folder / summary).touch()
    words = ("--cores", "1", "--rerun-triggers", "mtime", "--config", "suite=tiny", "--", summary)
    assert "Nothing to be done" in snakemake(folder, "-n", *words).stdout
    write_suite(folder, **changes)
    assert planned(folder, *words) == {"summary": 1}


def test_an_edited_run_is_seen_from_any_target(finished: Path, tmp_path: Path) -> None:
    folder, summary = copy(finished, tmp_path / "clone"), "results/tiny/summary.csv"
    words = ("--cores", "1", "--config", "suite=tiny", "--", summary)
    assert snakemake(folder, *words).returncode == 0
    kd = SUITE["runs"]["kd"]
    write_suite(folder, runs=SUITE["runs"] | {"kd": kd | {"objective": {"method": "kd", "temperature": 2.0}}})
    assert planned(folder, *words) == {"spec": 1, "train": 1, "evaluate": 1, "summary": 1}


RENAMED = {
    "big": SUITE["runs"]["teacher"],
    "same": {**STUDENT, "teacher": "big", "stream_seed": 1},
    "kd": {**STUDENT, "teacher": "big", "stream_seed": 1, "objective": {"method": "kd", "temperature": 2.0}},
}
REUSE = ("suite=other", "reuse=[results/tiny]")


def with_another_suite(finished: Path, folder: Path) -> Path:
    copy(finished, folder)
    (folder / "workflow/suites/other.yaml").write_text(yaml.safe_dump({**SUITE, "suite": "other", "runs": RENAMED}))
    return folder


def reuse(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    targets = [f"results/other/{run}/seed1/record.json" for run in RENAMED]
    return snakemake(folder, *words, "--cores", "2", "--config", *REUSE, "--", *targets)


def test_a_run_that_another_suite_trained_is_adopted(finished: Path, tmp_path: Path) -> None:
    folder = with_another_suite(finished, tmp_path / "clone")
    assert job_counts(reuse(folder, "-n").stdout)["train"] == 1
    done = reuse(folder)
    assert done.returncode == 0, done.stderr
    counts = job_counts(done.stderr)
    assert (counts["adopt"], counts["train"], counts["evaluate"]) == (2, 1, 3)
    assert "results/tiny/kd/seed1: not adopted, since objective.temperature is 4.0, not 2.0" in done.stderr
    for run, donor in (("big", "teacher"), ("same", "kd")):
        ours, theirs = (folder / f"results/{path}/seed1" for path in (f"other/{run}", f"tiny/{donor}"))
        assert (ours / "weights.safetensors").samefile(theirs / "weights.safetensors")
        records = [json.loads((path / "record.json").read_text()) for path in (ours, theirs)]
        assert records[0].pop("spec")["run"] == run
        del records[1]["spec"]
        assert records[0] == records[1]
    assert "Nothing to be done" in reuse(folder, "-n").stdout
    assert plan(folder) == {}


@pytest.mark.parametrize("digest", ["data_sha256", "teacher_sha256"])
def test_a_run_of_other_data_or_another_teacher_is_trained(finished: Path, tmp_path: Path, digest: str) -> None:
    folder = with_another_suite(finished, tmp_path / "clone")
    path = folder / "results/tiny/kd/seed1/training.json"
    document = json.loads(path.read_text())
    document["provenance"][digest] = "0" * 64
    path.write_text(json.dumps(document))
    again = folder / "results/tiny/kd_again"
    shutil.rmtree(again)
    assert job_counts(reuse(folder, "-n").stdout)["train"] == 2


def test_a_damaged_run_is_not_adopted(finished: Path, tmp_path: Path) -> None:
    folder = with_another_suite(finished, tmp_path / "clone")
    path = folder / "results/tiny/teacher/seed1/weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    done = reuse(folder)
    assert done.returncode != 0
    assert "weights.safetensors is damaged; leave results/tiny out of `reuse`" in done.stdout + done.stderr
    assert not (folder / "results/other/big/seed1/weights.safetensors").exists()


def test_a_folder_to_reuse_is_there(finished: Path) -> None:
    done = snakemake(finished, "-n", "--config", "suite=tiny", "reuse=[results/tny]")
    assert done.returncode != 0
    assert "results/tny: no such folder" in done.stderr
