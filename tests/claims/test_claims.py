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
    Estimate,
    Quantity,
    audit_text,
    interval_text,
    required_verdicts,
    value_text,
)
from crossres.files import read_json, write_json
from crossres.records.record import Record, read_record
from crossres.records.summary import summarise
from crossres.suites.contrasts import PlannedContrast
from crossres.suites.suite import Suite, load_suite

SUITES = [load_suite(path) for path in sorted(files.SUITES.glob("*.yaml"))]
GAIN = {"kind": "contrast", "column": "accuracy_pct", "runs": {"kd_64_to_32": 1, "kd_32": -1}}


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


def verdict_of(
    published: tuple[Suite, list[Record]], gains: dict[str, float], seeds: tuple[int, ...] = (1, 2, 3), **entry: Any
) -> tuple[str, str]:
    suite = load_suite(files.suite_file("paper")).model_copy(update={"seeds": seeds})
    (finding,) = judged(suite, as_computed(published[1], gains, seeds), one_claim(**entry)).findings
    return finding.verdict, finding.reason


# The claims of the thesis


def test_every_claim_of_the_logs_has_the_verdict_on_record(of_the_logs: Audit, claims: Claims) -> None:
    assert of_the_logs.mismatches(claims.recorded("published")) == []


def test_every_claim_names_runs_that_some_suite_has(claims: Claims) -> None:
    for suite in SUITES:
        claims.check(suite, SUITES)
    wrong = one_claim(measure={**GAIN, "runs": {"kd_64_to_32": 1, "kd_23": -1}}, direction={"above": 0})
    with pytest.raises(CrossresError, match=r"claims\.it: no suite has a run 'kd_23'; did you mean 'kd_32'"):
        wrong.check(load_suite(files.suite_file("paper")))
    with pytest.raises(CrossresError, match=r"suite mini: contrasts\.collapse\.claim: no claim 'dkd_collapse'"):
        wrong.check(load_suite(files.suite_file("mini")))


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
        assert finding.verdict == "not tested" and "minutes of kd_32 leave out a teacher's pass" in finding.reason
    else:
        assert finding.verdict == "supported"


def test_the_evidence_is_that_of_the_logs(of_the_logs: Audit) -> None:
    found = {finding.id: finding for finding in of_the_logs.findings}

    def of_control(claim: str) -> list[float]:
        return [round(control.estimate.value, 2) for control in found[claim].controls if control.estimate]

    def of_claim(claim: str, digits: int = 2) -> float:
        estimate = found[claim].single.estimate
        assert estimate is not None
        return round(estimate.value, digits)

    assert of_control("dkd_collapse") == [-2.16, -0.82], "at equal epochs, and at equal learning rates"
    assert (of_claim("training_cost"), of_claim("training_cost_in_all")) == (1.10, 1.99)
    assert of_claim("training_stability", 3) == -0.008, "0.0475 of DKD and 0.0550 of KD"
    assert of_claim("gain_over_baseline") == 1.81
    assert found["compression"].reason == "the logs give 5.78 where 5.6 is printed for kd_32"
    assert any("batch size (128 / 64)" in text for text in found["teacher_gain"].also_differs)
    assert "teacher_32 is worse than guessing in 81 of 200 epochs" in found["cross_resolution_gain"].reason
    gain = found["cross_resolution_gain"].single.estimate
    assert gain is not None and (gain.chance, gain.p) == ("image", None)
    assert gain.low is not None and gain.low > 0, "no interval over images decides anything"


# The rules


def test_a_direction_is_supported_contradicted_or_undecided(published: tuple[Suite, list[Record]]) -> None:
    entry = {"reported": "1.74", "tolerance": 0.5, "direction": {"above": 0}}
    verdict, reason = verdict_of(published, {}, **entry)
    assert verdict == "supported" and "the figure is reproduced" in reason
    verdict, reason = verdict_of(published, {"kd_64_to_32": 3}, **entry)
    assert verdict == "supported" and "not reproduced" in reason
    assert verdict_of(published, {"kd_64_to_32": -3}, **entry)[0] == "contradicted"
    assert verdict_of(published, {"kd_64_to_32": -1.74}, **entry)[0] == "undecided"
    assert verdict_of(published, {}, seeds=(1,), **entry)[0] == "undecided", "one seed decides nothing"


