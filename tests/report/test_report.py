"""The report: strict and escaped templates, figures and tables all in it, and a PDF equal to the byte."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from crossres.base import CrossresError
from crossres.claims.audit import audit
from crossres.claims.claim import load_claims
from crossres.files import CLAIMS, shipped_record, suite_file
from crossres.records.record import Calibrated, Cost, Epoch, Evaluation, Provenance, Record, read_record
from crossres.records.summary import summarise
from crossres.report import exhibits, latex, rebuild, tables
from crossres.report.comparisons import Comparisons
from crossres.report.evidence import Evidence
from crossres.report.execution import Execution
from crossres.report.facts import Facts
from crossres.report.findings import Findings
from crossres.report.inputs import ReportInputs
from crossres.report.latex import Latex, escape, mono, sourced, with_mono_keys
from crossres.report.numbers import Number
from crossres.report.pdf import INSTALL_TEX, build_pdf
from crossres.report.setup import Setup
from crossres.report.tex import BuildInfo, environment, render_report
from crossres.suites.compare import SETTINGS
from crossres.suites.contrasts import PlannedContrast
from crossres.suites.datasets import DATASETS
from crossres.suites.methods import METHODS
from crossres.suites.spec import Augmentation, Budget, Model, Optimisation, Spec, View
from crossres.suites.suite import Factor, Suite, load_suite

ROOT = Path(__file__).parents[2]
PAPER = ROOT / "paper"
TEMPLATE = PAPER / "report"
BIBLIOGRAPHY = PAPER / "references.bib"
BUILD = BuildInfo(commit="0123456789abcdef")
STUB_PDF = b"""%PDF-1.4
1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj
2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj
3 0 obj<</Type/Page/Parent 2 0 R/MediaBox [ 0 0 WIDTH 100 ]/Contents 4 0 R>>endobj
4 0 obj<</Length 20>>stream
10 10 50 50 re S    
endstream endobj
trailer<</Root 1 0 R>>
"""

needs_latex = pytest.mark.skipif(shutil.which("latexmk") is None, reason="needs latexmk")
SPECIALS = r"a&b%c$d#e_f{g}h~i^j\k"


def synthetic(spec: Spec, accuracy: float, nonfinite: int | None = 0, stopped: bool = False) -> Record:
    """Return a record with a made-up history."""
    epochs = spec.optimisation.epochs // (2 if stopped else 1)
    history = [
        Epoch(
            epoch=epoch,
            learning_rate=spec.optimisation.learning_rate,
            train_loss=1.0,
            test_loss=2.0,
            test_accuracy_pct=accuracy * epoch / epochs,
            nonfinite_steps=nonfinite,
        )
        for epoch in range(1, epochs + 1)
    ]
    evaluation = Evaluation(epoch=epochs, top1_pct=accuracy)
    return Record(
        spec=spec,
        history=history,
        stopped_early=stopped,
        best=evaluation,
        last=evaluation,
        cost=Cost(parameters=50_000 if spec.teacher else 400_000, train_minutes=1.5),
        provenance=Provenance(device="CPU", precision="fp32", sources_sha256="0" * 64, data_sha256="1" * 64),
    )


def records_of(suite: Suite, budget: Budget | None = None, **options: object) -> list[Record]:
    return [
        synthetic(suite.resolve(run, seed, budget), 50.0 + index % 40 + seed / 10, **options)  # type: ignore[arg-type]
        for index, (run, seed) in enumerate(suite.jobs())
    ]


def stub_figures(suite: Suite, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(exhibits.names("figures", suite)):
        width = b"241" if index % 3 else b"497"
        (folder / f"{name}.pdf").write_bytes(STUB_PDF.replace(b"WIDTH", width))
    return folder


def inputs_of(suite: Suite, records: Sequence[Record]) -> ReportInputs:
    summary = summarise(records)
    return ReportInputs(suite, records, summary, audit(suite, records, summary, load_claims(ROOT / CLAIMS)))


def source_of(suite: Suite, records: Sequence[Record], folder: Path, build: BuildInfo = BUILD) -> str:
    """Render a report with stub figures and real tables under a folder."""
    inputs = inputs_of(suite, records)
    for name in exhibits.names("tables", suite):
        tables.write(name, inputs.summary, folder / "tables")
    figures = stub_figures(suite, folder / "figures")
    return render_report(inputs, figures, folder / "tables", build, template=TEMPLATE)


@pytest.fixture(scope="module")
def published() -> tuple[Suite, list[Record]]:
    suite = load_suite(ROOT / suite_file("published"))
    return suite, [read_record(ROOT / shipped_record("published", run, seed)) for run, seed in suite.jobs()]


@pytest.fixture(scope="module")
def demo() -> Suite:
    return load_suite(ROOT / suite_file("demo"))


@pytest.fixture(scope="module")
def published_tex(published: tuple[Suite, list[Record]], tmp_path_factory: pytest.TempPathFactory) -> str:
    return source_of(*published, tmp_path_factory.mktemp("published"))


def changed(suite: Suite, **update: object) -> Suite:
    return suite.model_copy(update=update)


def template_text() -> str:
    return "".join(path.read_text(encoding="utf-8") for path in TEMPLATE.glob("*.j2"))


def prose(text: str) -> str:
    return " ".join(text.replace("~", " ").replace(r"\,", " ").split())


# The environment


def test_every_inserted_text_is_escaped_unless_it_is_latex() -> None:
    env = environment(TEMPLATE)
    template = env.from_string(r"\VAR{name} \VAR{mark} \VAR{name ~ '%'} \VAR{name|mono}")
    escaped = r"a\&b\%c\$d\#e\_f\{g\}h\textasciitilde{}i\textasciicircum{}j\textbackslash{}k"
    text = template.render(name=SPECIALS, mark=Latex(r"\emph{x}"))
    assert text.startswith(rf"{escaped} \emph{{x}} {escaped}\% \texttt{{")


def test_unknown_names_and_missing_values_are_errors(published: tuple[Suite, list[Record]], tmp_path: Path) -> None:
    env = environment(TEMPLATE)
    with pytest.raises(Exception, match="'absent' is undefined"):
        env.from_string(r"\VAR{absent}").render()
    with pytest.raises(CrossresError, match="missing"):
        env.from_string(r"\VAR{x}").render(x=None)
    (tmp_path / "report.tex.j2").write_text(r"\VAR{vlaue('kd_32', 'accuracy_pct')}")
    with pytest.raises(CrossresError, match="vlaue"):
        render_report(inputs_of(*published), tmp_path, tmp_path, BUILD, template=tmp_path)


def test_facts_name_what_they_lack(published: tuple[Suite, list[Record]]) -> None:
    suite, records = published
    facts = Facts(suite, records, summarise(records))
    with pytest.raises(CrossresError, match="did you mean 'kd_32'"):
        facts.value("kd_23", "accuracy_pct")
    with pytest.raises(CrossresError, match="no column 'accuracy'"):
        facts.value("kd_32", "accuracy")
    with pytest.raises(CrossresError, match="no record of kd_32"):
        Facts(suite, [r for r in records if r.name != "kd_32"], summarise(records))


@pytest.mark.parametrize("kept", [0, 1])
def test_a_teacher_whose_test_loss_is_never_or_once_finite_is_reported(
    kept: int, published: tuple[Suite, list[Record]], tmp_path: Path
) -> None:
    suite, records = published
    sick = [
        record.model_copy(
            update={
                "history": [
                    epoch if number < kept else epoch.model_copy(update={"test_loss": None})
                    for number, epoch in enumerate(record.history)
                ]
            }
        )
        if record.name == "teacher_32"
        else record
        for record in records
    ]
    text = source_of(suite, sick, tmp_path)
    assert f"not finite in {200 - kept}" in text


def test_no_result_is_typed_into_the_template() -> None:
    text = template_text()
    lengths = r"\d*\.\d+\s*(\\linewidth|\\textwidth|\\textheight|in|cm|mm|pt|em|ex)\b"
    text = re.sub(lengths, "", text)
    text = re.sub(r"\\renewcommand\{\\\w+fraction\}\{\.\d+\}", "", text)
    assert re.findall(r"[^\n]*\d*\.\d+[^\n]*", text) == []


# What the report says


def test_the_report_shows_and_mentions_every_figure_and_table(
    published: tuple[Suite, list[Record]], published_tex: str
) -> None:
    path = published_tex.replace(r"\allowbreak{}", "")
    for kind, prefix in (("figures", "fig"), ("tables", "tab")):
        known = set(exhibits.names(kind, published[0]))
        assert known <= set(re.findall(rf"\\label\{{{prefix}:([^}}]+)\}}", published_tex))
        assert known <= set(re.findall(rf"\\ref\{{{prefix}:([^}}]+)\}}", published_tex))
        assert all(rf"\texttt{{{kind}/{escape(name)}.py}}" in path for name in known)


def test_the_findings_follow_the_logs(published: tuple[Suite, list[Record]], published_tex: str) -> None:
    facts = inputs_of(*published).facts
    findings = Findings(facts, Comparisons(facts))
    stop = findings.early_stop
    assert stop is not None and (stop.epoch, stop.planned_epochs, stop.patience_epochs) == (84, 300, 30)
    assert (str(stop.rate_share), str(stop.best), stop.best_epoch) == ("83", "66.85", 54)
    assert stop.at_equal_epochs == "2.16 points below v2 and 2.10 points below v3.1"
    assert findings.unstable_losses == {"teacher_32": 78}
    assert str(facts.gain("kd_64_to_32", "kd_32")) == "1.74"
    text = prose(published_tex)
    for said in ("69.01 \\%", "1.74 points", "970.02", "batch size (128 / 64)", "46.7 hours", "on the TEST set"):
        assert said in text, said


def test_printed_figures_are_compared_with_the_records(
    published: tuple[Suite, list[Record]], published_tex: str, demo: Suite, tmp_path: Path
) -> None:
    inputs = inputs_of(*published)
    evidence = Evidence(inputs.facts, inputs.audit)
    wrong = {
        ("118M", "117.4M"),
        ("21M", "20.3M"),
        ("5.6×", "5.78×"),
        ("224 px", "480 px"),
        ("1.74 points", "1.81 points"),
    }
    assert {tuple(row[2:4]) for row in evidence.wrong_rows} == wrong
    assert evidence.disagreeing == 10 < len(evidence.compared)
    assert r"v2 and v4 & 5.6$\times$ & 5.78$\times$" in published_tex
    assert r"\label{tab:printed}" not in source_of(demo, records_of(demo), tmp_path)


def test_the_audit_says_what_decided(published_tex: str) -> None:
    for said in (
        r"needed below $-$4.67",
        r"label smoothing (0 / 0.1), batch size (128 / 64), and no control was run",
        r"the suite has no run \texttt{teacher\_",
        "[0.81,~3.39]",
    ):
        assert said in published_tex, said


def test_planned_contrasts_stand_with_their_answers(demo: Suite, published_tex: str, tmp_path: Path) -> None:
    contrast = {"title": "64 % of β", "runs": {"kd_64_to_32": 1, "kd_32": -1}, "supported_if": {"below": 90}}
    suite = changed(demo, seeds=(1, 2), contrasts={"c": PlannedContrast.parse(contrast, "c")})
    tex = source_of(suite, records_of(suite), tmp_path)
    (row,) = [line for line in tex.splitlines() if line.startswith(r"64 \% of")]
    assert row.endswith("supported \\\\") and "below 90" in row
    assert r"\label{tab:contrasts}" not in published_tex


def test_half_widths_are_promised_where_there_are_any(demo: Suite, tmp_path: Path) -> None:
    one_seed = {run: demo.runs[run].model_copy(update={"seeds": (1,)}) for run in ("teacher_32", "teacher_64")}
    factors = {
        "teacher": Factor(title="One seed", levels={"32": "teacher_32", "64": "teacher_64"}),
        "beta": Factor(title="Two seeds", levels={"β = 2": "dkd_beta2", "β = 8": "dkd_beta8"}),
    }
    suite = changed(demo, seeds=(1, 2), factors=factors, runs={**demo.runs, **one_seed})
    tex = source_of(suite, records_of(suite), tmp_path)
    assert r"\emph{One seed}" in tex and r"\emph{Two seeds}" in tex
    assert r"teacher\_64} & 51.10 & +1.00 \\" in tex.replace(r"\allowbreak{}", "")
    assert r"beta8} & 56.65 $\pm$ 6.99 & $-$2.00 $\pm$ 0.00 \\" in tex
    assert r"\label{tab:pairs}" not in tex


def test_a_source_is_set_word_by_word_and_no_suffix_is_torn_off() -> None:
    assert sourced("https://host.org/a/b, README.md at commit 68fc1581138e5d80") == (
        mono("https://host.org/a/b") + ", " + r"\texttt{README.md} at commit \texttt{68fc1581138e5d80}"
    )
    assert mono("a/b.c.py") == r"\texttt{a/\allowbreak{}b.\allowbreak{}c.py}"
    assert sourced("the defaced README of 2025") == "the defaced README of 2025"


def test_calibration_is_reported_where_it_was_measured(demo: Suite) -> None:
    inputs = inputs_of(demo, records_of(demo))
    assert Evidence(inputs.facts, inputs.audit).calibration_rows == []
    update = {"calibrated": Calibrated(temperature=1.5, nll=1.0, ece=0.02, brier=0.5)}
    best = {"nll": 1.25, "ece": 0.125}
    inputs = inputs_of(
        demo, [r.model_copy(update={**update, "best": r.best.model_copy(update=best)}) for r in inputs.records]
    )
    assert ["v2", "1.500", "1.250", "1.000", "0.125", "0.020"] in Evidence(inputs.facts, inputs.audit).calibration_rows


def test_a_suite_without_the_thesis_runs_gets_no_sentence_about_them(demo: Suite, tmp_path: Path) -> None:
    suite = changed(demo, runs={name: demo.runs[name] for name in ("teacher_32", "dkd_beta2")}, notice=None)
    text = source_of(suite, records_of(suite), tmp_path)
    assert "An early stop" not in text
    assert "fig5_zoomed_convergence" not in text
    assert "Notice." not in text


def test_several_seeds_and_runs_alone_are_said(demo: Suite, tmp_path: Path) -> None:
    suite = changed(demo, seeds=(1, 2, 3), runs={**demo.runs, "ce_32": demo.runs["teacher_32"]})
    text = prose(source_of(suite, records_of(suite, nonfinite=None), tmp_path))
    assert "1 network that learns from the labels alone" in text
    assert "seeds 1, 2 and 3" in text
    assert "One seed per run" not in text
    assert "Non-finite steps were not counted" in text


def test_a_teacher_that_is_trained_once_for_several_seeds_is_a_limitation(
    demo: Suite, published: tuple[Suite, list[Record]]
) -> None:
    assert Facts(demo, records_of(demo), summarise(records_of(demo))).shared_teachers == ["teacher_32", "teacher_64"]
    assert not Facts(*published, summarise(published[1])).shared_teachers


def test_keys_in_a_reason_are_set_in_typewriter() -> None:
    assert with_mono_keys("no run kd_32 & v2").startswith(r"no run \texttt{kd\_")
    assert with_mono_keys("no run kd_32 & v2").endswith(r"32} \& v2")


def parsed(**runs: dict[str, object]) -> Suite:
    """A suite of one's own on generated images, of tiny networks."""
    model = {"name": "crossres/tiny_teacher", "pretrained": False}
    return Suite.parse(
        {
            "suite": "own",
            "title": "Own",
            "dataset": {"name": "shapes"},
            "runs": {k: {"model": model, **v} for k, v in runs.items()},
        },
        "own.yaml",
    )


