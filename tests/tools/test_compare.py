"""Whether records show the same results: bits, verdicts, and what a difference may come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from crossres import files
from crossres.__main__ import main
from crossres.base import CrossresError
from crossres.records.record import Record, pack_bits, read_record, write_record
from crossres.tools.compare import compare
from crossres.tools.comparison import Comparison, RunComparison

MINI = files.SHIPPED / "mini"
Rerun = Callable[..., Path]


def flipped(record: Record, images: int) -> dict[str, Any]:
    """Return what changes in a record when so many more of its images are classified correctly, or fewer if below 0."""
    right, predicted = record.correct_images() or [], list(record.predictions or [])
    for index in [i for i, hit in enumerate(right) if hit == (images < 0)][: abs(images)]:
        right[index], predicted[index] = not right[index], (predicted[index] + 1) % 100
    accuracy = {"top1_pct": 100 * sum(right) / len(right)}
    history = [
        epoch.model_copy(update={"test_accuracy_pct": accuracy["top1_pct"]})
        if epoch.epoch == record.best.epoch
        else epoch
        for epoch in record.history
    ]
    best = record.best.model_copy(update=accuracy)
    last = best if record.last.epoch == record.best.epoch else record.last
    changed = {"best": best, "last": last, "history": history, "predictions": predicted, "correct": pack_bits(right)}
    made = record.provenance.model_copy(update={"weights_sha256": f"flipped {images}"})
    return changed | ({"provenance": made} if images else {})


@pytest.fixture
def rerun(tmp_path: Path) -> Rerun:
    """Write records of a run of `mini` as a rerun leaves them, each with other predictions of some images."""

    def write(run: str, flips: Mapping[int, int], seeds: Mapping[int, int] | None = None, **made: str) -> Path:
        for seed, images in flips.items():
            record = read_record(files.shipped_record("mini", run, seed))
            record = record.model_copy(update=flipped(record, images))
            spec = record.spec.model_copy(update={"seed": (seeds or {}).get(seed, seed)})
            provenance = record.provenance.model_copy(update=made)
            record = record.model_copy(update={"spec": spec, "provenance": provenance})
            write_record(files.record_file(tmp_path / "again", run, spec.seed), record)
        return tmp_path / "again"

    return write


def only(comparison: Comparison) -> RunComparison:
    (run,) = comparison.runs
    return run


def test_a_suite_is_identical_to_itself(capsys: pytest.CaptureFixture[str]) -> None:
    found = compare("mini", str(MINI), 1.0)
    assert {run.verdict for run in found.runs} == {"identical"} and found.missing == []
    assert all(pair.same_weights and pair.bits_depend_on == [] for run in found.runs for pair in run.pairs)
    assert main(["compare", "mini", "mini", "--require", "identical"]) == 0
    assert main(["compare", "published", "published", "--require", "identical"]) == 0  # no weights, no predictions
    assert "7 identical" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flips", "verdict"),
    [
        ({1: 0, 2: 0, 3: 0}, "identical"),
        ({1: 30, 2: 0, 3: 10}, "equivalent"),
        ({1: -30, 2: 40, 3: 10}, "equivalent"),
        ({1: 200, 2: 230, 3: 180}, "different"),
        ({1: -200, 2: -230, 3: -180}, "different"),
        ({1: 90, 2: 120, 3: 50}, "cannot tell"),
        ({1: 30, 2: 30, 3: 30}, "equivalent"),  # without a spread over seeds
    ],
)
def test_the_interval_of_shared_seeds_decides(flips: dict[int, int], verdict: str, rerun: Rerun) -> None:
    run = only(compare("mini", str(rerun("kd_32", flips)), 1.0, ["kd_32"]))
    assert (run.verdict, run.design, run.seeds) == (verdict, "paired", (3, 3))
    accuracy = run.figures["accuracy_pct"]
    assert accuracy.second - accuracy.first == pytest.approx(sum(flips.values()) / 300)
    assert (run.seeds_to_decide is None) == (verdict != "cannot tell")
    assert run.seeds_to_decide is None or run.seeds_to_decide > 3


def test_the_margin_is_an_option(rerun: Rerun) -> None:
    again = str(rerun("kd_32", {1: 30, 2: 0, 3: 10}))
    assert only(compare("mini", again, 0.01, ["kd_32"])).verdict == "cannot tell"
    assert only(compare("mini", again, 1.0, ["kd_32"])).verdict == "equivalent"


def test_other_seeds_are_compared_by_their_means(rerun: Rerun) -> None:
    again = str(rerun("kd_32", {1: 0, 2: 0, 3: 0}, seeds={1: 11, 2: 12, 3: 13}))
    run = only(compare("mini", again, 2.0, ["kd_32"]))
    assert (run.design, run.verdict) == ("Welch", "equivalent")
    assert all("seed" in pair.bits_depend_on and not pair.changes for pair in run.pairs)


def test_one_seed_is_judged_by_the_spread_of_the_others_and_two_single_ones_not_at_all(rerun: Rerun) -> None:
    again = str(rerun("dkd_beta2", {2: -5}))
    run = only(compare("mini", again, 1.0, ["dkd_beta2"]))
    assert (run.design, run.seeds, run.verdict) == ("one against several", (3, 1), "equivalent")
    alone = only(compare(str(MINI / "dkd_beta2/seed2.json"), again, 1.0))
    assert (alone.design, alone.verdict, alone.seeds_to_decide) == ("one each", "cannot tell", None)
    assert alone.figures["accuracy_pct"].low is None
    assert (images := alone.pairs[0].images) and images.low_pct < -0.05 < images.high_pct < 0


def test_one_seed_with_the_same_bits_is_enough(rerun: Rerun) -> None:
    found = compare("mini", str(rerun("dkd_beta2", {2: 0})), 1.0, ["dkd_beta2"])
    assert only(found).verdict == "identical" and found.failures("identical") == []


@pytest.mark.parametrize(("images", "p"), [(10, 2 * 0.5**10), (-4, 2 * 0.5**4), (0, 1.0)])
def test_flipped_predictions_have_the_p_of_a_sign_test(images: int, p: float, rerun: Rerun) -> None:
    pair = only(compare(str(MINI / "kd_32/seed1.json"), str(rerun("kd_32", {1: images})), 1.0)).pairs[0]
    assert pair.images is not None
    assert pair.images.predictions_differ == abs(images)
    assert pair.images.mcnemar_p == pytest.approx(p)
    assert pair.same_weights == (images == 0)


@pytest.mark.parametrize(
    ("made", "depend"),
    [({"commit": "another"}, []), ({"device": "AMD EPYC"}, ["device"]), ({"teacher_sha256": "x"}, ["teacher_sha256"])],
)
def test_what_other_bits_may_come_from_is_named(made: dict[str, str], depend: list[str], rerun: Rerun) -> None:
    (pair,) = only(compare("mini", str(rerun("kd_32", {1: 3}, **made)), 1.0, ["kd_32"])).pairs
    assert pair.bits_depend_on == depend
    assert [key.removeprefix("provenance.") for key in pair.changes] == list(made)


def test_other_images_are_not_compared_one_by_one(rerun: Rerun) -> None:
    (pair,) = only(compare("mini", str(rerun("kd_32", {1: 3}, data_sha256="others")), 1.0, ["kd_32"])).pairs
    assert pair.images is None and pair.bits_depend_on == ["data_sha256"]


def test_a_wrong_spec_is_named_and_fails(rerun: Rerun, capsys: pytest.CaptureFixture[str]) -> None:
    again = rerun("kd_32", {1: 0, 2: 0, 3: 0})
    path = files.record_file(again, "kd_32", 2)
    record = read_record(path)
    objective = record.spec.objective.model_copy(update={"temperature": 2.0})
    write_record(path, record.model_copy(update={"spec": record.spec.model_copy(update={"objective": objective})}))
    assert main(["compare", "mini", str(again), "--run", "kd_32", "--require", "equivalent"]) == 1
    shown = capsys.readouterr()
    assert "its spec differs in objective.temperature" in shown.err
    assert "spec.objective.temperature: 4.0 → 2.0" in shown.out


def test_a_requirement_sets_the_exit_status_after_everything_is_written(
    rerun: Rerun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again, document, page = str(rerun("kd_32", {1: 90, 2: 120, 3: 50})), tmp_path / "c.json", tmp_path / "c.html"
    words = ["compare", "mini", again, "--json", str(document), "--html", str(page)]
    assert main(words) == 0
    assert main([*words, "--require", "equivalent"]) == 1
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1 and "kd_32: cannot tell (seeds to decide: " in shown and "ce_32: no record" in shown
    found = Comparison.parse(files.read_json(document), str(document))
    assert found == compare("mini", again, 1.0)
    assert 'class="cannot-tell"' in page.read_text() and "McNemar" in page.read_text()


def test_runs_of_other_names_are_compared_where_each_side_has_one() -> None:
    found = compare(str(MINI / "kd_32"), str(MINI / "dkd_beta2"), 5.0)
    assert (only(found).run, only(found).verdict) == ("kd_32 / dkd_beta2", "equivalent")
    assert "objective.method" in found.failures("equivalent")[0]


@pytest.mark.parametrize(
    ("first", "second", "runs", "message"),
    [
        ("mini", "mini/kd_32", ["ce_32"], "no run in common: .*mini has ce_32; .*kd_32 has kd_32"),
        ("nosuch", "mini", None, "nosuch: no records there"),
        ("mini", "{tmp}", None, "no records there"),
        ("paper/records", "mini", None, "paper/records: records of several suites"),
        ("mini/ce_32", "published", None, "no run in common: .*ce_32 has ce_32; .*published has dkd_beta2"),
        ("mini", "mini", ["kd32"], "no record of run 'kd32'; did you mean 'kd_32'"),
        ("Makefile", "mini", None, "Makefile: not valid JSON"),
    ],
)
def test_what_cannot_be_compared_is_named(
    first: str, second: str, runs: list[str] | None, message: str, tmp_path: Path
) -> None:
    with pytest.raises(CrossresError, match=message) as caught:
        compare(first, second.replace("{tmp}", str(tmp_path)), 1.0, runs)
    assert "\n" not in str(caught.value)