def test_a_figure_of_a_new_training_is_judged_by_its_interval(published: tuple[Suite, list[Record]]) -> None:
    entry = {"reported": "1.74", "tolerance": 0.5}
    assert verdict_of(published, {}, **entry)[0] == "supported"
    assert verdict_of(published, {"kd_64_to_32": 0.5}, **entry)[0] == "undecided"
    assert verdict_of(published, {"kd_64_to_32": 3}, **entry)[0] == "contradicted"
    assert verdict_of(published, {}, seeds=(1,), **entry)[0] == "undecided"


def test_a_control_confounds_only_if_it_contradicts(published: tuple[Suite, list[Record]]) -> None:
    control = {"what": "the same", "measure": {**GAIN, "runs": {"kd_32": 1, "kd_32_basic": -1}}}
    entry: dict[str, Any] = {"reported": "1.74", "tolerance": 0.5, "direction": {"above": 0}}
    for bound, gains, wanted in (
        ({"above": 1}, {}, "confounded"),
        ({"above": 0.07}, {}, "undecided"),
        ({"above": 1}, {"kd_32_basic": -5}, "supported"),
    ):
        explanation = {"because": "it is", "controls": [{**control, "holds_if": bound}]}
        assert verdict_of(published, gains, **entry, explanation=explanation)[0] == wanted


def test_without_a_control_other_differences_leave_the_cause_open(published: tuple[Suite, list[Record]]) -> None:
    entry: dict[str, Any] = {"reported": "1.74", "tolerance": 0.5, "direction": {"above": 0}}
    explanation = {"because": "it is", "factor": ["view", "teacher_view"]}
    verdict, reason = verdict_of(published, {}, **entry, explanation=explanation)
    assert verdict == "not identified" and "the teacher's batch size (128 / 64)" in reason
    every = ["view", "teacher_view", "augmentation", "objective", "optimisation"]
    assert verdict_of(published, {}, **entry, explanation={"because": "it is", "factor": every})[0] == "supported"


def test_what_follows_from_the_networks_is_exact_in_every_suite(published: tuple[Suite, list[Record]]) -> None:
    measure = {"kind": "contrast", "column": "compression", "runs": {"kd_32": 1}}
    assert verdict_of(published, {}, measure=measure, reported="5.6")[0] == "misreported setting"
    assert verdict_of(published, {}, measure=measure, reported="5.6", tolerance=0.2)[0] == "rounded"
    assert verdict_of(published, {}, measure=measure, reported="5.78")[0] == "matches the logs"


def test_an_interval_ends_where_the_number_can_be(published: tuple[Suite, list[Record]]) -> None:
    def with_loss(record: Record, last_loss: float) -> Record:
        last = record.history[-1].model_copy(update={"test_loss": last_loss})
        return record.model_copy(update={"history": [*record.history[:-1], last]})

    suite = load_suite(files.suite_file("paper")).model_copy(update={"seeds": (1, 2)})
    records = as_computed(published[1], {}, (1, 2))
    least = min(epoch.test_loss for epoch in next(r for r in records if r.name == "kd_32").history[:-1])
    made = [with_loss(r, least * (1 if r.spec.seed == 1 else 1.5)) if r.name == "kd_32" else r for r in records]
    measure = {"kind": "epochs", "runs": {"kd_32": 1}, "field": "test_loss", "take": "last_over_min"}
    (finding,) = judged(suite, made, one_claim(measure=measure, direction={"below": 2})).findings
    estimate = finding.single.estimate
    assert estimate is not None and estimate.low == 1.0 and estimate.value == pytest.approx(1.5**0.5)


def test_a_contrast_of_the_suite_decides_its_claim(published: tuple[Suite, list[Record]]) -> None:
    contrast = {"title": "a", "claim": "it", "runs": {"kd_64_to_32": 1, "kd_32_basic": -1}}
    planned = PlannedContrast.parse({**contrast, "supported_if": {"above": 5}}, "contrast")
    suite = load_suite(files.suite_file("paper")).model_copy(update={"seeds": (1, 2, 3), "contrasts": {"c": planned}})
    records, claim = as_computed(published[1], {}), one_claim(reported="1.74", direction={"above": 0})
    found = judged(suite, records, claim)
    assert (found.findings[0].verdict, found.findings[0].contrast) == ("contradicted", "c")
    assert found.contrasts[0].verdict == "contradicted" and found.contrasts[0].reported is None
    two = [record for record in records if record.spec.seed < 3]
    finding = judged(suite, two, claim).findings[0]
    assert finding.verdict == "undecided" and "2 of the 3 planned seeds" in finding.reason