def test_passes_that_no_run_counts_are_told(demo: Suite) -> None:
    records = records_of(demo)
    assert not Execution(Facts(demo, records, summarise(records))).reads_stored_logits
    cost = records[-1].cost.model_copy(update={"stored_epochs": 3})
    records[-1] = records[-1].model_copy(update={"cost": cost})
    assert Execution(Facts(demo, records, summarise(records))).reads_stored_logits


def test_a_suite_of_one_run_has_a_report(tmp_path: Path) -> None:
    suite = parsed(alone={"objective": {"method": "ce"}, "optimisation": {"epochs": 40, "select": "best_on_test"}})
    tex = source_of(suite, records_of(suite), tmp_path)
    text = prose(tex)
    assert "presents 1 run on a generated set of shapes: 1 network that learns from the labels alone." in text
    assert r"\section{Findings}" not in tex
    assert "last ten epochs by 6.10 points." in text
    assert "Training took 90.0 seconds in all." in text
    assert r"Table \ref{tab:shared} gives all settings." in text
    assert "fig4_retention_bar" not in text
    assert "difference between runs" not in text and "difference between two runs" not in text
    if shutil.which("latexmk"):
        build_pdf(tex, tmp_path / "report.pdf", BIBLIOGRAPHY, tmp_path)
        assert "Limitations" in text_of(tmp_path / "report.pdf")


