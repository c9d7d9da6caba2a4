"""Records: whole or not there, and true to the thesis's logs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from crossres import files
from crossres.base import CrossresError
from crossres.files import read_json, write_atomic, write_json
from crossres.records import thesis
from crossres.records.record import read_record, write_record
from crossres.records.summary import read_summary, summarise
from crossres.suites.suite import load_suite, merge
from tests.report.test_report import synthetic

PUBLISHED = sorted(Path("paper/records/published").glob("*/seed*.json"))
SHIPPED = sorted(Path("paper/records").glob("*/*/seed*.json"))
LOGS = Path("../shared/data/thesis_logs")
needs_logs = pytest.mark.skipif(not LOGS.is_dir(), reason=f"the thesis's logs are not at {LOGS}")


def test_the_published_records_are_made_of_all_the_logs() -> None:
    used = [file for path in PUBLISHED for file in read_record(path).provenance.source.files]
    assert {file.sha256: file.path for file in used} == thesis.known_paths()
    assert len(used) == len(thesis.known_paths())


@pytest.mark.parametrize("path", SHIPPED, ids=str)
def test_a_shipped_record_survives_its_file_and_has_the_spec_of_its_suite(path: Path, tmp_path: Path) -> None:
    record = read_record(path)
    write_record(tmp_path / "copy.json", record)
    assert (tmp_path / "copy.json").read_bytes() == path.read_bytes()
    spec = record.spec
    assert files.shipped_record(spec.suite, spec.run, spec.seed) == path
    assert load_suite(files.suite_file(spec.suite)).resolve(spec.run, spec.seed, spec.budget) == spec


def test_every_shipped_record_fits_the_schema() -> None:
    validator = jsonschema.Draft202012Validator(json.loads(Path("paper/records/schema.json").read_text()))
    for path in SHIPPED:
        validator.validate(json.loads(path.read_text()))
    with pytest.raises(jsonschema.ValidationError):
        validator.validate({**json.loads(SHIPPED[0].read_text()), "accuracy": 99})


@needs_logs
def test_importing_the_logs_gives_the_shipped_records(tmp_path: Path) -> None:
    records = thesis.import_records(load_suite(files.suite_file("published")), str(LOGS))
    for record in records:
        write_record(tmp_path / "record.json", record)
        shipped = files.shipped_record("published", record.spec.run, record.spec.seed)
        assert (tmp_path / "record.json").read_bytes() == shipped.read_bytes()


@needs_logs
def test_a_changed_log_is_named(tmp_path: Path) -> None:
    for path in LOGS.rglob("*.*"):
        copy = tmp_path / path.relative_to(LOGS)
        write_atomic(copy, path.read_bytes())
    write_atomic(tmp_path / "teacher/final_results.json", "{}")
    with pytest.raises(CrossresError, match=r"SHA-256 of teacher/final_results\.json"):
        thesis.read_logs(str(tmp_path))


def test_logs_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(CrossresError, match="no such folder or archive"):
        thesis.read_logs(str(tmp_path / "none"))
    with pytest.raises(CrossresError, match="and 18 more"):
        thesis.read_logs(str(tmp_path))


def test_the_share_of_the_gap_is_that_between_the_same_training_alone_and_the_teacher() -> None:
    suite = load_suite(files.suite_file("controls"))
    accuracies = {"ce_32": 70.0, "ce_64": 75.0, "teacher_64": 90.0, "teacher_32": 60.0}
    made = [synthetic(suite.resolve(run, seed), accuracies.get(run, 80.0)) for run, seed in suite.jobs()]
    shares = summarise(made).set_index(["run", "seed"])["gap_closed_pct"]
    assert (shares["kd_64_to_32"] == 50).all(), "10 of 20 points, not of the 15 above the network that sees 64 px"
    assert shares["kd_32"].isna().all(), "its teacher is no better than the network alone"
    assert shares["kd_crop"].isna().all(), "no network was trained so without a teacher"
    assert shares[["ce_32", "teacher_64"]].isna().all(), "neither has a teacher"


def test_the_summary_survives_its_file(tmp_path: Path) -> None:
    summary = summarise(read_record(path) for path in PUBLISHED)
    write_atomic(tmp_path / "summary.csv", summary.to_csv(index=False))
    again = read_summary(tmp_path / "summary.csv")
    assert again.to_csv(index=False) == summary.to_csv(index=False)
    assert again.set_index("run").loc["dkd_beta2", "thesis_id"] == "v3.1"


@pytest.mark.parametrize("cut", [0, 1, 100, 1000])
def test_a_record_cut_short_is_one_line(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(PUBLISHED[0].read_bytes()[:cut])
    with pytest.raises(CrossresError, match="not valid JSON") as caught:
        read_record(path)
    assert "\n" not in str(caught.value)


def test_a_record_of_another_version_or_with_a_foreign_key(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    document = json.loads(PUBLISHED[0].read_text())
    path.write_text(json.dumps({**document, "schema_version": 2}))
    with pytest.raises(CrossresError, match="schema version 2"):
        read_record(path)
    path.write_text(json.dumps({**document, "accuracy": 99}))
    with pytest.raises(CrossresError, match="accuracy: unknown key"):
        read_record(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"best": {"epoch": 9999}}, "best.epoch: 9999 is not in the history, which ends at 200"),
        ({"last": {"epoch": 9999}}, "last.epoch: 9999 is not in the history"),
        ({"history": [{"epoch": 2}, {"epoch": 1}]}, "history: its epochs do not ascend"),
    ],
)
def test_epochs_that_cannot_be(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    document = read_json(files.shipped_record("published", "kd_32", 42))
    entry = document["history"][0]
    if "history" in changes:
        changes = {"history": [entry | change for change in changes["history"]]}
    path = tmp_path / "record.json"
    write_json(path, merge(document, changes))
    with pytest.raises(CrossresError, match=message):
        read_record(path)


def hit(document: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return a record with evidence for each test image, changed."""
    images, classes = document["spec"]["dataset"]["test_images"] or 10_000, 100
    right = round(images * document["best"]["top1_pct"] / 100)
    bits = "1" * right + "0" * (images - right)
    shares = [0.0] * 14 + [right / images]
    bins = {"images": [0] * 14 + [images], "confidence": [None] * 14 + [0.99], "accuracy": [None] * 14 + [shares[-1]]}
    evidence = {
        "predictions": [0] * images,
        "correct": f"{int(bits, 2):0{images // 4}x}",
        "best": {"per_class_pct": [50.0] * classes, "reliability": bins},
    }
    return merge(merge(document, evidence), changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, None),
        ({"best": {"top1_pct": 97.0}}, r"best\.top1_pct: 97\.0000, but the history .* says 76\."),
        ({"last": {"top1_pct": 97.0}}, r"last\.top1_pct: 97\.0000, but the history"),
        ({"best": {"top1_pct": 150.0}}, r"best\.top1_pct: Input should be less than or equal to 100"),
        ({"best": {"top1_pct": -5.0}}, r"best\.top1_pct: Input should be greater than or equal to 0"),
        ({"best": {"per_class_pct": [50.0] * 99}}, r"best\.per_class_pct: not one for each of the 100 classes"),
        ({"best": {"per_class_pct": [150.0] * 100}}, r"best\.per_class_pct"),
        ({"best": {"reliability": {"images": [0] * 14 + [9_999]}}}, r"reliability\.images: their sum is not 10000"),
        ({"best": {"reliability": {"images": [0] * 15}}}, r"reliability\.images: their sum is not 10000"),
        ({"best": {"reliability": {"accuracy": [0.5] * 15}}}, r"best\.reliability: 50\.0000, but top1_pct"),
        ({"predictions": [0] * 9_999 + [9_999]}, r"predictions: 9999 is no class of cifar100"),
        ({"predictions": [0] * 9_999 + [-1]}, r"predictions"),
        ({"predictions": [0] * 9_999}, r"predictions: not one for each of the 10000 test images"),
        ({"predictions": []}, r"predictions: not one for each of the 10000 test images"),
        ({"predictions": None}, r"predictions: recorded without `correct`"),
        ({"correct": None}, r"predictions: recorded without `correct`"),
        ({"correct": ""}, r"correct: "),
        ({"correct": "z" * 2_500}, r"correct: "),
        ({"correct": "f" * 2_500}, r"best\.top1_pct: .*, but `correct` in the same record says 100"),
    ],
    ids=range(19),
)
def test_a_record_is_held_to_its_own_evidence(changes: dict[str, Any], message: str | None, tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_json(path, hit(read_json(files.shipped_record("published", "kd_32", 42)), **changes))
    if message is None:
        read_record(path)
        return
    with pytest.raises(CrossresError, match=message) as caught:
        read_record(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["{", "[" * 100_000, "\xff"])
def test_what_is_no_json_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text(content, encoding="latin1")
    with pytest.raises(CrossresError, match=r"record\.json: not valid JSON"):
        read_record(tmp_path / "record.json")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    def full_as_torch_reports_it(_: object) -> None:
        try:
            full(_)
        except OSError:
            raise RuntimeError("unexpected pos 704 vs 598")  # torch.save names no cause

    for write in (full, full_as_torch_reports_it):
        with pytest.raises(CrossresError, match="No space left"):
            write_atomic(path, write)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["NA", "null", "nan", "1"])
def test_a_summary_keeps_the_name_of_a_run(name: str, tmp_path: Path) -> None:
    records = [read_record(path) for path in PUBLISHED]
    renamed = records[0].model_copy(update={"spec": records[0].spec.model_copy(update={"run": name})})
    summarise([renamed, *records[1:]]).to_csv(tmp_path / "summary.csv", index=False)
    summary = read_summary(tmp_path / "summary.csv")
    assert summary.run[0] == name
    assert summary.teacher.isna().sum() == sum(record.spec.teacher is None for record in records)