def test_figures_of_other_images_or_networks_are_not_compared() -> None:
    demo = load_suite(files.suite_file("demo"))
    from tests.report.test_report import records_of

    found = judged(demo, records_of(demo), load_claims(files.CLAIMS))
    verdicts = {finding.id: finding for finding in found.findings}
    for name in ("accuracies", "retained_and_small", "compression", "dkd_objective", "inference_cost"):
        assert verdicts[name].verdict == "not tested", name
    assert {"matches the logs", "rounded", "misreported setting"} & {f.verdict for f in found.findings} == set()
    assert "7.74" not in audit_text(found), "no figure of the thesis stands beside one of other images"
    assert all(figure.agrees is None for finding in found.findings for figure in finding.figures)


def test_a_number_of_the_teacher_alone_is_of_as_many_seeds_as_its_trainings(claims: Claims) -> None:
    suite = load_suite(files.suite_file("mini"))
    records = [read_record(files.shipped_record("mini", *job)) for job in suite.jobs()]
    found = {finding.id: finding for finding in judged(suite, records, claims).findings}["superposition"]
    assert found.single.estimate is not None
    # Three students, one training of the teacher.
    assert (found.verdict, found.single.estimate.seeds) == ("undecided", 1)


# The documents


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"measure": {**GAIN, "colum": "x"}}, r"colum: unknown key; did you mean 'column'"),
        ({"measure": {**GAIN, "kind": "contrst"}}, r"measure.*contrst"),
        ({"reportd": "1"}, r"reportd: unknown key; did you mean 'reported'"),
        ({"direction": {"above": 0, "below": 1}}, r"give one of above and below"),
        ({"direction": None, "reported": None}, r"give a reported figure, a direction, or both"),
        (
            {"measure": {"kind": "epochs", "runs": {"a": 1}, "field": "tst_loss", "take": "max"}},
            r"mean 'test_loss'",
        ),
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
    assert main(["claims", "--file", str(file), "--recorded", "--require", "dkd_collapse=undecided"]) == 0
    assert f"suite published, {len(of_the_logs.findings)} claims: " in capsys.readouterr().out
    assert main(["claims", "--file", str(file), "--require", "gaps=not-identified", "--require", "x=rounded"]) == 1
    assert "no claim 'x'" in capsys.readouterr().err
    assert main(["claims", "--file", str(file), "--require", "gaps=not-identified"]) == 1
    assert "gaps is 'matches the logs', required is 'not identified'" in capsys.readouterr().err
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
    assert required_verdicts(["a=not-tested"]) == {"a": "not tested"}


@pytest.mark.parametrize(
    ("numbers", "shown"),
    [
        ((-9.34, -10.58, -8.09), "-9.34 [-10.58, -8.09]"),
        ((0.04821, 0.04689, 0.0496), "0.0482 [0.0469, 0.0496]"),
        ((-0.00307, -0.00443, -0.00172), "-0.0031 [-0.0044, -0.0017]"),
        ((1.00076, 0.99826, 1.00326), "1.0008 [0.9983, 1.0033]"),
        ((5.0, 5.0, 5.0), "5 [5, 5]"),
        ((84.0, None, None), "84"),
        ((0.2, None, None), "0.20"),
        ((-0.0075, None, None), "-0.0075"),
    ],
)
def test_an_interval_is_printed_with_the_decimals_that_tell_its_ends_apart(
    numbers: tuple[float, float | None, float | None], shown: str
) -> None:
    value, low, high = numbers
    figure = Quantity(estimate=Estimate(value=value, seeds=1, low=low, high=high))
    assert figure.estimate is not None
    assert f"{value_text(figure.estimate)} {interval_text(figure.estimate)}".strip() == shown