def test_a_teacher_that_is_never_right_leaves_retention_undefined(demo: Suite, tmp_path: Path) -> None:
    specs = [demo.resolve(run, seed) for run, seed in demo.jobs()]
    wrong = [synthetic(spec, 0.0 if spec.teacher is None else 30.0) for spec in specs]
    assert summarise(wrong)["retention_pct"].isna().all()
    text = prose(source_of(demo, wrong, tmp_path))
    assert "fig4_retention_bar" not in text


def test_the_time_of_a_part_is_in_the_unit_of_the_whole(demo: Suite) -> None:
    suite = changed(demo, seeds=(1,))
    runs = len(suite.runs)
    for minutes, whole, part in (
        (0.01, f"{0.6 * runs:.1f}", "1.2\u00a0seconds"),
        (3, f"{3 * runs:.1f}", "6.0\u00a0minutes"),
        (60, f"{runs:.1f}", "2.0\u00a0hours"),
    ):
        cost = {"cost": Cost(parameters=1, train_minutes=minutes)}
        records = [record.model_copy(update=cost) for record in records_of(suite)]
        execution = Execution(Facts(suite, records, summarise(records)))
        assert (execution.training_time().split("\u00a0")[0], execution.training_time("teacher")) == (whole, part)


def test_every_setting_of_a_spec_can_be_reported() -> None:
    """A setting that the table leaves out would let two runs pass as equal."""
    parts = {
        "model": Model,
        "view": View,
        "teacher_view": View,
        "augmentation": Augmentation,
        "optimisation": Optimisation,
    }
    fields = {f"{part}.{name}" for part, model in parts.items() for name in model.model_fields}
    fields |= {f"objective.{name}" for method in METHODS for name in method.model_fields} - {"objective.method"}
    assert {setting.path for setting in SETTINGS} == fields | {"teacher", "objective.title"}
    assert len({setting.name for setting in SETTINGS}) == len(SETTINGS)
    assert all(method.title for method in METHODS)


