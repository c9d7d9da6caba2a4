"""Shipped records: what becomes one, and that nothing can then be trained; and how far a suite is."""

from __future__ import annotations

import fcntl
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from crossres import files
from crossres.base import CrossresError
from crossres.files import write_json
from crossres.records import provenance
from crossres.records.record import Checkpoint, Record, read_record, write_record
from crossres.suites.config import Config, file_config
from crossres.suites.spec import Budget
from crossres.suites.suite import Suite, load_suite
from crossres.tools.ship import ship
from crossres.tools.status import RunStatus, status_table, suite_status
from crossres.workflow import check_given
from tests.project import copy_of_the_project, job_counts, snakemake

TRAINING = {"spec", "train", "evaluate", "teacher_logits", "data", "weights"}
TODAY = "today's sources"


@pytest.fixture(scope="module")
def demo() -> Suite:
    return load_suite(files.suite_file("demo"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project whose training sources have a digest of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(provenance, "sources_digest", lambda: TODAY)
    return tmp_path


def made(suite: Suite, run: str, seed: int, **changed: Any) -> Record:
    """A record as if this project had computed it: a published one's figures under another spec."""
    published = read_record(Path(__file__).parents[2] / "paper/records/published/kd_32/seed42.json")
    spec = suite.resolve(run, seed)
    teacher = None if spec.teacher is None else f"{spec.teacher} {spec.teacher_seed}"
    own = {"sources_sha256": TODAY, "weights_sha256": f"{run} {seed}", "teacher_sha256": teacher, "source": None}
    made_with = published.provenance.model_copy(update=own | changed)
    return published.model_copy(update={"spec": spec, "provenance": made_with})


def compute(suite: Suite, root: Path = Path()) -> None:
    for run, seed in suite.jobs():
        write_record(root / files.record_file(files.suite_dir(suite.suite), run, seed), made(suite, run, seed))


def test_one_seed_is_shipped_before_the_others_are_there(demo: Suite, folder: Path) -> None:
    write_record(files.record_file(files.suite_dir("demo"), "teacher_32", 1), made(demo, "teacher_32", 1))
    write_record(files.record_file(files.suite_dir("demo"), "kd_32", 1), made(demo, "kd_32", 1))
    assert ship(demo, ["teacher_32", "kd_32"], seeds=[1]) == [
        files.shipped_record("demo", "teacher_32", 1),
        files.shipped_record("demo", "kd_32", 1),
    ]
    with pytest.raises(CrossresError, match="no run has a seed of"):
        ship(demo, ["kd_32"], seeds=[7])


def test_records_are_copied_unchanged(demo: Suite, folder: Path) -> None:
    compute(demo)
    shipped = ship(demo)
    assert len(shipped) == len(demo.jobs())
    for path, (run, seed) in zip(shipped, demo.jobs(), strict=True):
        computed = files.record_file(files.suite_dir("demo"), run, seed)
        assert path == Path(f"paper/records/demo/{run}/seed{seed}.json")
        assert path.read_bytes() == computed.read_bytes()


def spoilt(suite: Suite, how: str) -> Record | None:
    record, spec = made(suite, "kd_32", 1), suite.resolve("kd_32", 1)
    if how == "truncated":
        return record.model_copy(update={"spec": spec.model_copy(update={"budget": Budget(epochs=1)})})
    if how == "stale":
        return record.model_copy(update={"spec": spec.model_copy(update={"probe_images": 7})})
    if how == "older":
        return made(suite, "kd_32", 1, sources_sha256="yesterday's")
    if how == "foreign":
        return made(suite, "kd_32", 1, teacher_sha256="another")
    return None


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", r"kd_32/seed1/record\.json: no such record; to compute it: snakemake .* suite=demo"),
        ("truncated", "truncated by a budget"),
        ("stale", "stale: its spec differs from the suite's in probe_images"),
        ("older", "stale: the training code has changed since; .* --accept-sources"),
        ("foreign", "taught by other weights than those of teacher_32 seed 1"),
    ],
)
def test_what_does_not_stand_is_refused_and_nothing_is_copied(
    how: str, message: str, demo: Suite, folder: Path
) -> None:
    compute(demo)
    path, record = files.record_file(files.suite_dir("demo"), "kd_32", 1), spoilt(demo, how)
    path.unlink() if record is None else write_record(path, record)
    with pytest.raises(CrossresError, match=message) as caught:
        ship(demo)
    assert "\n" not in str(caught.value)
    assert not files.SHIPPED.exists()
    if how == "older":
        assert ship(demo, accept_sources=True)


def test_a_student_is_not_shipped_without_its_teacher(demo: Suite, folder: Path) -> None:
    compute(demo)
    with pytest.raises(CrossresError, match="its teacher is not shipped; add --run teacher_64"):
        ship(demo, ["kd_64_to_32"])
    assert len(ship(demo, ["kd_64_to_32", "teacher_64"])) == 3
    assert len(ship(demo, ["kd_64_to_32"])) == 2


