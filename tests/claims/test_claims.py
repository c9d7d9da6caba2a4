"""Claims and verdicts: the vocabulary, each rule, and what the thesis's own logs say."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from crossres import files
from crossres.__main__ import main
from crossres.base import CrossresError
from crossres.claims.audit import audit
from crossres.claims.claim import Claims, load_claims
from crossres.claims.finding import (
    VERDICTS,
    Audit,
    ControlResult,
    Estimate,
    Quantity,
    audit_text,
    interval_text,
    required_verdicts,
    value_text,
)
from crossres.files import read_json, write_json
from crossres.records.record import Record, pack_bits, read_record
from crossres.records.summary import summarise
from crossres.suites.suite import Suite, load_suite

SUITES = [load_suite(path) for path in sorted(files.SUITES.glob("*.yaml"))]
GAIN = {"kind": "contrast", "column": "accuracy_pct", "plus": ["kd_64_to_32"], "minus": ["kd_32"]}


@pytest.fixture(scope="module")
def claims() -> Claims:
    return load_claims(files.CLAIMS)


@pytest.fixture(scope="module")
def published() -> tuple[Suite, list[Record]]:
    suite = load_suite(files.suite_file("published"))
    return suite, [read_record(files.shipped_record("published", *job)) for job in suite.jobs()]


def judged(suite: Suite, records: list[Record], claims: Claims) -> Audit:
    return audit(suite, records, summarise(records), claims)


@pytest.fixture(scope="module")
def of_the_logs(published: tuple[Suite, list[Record]], claims: Claims) -> Audit:
    return judged(*published, claims)


def one_claim(**entry: Any) -> Claims:
    claim = {"statement": "A claim.", "where": "Nowhere", "measure": GAIN, **entry}
    of = {"dataset": "cifar100", "networks": ["torchvision/efficientnet_v2_l", "torchvision/efficientnet_v2_s"]}
    return Claims.parse({"source": "a test", "of": of, "claims": {"it": claim}}, "claims")


def as_computed(records: list[Record], gains: dict[str, float], seeds: tuple[int, ...] = (1, 2, 3)) -> list[Record]:
    """Return records as if trained anew with several seeds, some runs more accurate by so much."""
    noise = random.Random(7)
    made = []
    for record in records:
        for seed in seeds:
            teacher_seed = None if record.spec.teacher is None else seed
            spec = record.spec.model_copy(update={"suite": "paper", "seed": seed, "teacher_seed": teacher_seed})
            top1 = record.best.top1_pct + gains.get(record.name, 0.0) + noise.gauss(0, 0.05)
            update: dict[str, Any] = {"spec": spec, "best": record.best.model_copy(update={"top1_pct": top1})}
            bare = record.provenance.model_copy(update={"source": None})
            made.append(record.model_copy(update={**update, "provenance": bare}))
    return made


def verdict_of(published: tuple[Suite, list[Record]], gains: dict[str, float], **entry: Any) -> tuple[str, str]:
    suite = load_suite(files.suite_file("paper")).model_copy(update={"seeds": (1, 2, 3)})
    (finding,) = judged(suite, as_computed(published[1], gains), one_claim(**entry)).findings
    return finding.verdict, finding.reason


# The claims of the thesis


def test_every_claim_of_the_logs_has_the_verdict_on_record(of_the_logs: Audit, claims: Claims) -> None:
    assert of_the_logs.mismatches(claims.recorded("published")) == []


def test_every_claim_names_runs_that_some_suite_has(claims: Claims) -> None:
    claims.check_runs(run for suite in SUITES for run in suite.runs)
    with pytest.raises(CrossresError, match=r"claims\.it: no suite has a run 'kd_23'; did you mean 'kd_32'"):
        one_claim(measure={**GAIN, "minus": ["kd_23"]}, direction={"above": 0}).check_runs(["kd_32", "kd_64_to_32"])


@pytest.mark.parametrize("stored", [None, 0, 200])
def test_minutes_without_a_teachers_pass_are_not_compared(
    stored: int | None, published: tuple[Suite, list[Record]], claims: Claims
) -> None:
    def with_cost(record: Record) -> Record:
        if record.name != "kd_32":
            return record
        return record.model_copy(update={"cost": record.cost.model_copy(update={"stored_epochs": stored})})

    found = judged(published[0], [with_cost(record) for record in published[1]], claims)
    finding = next(finding for finding in found.findings if finding.id == "training_cost")
    if stored:
        assert finding.verdict == "not tested here" and "minutes of kd_32 leave out a teacher's pass" in finding.reason
    else:
        assert finding.verdict == "not reproduced"


def test_the_evidence_is_that_of_the_logs(of_the_logs: Audit) -> None:
    found = {finding.id: finding for finding in of_the_logs.findings}

    def value(part: Quantity | ControlResult) -> float:
        assert part.estimate is not None
        return round(part.estimate.value, 2)

    assert value(found["dkd_collapse"].controls[0]) == -2.16
    assert found["dkd_collapse"].controls[1].missing == "the suite has no run dkd_beta8_full"
    assert value(found["training_cost"].figures[0]) == 1.99
    assert found["compression"].reason == "the logs give 5.78 where 5.6 is printed for kd_32"
    assert value(found["retained_and_small"].controls[0]) == -7.05
    assert any("batch size (128 / 64)" in text for text in found["teacher_gain"].also_differs)
    gain = found["cross_resolution_gain"].figures[0].estimate
    assert gain is not None and gain.p is not None and gain.p_holm is not None and gain.p < gain.p_holm < 0.05
    assert gain.mcnemar == [] and gain.bootstrap is None, "the logs hold no predictions"


# The rules


def test_reproduced_direction_only_and_not_reproduced(published: tuple[Suite, list[Record]]) -> None:
    entry = {"reported": "1.74", "tolerance": 0.5, "direction": {"above": 0}}
    assert verdict_of(published, {}, **entry)[0] == "reproduced"
    assert verdict_of(published, {"kd_64_to_32": 3}, **entry)[0] == "direction only"
    assert verdict_of(published, {"kd_64_to_32": -3}, **entry)[0] == "not reproduced"
    verdict, reason = verdict_of(published, {"kd_64_to_32": -1.74}, **entry)
    assert verdict == "not reproduced"
    assert "which is not above 0" in reason


def test_a_control_decides_over_the_explanation(published: tuple[Suite, list[Record]]) -> None:
    control = {"what": "the same", "measure": {**GAIN, "plus": ["kd_32"], "minus": ["kd_32_basic"]}}
    entry: dict[str, Any] = {"reported": "1.74", "tolerance": 0.5, "direction": {"above": 0}}
    for bound, gains, wanted in (({"above": 1}, {}, "confounded"), ({"above": 1}, {"kd_32_basic": -5}, "reproduced")):
        explanation = {"because": "it is", "controls": [{**control, "holds_if": bound}]}
        assert verdict_of(published, gains, **entry, explanation=explanation)[0] == wanted


def test_without_a_control_other_differences_confound(published: tuple[Suite, list[Record]]) -> None:
    entry: dict[str, Any] = {"reported": "1.74", "tolerance": 0.5, "direction": {"above": 0}}
    explanation = {"because": "it is", "factor": ["view", "teacher_view"]}
    verdict, reason = verdict_of(published, {}, **entry, explanation=explanation)
    assert verdict == "confounded" and "the teacher's batch size (128 / 64)" in reason
    every = ["view", "teacher_view", "augmentation", "objective", "optimisation"]
    assert verdict_of(published, {}, **entry, explanation={"because": "it is", "factor": every})[0] == "reproduced"


def test_what_follows_from_the_networks_is_exact_in_every_suite(published: tuple[Suite, list[Record]]) -> None:
    measure = {"kind": "contrast", "column": "compression", "plus": ["kd_32"]}
    assert verdict_of(published, {}, measure=measure, reported="5.6")[0] == "arithmetic error"
    assert verdict_of(published, {}, measure=measure, reported="5.78")[0] == "reproduced"


def test_figures_of_other_images_or_networks_are_not_compared() -> None:
    demo = load_suite(files.suite_file("demo"))
    from tests.report.test_report import records_of

    found = judged(demo, records_of(demo), load_claims(files.CLAIMS))
    verdicts = {finding.id: finding for finding in found.findings}
    for name in ("accuracies", "retained_and_small", "compression", "dkd_objective", "inference_cost"):
        assert verdicts[name].verdict == "not tested here", name
    assert {"reproduced", "arithmetic error"} & {f.verdict for f in found.findings} == set()
    assert "7.74" not in audit_text(found), "no figure of the thesis stands beside one of other images"
    assert all(figure.agrees is None for finding in found.findings for figure in finding.figures)


def test_predictions_give_mcnemar_and_the_paired_bootstrap(published: tuple[Suite, list[Record]]) -> None:
    suite = load_suite(files.suite_file("paper")).model_copy(update={"seeds": (1,)})
    right = {"kd_32": 600, "kd_64_to_32": 700}
    made = []
    for record in as_computed(published[1], {}, (1,)):
        hits = [index < right.get(record.name, 0) for index in range(999)]
        cut = record.spec.dataset.model_copy(update={"test_images": 999})
        spec = record.spec.model_copy(update={"dataset": cut})
        made.append(record.model_copy(update={"predictions": [0] * 999, "correct": pack_bits(hits), "spec": spec}))
        assert made[-1].correct_images() == hits
    (finding,) = judged(suite, made, one_claim(direction={"above": 0})).findings
    estimate = finding.figures[0].estimate
    assert estimate is not None and estimate.test == "exact McNemar" and estimate.interval is not None
    assert estimate.mcnemar[0][:3] == (1, 0, 100) and estimate.mcnemar[0][3] < 1e-20
    assert estimate.bootstrap is not None and estimate.bootstrap[0] < 100 / 9.99 < estimate.bootstrap[1]


# The documents


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"measure": {**GAIN, "colum": "x"}}, r"colum: unknown key; did you mean 'column'"),
        ({"measure": {**GAIN, "kind": "contrst"}}, r"measure.*contrst"),
        ({"reportd": "1"}, r"reportd: unknown key; did you mean 'reported'"),
        ({"direction": {"above": 0, "below": 1}}, r"give one of above and below"),
        ({"direction": None, "reported": None}, r"give a reported figure, a direction, or both"),
        ({"measure": {"kind": "epochs", "run": "kd_32", "field": "tst_loss", "take": "max"}}, r"mean 'test_loss'"),
        ({"measure": {"kind": "settings", "runs": ["a"], "paths": ["objectiv.x"]}}, r"did you mean 'objective'"),
        ({"measure": None}, r"untested"),
    ],
)
def test_a_mistake_in_a_claim_is_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CrossresError, match=message) as caught:
        one_claim(**{"direction": {"above": 0}, **changes})
    assert "\n" not in str(caught.value)


def test_an_unknown_column_names_the_nearest(published: tuple[Suite, list[Record]]) -> None:
    with pytest.raises(CrossresError, match="no column 'acuracy_pct' in the summary; did you mean 'accuracy_pct'"):
        judged(*published, one_claim(measure={**GAIN, "column": "acuracy_pct"}, direction={"above": 0}))


def test_required_verdicts_are_held(of_the_logs: Audit, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "claims.json"
    write_json(file, of_the_logs.model_dump(mode="json"))
    assert Audit.parse(read_json(file), str(file)) == of_the_logs
    assert main(["claims", "--file", str(file), "--recorded", "--require", "dkd_collapse=confounded"]) == 0
    assert f"suite published, {len(of_the_logs.findings)} claims: " in capsys.readouterr().out
    assert main(["claims", "--file", str(file), "--require", "gaps=not-reproduced", "--require", "x=reproduced"]) == 1
    assert "no claim 'x'" in capsys.readouterr().err
    assert main(["claims", "--file", str(file), "--require", "gaps=not-reproduced"]) == 1
    assert "gaps is 'reproduced', required is 'not reproduced'" in capsys.readouterr().err
    assert main(["claims", "--file", str(file), "--require", "gaps"]) == 1
    assert "write ID=VERDICT" in capsys.readouterr().err
    assert main(["claims", "--suite", "nowhere"]) == 1
    assert "no suite 'nowhere'" in capsys.readouterr().err
    own = tmp_path / "own.yaml"
    own.write_text(f"extends: {Path('workflow/suites/demo.yaml').resolve()}\nsuite: nowhere\n")
    assert main(["claims", "--suite", str(own)]) == 1
    assert f"nowhere/claims.json: no such file; to make it: snakemake --cores 1 --config suite={own} -- claims" in (
        capsys.readouterr().err
    )


def test_the_table_has_every_claim_and_verdict(of_the_logs: Audit) -> None:
    text = audit_text(of_the_logs)
    assert all(finding.id in text and finding.verdict in text for finding in of_the_logs.findings)
    assert max(map(len, text.splitlines())) <= 120
    assert set(of_the_logs.counts()) <= set(VERDICTS)
    assert required_verdicts(["a=not-tested-here"]) == {"a": "not tested here"}


@pytest.mark.parametrize(
    ("numbers", "shown"),
    [
        ((-9.34, -10.58, -8.09), "-9.34 [-10.58, -8.09]"),
        ((0.04821, 0.04689, 0.0496), "0.0482 [0.0469, 0.0496]"),
        ((-0.00307, -0.00443, -0.00172), "-0.0031 [-0.0044, -0.0017]"),
        ((1.00076, 0.99826, 1.00326), "1.0008 [0.9983, 1.0033]"),
        ((5.0, 5.0, 5.0), "5.00 [5.00, 5.00]"),
        ((84.0, None, None), "84"),
        ((0.2, None, None), "0.20"),
    ],
)
def test_an_interval_is_printed_with_the_decimals_that_tell_its_ends_apart(
    numbers: tuple[float, float | None, float | None], shown: str
) -> None:
    value, low, high = numbers
    figure = Quantity(estimate=Estimate(value=value, seeds=1, low=low, high=high))
    assert figure.estimate is not None
    assert f"{value_text(figure.estimate)} {interval_text(figure.estimate)}".strip() == shown