def test_the_appendix_names_the_versions_of_the_records_and_none_of_the_builder(demo: Suite, tmp_path: Path) -> None:
    records = records_of(demo)
    assert "Versions" not in source_of(demo, records, tmp_path)
    made = {"versions": {"python": "3.11.2", "torch": "2.6.0"}}
    records = [r.model_copy(update={"provenance": r.provenance.model_copy(update=made)}) for r in records]
    assert "Versions: python 3.11.2, torch 2.6.0" in prose(source_of(demo, records, tmp_path))


@pytest.mark.parametrize(
    ("stale", "counted"),
    [(None, "All {} records were"), (3, "3 of the {} records were"), (1, "1 of the {} records was"), (0, None)],
)
def test_stale_records_are_flagged_and_counted(
    stale: int | None, counted: str | None, demo: Suite, tmp_path: Path
) -> None:
    suite, now = changed(demo, seeds=(1,)), {"sources_sha256": "f" * 64}
    records = records_of(suite)
    stale = len(records) if stale is None else stale
    new = [r.model_copy(update={"provenance": r.provenance.model_copy(update=now)}) for r in records]
    text = prose(source_of(suite, [*records[:stale], *new[stale:]], tmp_path, BuildInfo(sources_sha256="f" * 64)))
    assert f"{counted.format(len(records))} computed with" in text if counted else "Older training code" not in text