def test_the_published_records_cannot_be_shipped() -> None:
    with pytest.raises(CrossresError, match="its records are given"):
        ship(load_suite(files.suite_file("published")))


@pytest.mark.parametrize(
    ("run", "changed", "message"),
    [
        ("kd_32", {"seed": 7}, "not the record of kd_32 seed 1: it differs in seed"),
        ("dkd_beta2", {}, "not the record of kd_32 seed 1: it differs in run, .*objective"),
        ("kd_32", {"probe_images": 7}, "it differs in probe_images; undo the change, or compute it and ship it again"),
    ],
)
def test_a_record_in_anothers_place_is_not_taken(
    run: str, changed: dict[str, Any], message: str, demo: Suite, folder: Path
) -> None:
    compute(demo)
    ship(demo)
    record, given = made(demo, run, 1), Config(suite="demo", records="shipped")
    other = record.model_copy(update={"spec": record.spec.model_copy(update=changed)})
    write_record(files.shipped_record("demo", "kd_32", 1), other)
    with pytest.raises(CrossresError, match=message):
        check_given(given, demo)
    files.shipped_record("demo", "kd_32", 1).write_text("{")
    with pytest.raises(CrossresError, match="no rule makes it: git restore it, or ship it again"):
        check_given(given, demo)


def test_what_is_given_must_be_there(demo: Suite, folder: Path) -> None:
    with pytest.raises(CrossresError, match="there is no paper/records/demo/.*crossres ship demo"):
        check_given(Config(suite="demo", records="shipped"), demo)
    with pytest.raises(CrossresError, match=r"compute it, then: crossres ship ~/mine/own\.yaml"):
        check_given(Config.model_construct(suite="~/mine/own.yaml", records="shipped"), demo)
    compute(demo)
    ship(demo)
    check_given(Config(suite="demo", records="shipped"), demo)
    with pytest.raises(CrossresError, match=r"seed 9 is not to be computed.* complete: 'seeds=\[1, 2\]'"):
        check_given(Config(suite="demo", records="shipped"), demo.model_copy(update={"seeds": (9, 1, 2)}))
    one = Config(suite="demo", records=["kd_64_to_32"])
    with pytest.raises(CrossresError, match=r"weights are not here .*records=\[kd_64_to_32,teacher_64\]"):
        check_given(one, demo)
    weights = folder / "results/demo/teacher_64/seed1/weights.safetensors"
    weights.parent.mkdir(parents=True, exist_ok=True)
    weights.touch()
    check_given(one, demo)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory, demo: Suite) -> Path:
    """A clone with the shipped records of `demo`, its files dated at random."""
    root = copy_of_the_project(tmp_path_factory.mktemp("clone"))
    for run, seed in demo.jobs():
        write_record(root / files.shipped_record("demo", run, seed), made(demo, run, seed))
    draw, now = random.Random(7), time.time()
    for path in root.rglob("*"):
        then = now - draw.uniform(0, 1e8)
        os.utime(path, (then, then))
    return root


@pytest.mark.workflow
def test_shipped_records_make_training_impossible(clone: Path) -> None:
    """Whatever is asked for and however, no rule of training is scheduled, and none matches its files."""
    shipped = ("--config", "suite=demo", "records=shipped")
    weights = "results/demo/kd_32/seed1/weights.safetensors"
    table = "results/demo/tables/all_experiments.csv"
    for words in (
        ("-n", *shipped),
        ("-n", "--forceall", *shipped),
        ("-n", "--forcerun", "summary", "--rerun-triggers", "mtime", "code", "input", "params", *shipped),
        ("-n", "-f", *shipped, "--", table),
    ):
        done = snakemake(clone, *words)
        assert done.returncode == 0, done.stderr
        assert not TRAINING & set(counts := job_counts(done.stdout + done.stderr)), counts
    done = snakemake(clone, "-n", *shipped, "--", weights)
    assert done.returncode != 0
    assert "rule train" not in done.stdout + done.stderr


@pytest.mark.workflow
def test_a_deleted_table_is_the_only_thing_built_again(clone: Path) -> None:
    table = "results/demo/tables/all_experiments.csv"
    words = ("--cores", "1", "--config", "suite=demo", "records=shipped", "--", table)
    done = snakemake(clone, *words)
    assert done.returncode == 0, done.stderr
    content = (clone / table).read_bytes()
    (clone / table).unlink()
    done = snakemake(clone, *words)
    assert job_counts(done.stdout + done.stderr) == {"table": 1}
    assert (clone / table).read_bytes() == content