def test_the_report_says_where_its_suite_and_records_are_from(demo: Suite, tmp_path: Path) -> None:
    text = prose(source_of(demo, records_of(demo), tmp_path)).replace(r"\allowbreak{}", "")
    assert r"is defined in \texttt{workflow/suites/demo.yaml}; it has" in text
    assert r"\texttt{snakemake {}-cores all {}-config suite=demo}".replace("{}-", "-{}-") in text
    assert "computed earlier" not in text
    some = BuildInfo(given=[run for run in demo.runs if run != "kd_32"])
    text = prose(source_of(demo, records_of(demo), tmp_path, some)).replace(r"\allowbreak{}", "")
    assert r"Those of v2 were computed for this report; the others are read from \texttt{paper/records/demo}" in text
    assert r"\textquotesingle{}records=[kd\_32]\textquotesingle{}" in text
    shipped = BuildInfo(given=list(demo.runs))
    text = prose(source_of(demo, records_of(demo), tmp_path, shipped)).replace(r"\allowbreak{}", "")
    assert "computed earlier" in text and r"\texttt{records=shipped}" in text


def test_a_suite_of_ones_own_is_not_passed_off_as_the_projects(tmp_path: Path) -> None:
    suite = parsed(alone={"objective": {"method": "ce"}, "optimisation": {"epochs": 6}})
    build = BuildInfo(suite_file=Path("/home/someone/mine/own file.yaml"))
    text = prose(source_of(suite, records_of(suite), tmp_path, build)).replace(r"\allowbreak{}", "")
    assert "someone" not in text
    assert r"\texttt{own file.yaml}, a file outside the project; it has" in text
    assert r"suite=/path/to/own file.yaml" in text and "where /path/to stands for the folder of own file.yaml:" in text
    assert "thesis" not in text.lower() and "alrawahi" not in text.lower()


def test_a_suite_of_ones_own_shows_every_figure(published: tuple[Suite, list[Record]], tmp_path: Path) -> None:
    tex = source_of(*published, tmp_path, BuildInfo(suite_file=tmp_path / "mine.yaml"))
    labels, referred = (set(re.findall(rf"\\{mark}\{{((?:fig|tab):\w+)\}}", tex)) for mark in ("label", "ref"))
    assert referred <= labels and {f"fig:{name}" for name in exhibits.names("figures", published[0])} <= labels


def test_a_suite_s_own_template_fills_the_report(demo: Suite, tmp_path: Path) -> None:
    suite = parsed(alone={"objective": {"method": "ce"}, "optimisation": {"epochs": 6}})
    build = BuildInfo(suite_file=tmp_path / "published.yaml")
    assert r"\title{Own}" in source_of(suite, records_of(suite), tmp_path, build)
    template = r'\BLOCK{ extends "report.tex.j2" }\BLOCK{ block title }My \VAR{facts.cast}\BLOCK{ endblock }'
    (tmp_path / "published.tex.j2").write_text(template)
    assert r"\title{My 1 network" in source_of(suite, records_of(suite), tmp_path, build)
    (tmp_path / "published.tex.j2").write_text(r"\VAR{nothing}")
    with pytest.raises(CrossresError, match=r"published.tex.j2: 'nothing' is undefined"):
        source_of(suite, records_of(suite), tmp_path, build)


def test_where_no_claim_is_tested_the_audit_is_a_sentence(demo: Suite, tmp_path: Path) -> None:
    suite = parsed(one={"objective": {"method": "ce"}, "optimisation": {"epochs": 6}})
    tex = source_of(suite, records_of(suite), tmp_path)
    for label in (r"\label{tab:claims}", r"\subsection{Controls}"):
        assert label in source_of(demo, records_of(demo), tmp_path) and label not in tex


@pytest.mark.parametrize("name", ["paper", "controls", "lite", "lite-exploratory"])
def test_a_suite_of_the_project_says_what_the_thesis_claims_and_what_came_out(name: str, tmp_path: Path) -> None:
    suite = load_suite(suite_file(name))
    text = prose(source_of(suite, records_of(suite), tmp_path))
    assert "Alrawahi, Nankai University" in text and r"\section{Related work}" in text
    assert r"\label{tab:headline}" in text and "Incomplete" not in text


def test_while_planned_seeds_are_missing_the_report_says_so_and_decides_nothing(tmp_path: Path) -> None:
    suite = load_suite(suite_file("lite"))
    records = [record for record in records_of(suite) if record.spec.seed < 4]
    inputs = inputs_of(suite, records)
    audit = inputs.audit
    assert {found.verdict for found in [*audit.contrasts, *audit.findings]} == {"undecided", "not tested"}
    text = prose(source_of(suite, records, tmp_path))
    assert f"{inputs.facts.missing} of the {len(suite.jobs())} records that the suite plans are missing" in text


def facts_of(suite: Suite, budget: Budget | None = None) -> Facts:
    records = records_of(suite, budget)
    return Facts(suite, records, summarise(records))


def test_the_command_to_rebuild_can_be_pasted(demo: Suite) -> None:
    file = suite_file("demo")
    assert rebuild.how_to_rebuild(facts_of(demo), file, ()).command == ["snakemake --cores all --config suite=demo"]
    facts = facts_of(demo, Budget(epochs=2, train_images=100, pretrained=False))
    command = rebuild.how_to_rebuild(facts, Path("/mine/a b.yaml"), ["kd_32", "dkd_beta8"]).command
    told = ["bash", "-c", "\n".join(command).replace("snakemake", "printf '%s\\n'")]
    words = subprocess.run(told, capture_output=True, text=True, check=True).stdout.splitlines()
    computed = ", ".join(run for run in demo.runs if run not in ("kd_32", "dkd_beta8"))
    assert words[:-1] == ["--cores", "all", "--config", "suite=/path/to/a b.yaml", f"records=[{computed}]"]
    assert yaml.safe_load(words[-1].removeprefix("budget=")) == {"epochs": 2, "train_images": 100, "pretrained": False}
    records = [record for record in facts_of(demo).records if record.spec.seed == 1]
    command = rebuild.how_to_rebuild(Facts(demo, records, summarise(records)), file, ()).command
    assert command == ["snakemake --cores all --config suite=demo \\", "'seeds=[1]'"]


def test_the_file_of_a_suite_is_named_by_its_place(demo: Suite, tmp_path: Path) -> None:
    root, facts = tmp_path / "project", facts_of(demo)
    (root / "workflow/suites").mkdir(parents=True)
    for file, place, outside, chosen_by in (
        (Path("workflow/suites/mini.yaml"), "workflow/suites/mini.yaml", False, "mini"),
        (root / "workflow/suites/mini.yaml", "workflow/suites/mini.yaml", False, "mini"),
        (Path("mine/x.yml"), "mine/x.yml", False, "mine/x.yml"),
        (tmp_path / "x.yaml", "x.yaml", True, "/path/to/x.yaml"),
        (Path("../x.yaml"), "x.yaml", True, "/path/to/x.yaml"),
    ):
        command = [f"snakemake --cores all --config suite={chosen_by}"]
        assert rebuild.how_to_rebuild(facts, file, (), root) == (place, outside, command)


def test_given_runs_are_told_by_their_files(demo: Suite) -> None:
    files = [shipped_record("demo", "kd_32", 1), Path("results/demo/dkd_beta2/seed1/record.json")]
    assert rebuild.given_runs(demo, files) == ["kd_32"]
    assert rebuild.given_runs(demo, files[1:]) == []


@pytest.mark.parametrize("name", ["cifar100", "cifar10", "shapes"])
def test_the_data_set_is_named(name: str, demo: Suite, tmp_path: Path) -> None:
    suite = changed(demo, dataset=demo.dataset.model_copy(update={"name": name}))
    text = prose(source_of(suite, records_of(suite), tmp_path))
    info = DATASETS[name]
    assert f"The data are {info.title}" in text and f"of {info.classes} classes" in text
    assert ("in the file format of CIFAR-100" in text) == (info.generator is not None)
    policy = "with the policy found for CIFAR-10"
    assert f"{policy}, normalisation" in text if name == "cifar10" else f"{policy} (torchvision" in text