@pytest.mark.workflow
def test_one_student_is_computed_and_its_teacher_is_not(clone: Path) -> None:
    weights = clone / "results/demo/teacher_64/seed1/weights.safetensors"
    words = ("-n", "--forceall", "--config", "suite=demo", "records=[kd_64_to_32]", "device=cpu")
    done = snakemake(clone, *words)
    assert done.returncode != 0
    assert "crossres: kd_64_to_32 learns from teacher_64, whose weights are not here" in done.stderr
    weights.parent.mkdir(parents=True)
    weights.touch()
    done = snakemake(clone, *words)
    assert done.returncode == 0, done.stderr
    counts = job_counts(done.stdout + done.stderr)
    assert (counts["spec"], counts["train"], counts["evaluate"]) == (2, 2, 2)


def status_of(rows: list[RunStatus], run: str, seed: int) -> RunStatus:
    return next(row for row in rows if (row.run, row.seed) == (run, seed))


def leave_checkpoint(suite: Suite, run: str, seed: int, digest: str | None = None) -> Path:
    """What the training leaves after its third epoch."""
    folder = files.run_dir(files.suite_dir(suite.suite), run, seed)
    spec = suite.resolve(run, seed)
    sha256 = digest or spec.digest()
    checkpoint = Checkpoint(spec_sha256=sha256, epoch=3, epochs=8, epoch_s=10.0, best_accuracy_pct=41.5)
    write_json(folder / "state/0123" / files.CHECKPOINT, checkpoint.model_dump())
    return folder


def test_every_state_is_told(demo: Suite, folder: Path) -> None:
    config = Config(suite="demo")
    assert {row.kind for row in suite_status(config, demo)} == {"not started"}
    results = files.suite_dir("demo")
    write_record(files.record_file(results, "teacher_32", 1), made(demo, "teacher_32", 1))
    write_record(files.record_file(results, "kd_32", 2), made(demo, "kd_32", 2, sources_sha256="yesterday's"))
    write_json(files.run_dir(results, "dkd_beta2", 1) / "training.json", {})
    leave_checkpoint(demo, "kd_32", 1)
    leave_checkpoint(demo, "dkd_beta8", 2, digest="of another spec")
    running = leave_checkpoint(demo, "dkd_beta8", 1)
    with open(running / files.LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = suite_status(config, demo)
    assert status_of(found, "teacher_32", 1).kind == "done"
    assert status_of(found, "kd_32", 2).kind == "stale" and "code has changed" in status_of(found, "kd_32", 2).note
    assert status_of(found, "dkd_beta2", 1).kind == "trained"
    assert status_of(found, "kd_32", 1)[:7] == ("kd_32", 1, "resumable", 3, 8, 41.5, 50.0)
    assert status_of(found, "dkd_beta8", 1).kind == "running"
    assert 40 < (status_of(found, "dkd_beta8", 1).remaining_s or 0) <= 50
    assert (
        status_of(found, "dkd_beta8", 2).kind == "not started"
        and "another spec" in status_of(found, "dkd_beta8", 2).note
    )
    assert status_of(suite_status(config, demo), "dkd_beta8", 1).kind == "resumable", "the lock was let go"
    text = status_table(found)
    assert "1 running" in text and "0:00:" in text and "3/8" in text and "41.50 %" in text


def test_a_rerun_is_told_before_the_record_that_it_replaces(demo: Suite, folder: Path) -> None:
    config, run_dir = Config(suite="demo"), files.run_dir(files.suite_dir("demo"), "kd_32", 1)
    record = files.record_file(files.suite_dir("demo"), "kd_32", 1)
    write_record(record, made(demo, "kd_32", 1, sources_sha256="yesterday's"))
    assert status_of(suite_status(config, demo), "kd_32", 1).kind == "stale"
    leave_checkpoint(demo, "kd_32", 1)
    assert status_of(suite_status(config, demo), "kd_32", 1).kind == "resumable"
    write_json(run_dir / "training.json", {})
    os.utime(record, (0, 0))
    assert status_of(suite_status(config, demo), "kd_32", 1).kind == "trained"
    write_record(record, made(demo, "kd_32", 1))
    assert status_of(suite_status(config, demo), "kd_32", 1).kind == "done"


def test_shipped_and_missing_records_are_told(demo: Suite, folder: Path) -> None:
    config = Config(suite="demo", records="shipped")
    assert {row.kind for row in suite_status(config, demo)} == {"missing"}
    compute(demo)
    ship(demo)
    assert {row.kind for row in suite_status(config, demo)} == {"shipped"}
    record = files.shipped_record("demo", "kd_32", 1)
    record.write_text(record.read_text()[:100])
    assert "not valid JSON" in status_of(suite_status(config, demo), "kd_32", 1).note


def test_the_status_is_that_of_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"suite": "demo", "budget": {"epochs": 1}}))
    assert file_config(path).suite == "demo"
    assert file_config(path, "paper").suite == "paper"
    assert file_config(path, "paper").budget is not None