def test_a_budget_cuts_what_the_report_says_of_the_data_set(demo: Suite) -> None:
    assert Setup(facts_of(demo)).train_images == 4_000
    setup = Setup(facts_of(demo, Budget(train_images=100)))
    assert (setup.train_images, setup.test_images) == (100, 1_000)


def test_missing_figures_and_tables_are_named(published: tuple[Suite, list[Record]], tmp_path: Path) -> None:
    inputs = inputs_of(*published)
    with pytest.raises(CrossresError, match="the report needs the figure"):
        render_report(inputs, tmp_path, tmp_path, BUILD, template=TEMPLATE)
    figures = stub_figures(inputs.suite, tmp_path / "figures")
    with pytest.raises(CrossresError, match="the report needs the table"):
        render_report(inputs, figures, tmp_path, BUILD, template=TEMPLATE)


def test_every_table_is_numbered_and_cited_and_every_exhibit_names_its_file(tmp_path: Path) -> None:
    suite = load_suite(suite_file("mini"))
    records = [read_record(shipped_record("mini", run, seed)) for run, seed in suite.jobs()]
    tex = source_of(suite, records, tmp_path)
    tables = [block.split(r"\end{table}")[0] for block in tex.split(r"\begin{table}")[1:]]
    assert tables and all(r"\label{tab:" in block or r"\ContinuedFloat" in block for block in tables)
    cited = set(re.findall(r"\\ref\{(tab:\w+)\}", tex.replace(" to~", "~")))
    labels = re.findall(r"\\label\{(tab:\w+)\}", tex)
    assert not [label for label in labels if label not in cited and not label.startswith("tab:factor")]
    assert set(re.findall(r"\\madeby\{(\w+)\}", tex)) == set(re.findall(r"\\hypertarget\{source:(\w+)\}", tex))


def test_all_references_are_cited() -> None:
    keys = set(re.findall(r"^@\w+\{([^,]+),", BIBLIOGRAPHY.read_text(encoding="utf-8"), re.MULTILINE))
    cited = re.findall(r"\\cite\w*\{([\w,]+)\}", template_text() + "".join(method.in_report("") for method in METHODS))
    cited += [dataset.citation for dataset in DATASETS.values()]
    figures = "".join(exhibits.module_file("figures", name).read_text("utf-8") for name in exhibits.names("figures"))
    cited += re.findall(r"\[cite:([\w-]+)\]", figures)
    used = {key.strip() for group in cited for key in group.split(",")}
    assert not used - keys, "cited, but not in paper/references.bib"
    assert not keys - used, "in paper/references.bib, but never cited"


# The PDF


def document(body: str) -> str:
    return rf"\documentclass{{article}}\usepackage{{natbib}}\begin{{document}}{body}\end{{document}}"


def text_of(pdf: Path) -> str:
    pypdf = pytest.importorskip("pypdf")
    return " ".join(" ".join(page.extract_text() for page in pypdf.PdfReader(pdf).pages).split())


@pytest.mark.slow
@needs_latex
def test_the_pdf_is_equal_to_the_byte_wherever_it_is_built(
    published: tuple[Suite, list[Record]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pdfs = []
    for folder in (tmp_path / "one", tmp_path / "another" / "place"):
        tex = source_of(*published, folder)
        temporary = folder / "temporary"
        temporary.mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(temporary))
        monkeypatch.chdir(folder)
        assert build_pdf(tex, folder / "report.pdf", BIBLIOGRAPHY, folder) == []
        assert list(temporary.iterdir()) == []
        pdfs.append((folder / "report.pdf").read_bytes())
    assert pdfs[0] == pdfs[1]
    assert b"/CreationDate" not in pdfs[0]


@pytest.mark.slow
@needs_latex
def test_the_first_page_of_a_truncated_demo_says_so(demo: Suite, tmp_path: Path) -> None:
    budget = Budget(epochs=2, train_images=100)
    suite = changed(demo, runs={**demo.runs, SPECIALS: demo.runs["kd_32"].model_copy(update={"thesis_id": None})})
    tex = source_of(suite, records_of(suite, budget, nonfinite=3), tmp_path)
    build_pdf(tex, tmp_path / "report.pdf", BIBLIOGRAPHY, tmp_path)
    text = text_of(tmp_path / "report.pdf")
    assert "Small networks were trained for minutes on generated images" in text
    assert f"All {len(suite.jobs())} records in this report are truncated" in text
    assert "are truncated: training was cut by a budget (train images 100 and epochs 2)" in text
    assert f"Non-finite steps. In {2 * 3 * len(suite.jobs())} training steps" in text
    assert SPECIALS in text.replace(" ", "")


@pytest.mark.slow
@needs_latex
def test_a_thousand_records_are_reported(demo: Suite, tmp_path: Path) -> None:
    """Nothing grows with the square of the runs. The bounds are several times what two cores take."""
    student = demo.runs["kd_32"].model_copy(update={"thesis_id": None})
    weights = [round(0.1 + number / 1000, 3) for number in range(200)]
    students = {
        f"kd_{weight}".replace(".", "_"): student.model_copy(
            update={"objective": student.objective.model_copy(update={"kd_weight": weight})}
        )
        for weight in weights
    }
    teachers = {name: run for name, run in demo.runs.items() if run.teacher is None}
    suite = changed(demo, runs={**teachers, **students}, seeds=(1, 2, 3, 4, 5), factors={})
    records = [synthetic(suite.resolve(*job), 50.0 + index % 40) for index, job in enumerate(suite.jobs())]
    assert len(records) >= 1_000
    started = time.process_time()
    tex = source_of(suite, records, tmp_path)
    assert time.process_time() - started < 30
    assert build_pdf(tex, tmp_path / "report.pdf", BIBLIOGRAPHY, tmp_path) == []
    assert all(label in text_of(tmp_path / "report.pdf").replace(" ", "") for label in list(students)[::50])


PRINTED = sorted({char for char in map(chr, range(33, 0x3000)) if "U+" not in escape(char)})


@pytest.mark.slow
@needs_latex
def test_every_character_of_a_title_prints_or_is_named(demo: Suite, tmp_path: Path) -> None:
    """The whole of what is let through is set; everything else is refused before anything is built."""
    words = " ".join(f"{escape(char)} {mono(char)}" for char in PRINTED)
    preamble = (TEMPLATE / "preamble.tex.j2").read_text(encoding="utf-8")
    packages = "".join(re.findall(r"(?m)^\\usepackage.*\n", preamble))
    tex = rf"\documentclass{{article}}{packages}\begin{{document}}\section{{{words}}}\end{{document}}"
    build_pdf(tex, tmp_path / "report.pdf", BIBLIOGRAPHY, tmp_path)
    found = text_of(tmp_path / "report.pdf")
    assert [char for char in PRINTED if char.isalpha() and char.isascii() and char not in found] == []
    for title in ("“Curly” – ‘quotes’ • β ≥ α → ∞", "e\u0301", "Škoda\u00a0…\n"):
        latex.check_titles(demo.model_copy(update={"title": title}), Path("a.yaml"))
    for title, name in (("Ħ", "U\\+0126"), ("x\u0325", "U\\+0325"), ("漢", "U\\+6F22"), ("a\u200bb", "U\\+200B")):
        with pytest.raises(CrossresError, match=name):
            latex.check_titles(demo.model_copy(update={"title": title}), Path("a.yaml"))
        with pytest.raises(CrossresError, match=name):
            latex.check_titles(demo.model_copy(update={"notice": f"so {title}"}), Path("a.yaml"))


@needs_latex
@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (r"\ref{nowhere}", "Reference `nowhere'"),
        (r"\citep{nobody}\bibliographystyle{plainnat}\bibliography{references}", "Citation `nobody'"),
        (r"\undefinedmacro", "! Undefined control sequence"),
    ],
)
def test_latex_errors_are_named_and_the_log_is_kept(body: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(CrossresError, match=re.escape(problem)) as caught:
        build_pdf(document(body), tmp_path / "out" / "report.pdf", BIBLIOGRAPHY, tmp_path)
    assert str(tmp_path / "out" / "report.log") in str(caught.value)
    assert (tmp_path / "out" / "report.log").stat().st_size
    assert not (tmp_path / "out" / "report.pdf").exists()
    assert "\n" not in str(caught.value)


@needs_latex
def test_overfull_lines_are_reported(tmp_path: Path) -> None:
    found = build_pdf(document(r"\hbox to 20pt{\rule{40pt}{1pt}}"), tmp_path / "x.pdf", BIBLIOGRAPHY, tmp_path)
    assert len(found) == 1
    assert "20.0pt too wide" in found[0]


def test_without_latex_the_message_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CrossresError) as caught:
        build_pdf(document("x"), tmp_path / "report.pdf", BIBLIOGRAPHY, tmp_path)
    assert INSTALL_TEX in str(caught.value)
    assert "apt-get install" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_difference_is_worded_by_its_sign_at_the_printed_precision() -> None:
    words = ("above", "below", "level with")
    assert Number(1.744, 2).worded(*words) == "1.74 points above"
    assert Number(-0.5, 2).worded(*words) == "0.50 points below"
    assert Number(0.004, 2).worded(*words) == "level with"
