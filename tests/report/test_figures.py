"""Figures: the contract of a figure's file, what is drawn, and files equal to the byte."""

import ast
import math
import random
import re
from pathlib import Path

import pytest
from matplotlib.text import Text
from pypdf import PdfReader

from crossres.base import CrossresError
from crossres.claims.finding import ContrastFinding, Estimate
from crossres.files import suite_file
from crossres.records.record import Epoch, ParameterGradients, Probed, Record, Reliability, Teaching, read_record
from crossres.records.summary import summarise
from crossres.report import exhibits, figures, html
from crossres.report.drawing import choice, style
from crossres.report.drawing.data import RunData
from crossres.report.drawing.labels import spread
from crossres.report.facts import Facts
from crossres.suites.grids import Grid
from crossres.suites.suite import load_suite

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
NAMES = exhibits.names("figures")
NO_DATA = {"fig6_cross_resolution_mechanism"}


@pytest.fixture(scope="session")
def published() -> list[Record]:
    """The thesis's own runs."""
    records = [read_record(path) for path in sorted((ROOT / "paper/records/published").glob("*/seed*.json"))]
    return [_probed(record) if record.name == "dkd_beta8" else record for record in records]


def _probed(record: Record) -> Record:
    """The thesis had no probe: give a record one, with figures that follow from the epoch alone."""
    fields = dict.fromkeys(Probed.model_fields.keys() - {"parameter_gradients"}, 0.5)

    def probe(epoch: Epoch, shift: float) -> Probed:
        cosine = math.cos(epoch.epoch / 10 + shift)
        norms = {f"{name}_norm": (rank + 1) / epoch.epoch for rank, name in enumerate(("ce", "tckd", "nckd"))}
        return Probed(**{**fields, **norms, "cos_ce_nckd": cosine, "cos_tckd_nckd": -cosine})

    history = [
        epoch.model_copy(
            update={"probe": {kind: probe(epoch, shift) for shift, kind in enumerate(("clean", "mixup", "cutmix"))}}
        )
        for epoch in record.history
    ]
    return record.model_copy(update={"history": history})


@pytest.fixture(scope="session")
def short(published: list[Record]) -> list[Record]:
    """A suite of two seeds and few epochs; one run the thesis does not have, and one stopped at two epochs."""
    extra = next(record for record in published if record.name == "kd_32")
    spec = extra.spec.model_copy(update={"run": "kd_32_again", "thesis_id": None})
    runs = [*published, extra.model_copy(update={"spec": spec})]
    return [
        _cut(record, seed, 16 if record.name != "dkd_beta2" else 10 + 3 * seed) for record in runs for seed in (0, 1)
    ]


@pytest.fixture(scope="session")
def measured(short: list[Record]) -> list[Record]:
    """The same with everything that is measured where a record is computed."""
    return [_measured(record) for record in short]


def _at_parameters(probe: Probed) -> Probed:
    gradients = {field: -getattr(probe, field) for field in ParameterGradients.model_fields}
    norms = {field: -value for field, value in gradients.items() if field.endswith("_norm")}
    return probe.model_copy(update={"parameter_gradients": ParameterGradients(**{**gradients, **norms})})


def _measured(record: Record) -> Record:
    noise = random.Random(f"{record.name} {record.spec.seed}")
    own = record.spec.view.resolution_px * (4 if record.spec.teacher is None else 1) / 1000
    history = [
        epoch.model_copy(update={"probe": {kind: _at_parameters(probe) for kind, probe in epoch.probe.items()}})
        for epoch in record.history
    ]
    history = [
        epoch.model_copy(update={"grad_norm": 5 * noise.random() + 0.1, "clipped_share": noise.random()})
        for epoch in history
    ]
    share = [(index + 0.5) / 15 for index in range(15)]
    bins = Reliability(images=[600] * 14 + [1600], confidence=share, accuracy=[value * 0.9 for value in share])
    best = record.best.model_copy(
        update={"reliability": bins, "per_class_pct": [100 * noise.random() for _ in range(100)]}
    )
    confusion = [[noise.randrange(1, 100) for _ in range(20)] for _ in range(20)]
    taught = Teaching(top1_pct=76.0, nll=1.0, agreement_pct=70 + 10 * noise.random(), kl=0.2)
    update = {"history": history, "best": best, "superclass_confusion": confusion}
    cost = record.cost.model_copy(update={"gmacs": own})
    return record.model_copy(update={**update, "cost": cost, "teaching": taught if record.spec.teacher else None})


def _cut(record: Record, seed: int, epochs: int) -> Record:
    noise = random.Random(f"{record.name} {seed}")
    history = [
        epoch.model_copy(update={"test_accuracy_pct": epoch.test_accuracy_pct + noise.random()})
        for epoch in record.history[:epochs]
    ]
    top = max(history, key=lambda epoch: epoch.test_accuracy_pct)
    update = {"seed": seed, "teacher_seed": None if record.spec.teacher is None else seed}
    best = record.best.model_copy(update={"epoch": top.epoch, "top1_pct": top.test_accuracy_pct})
    changed = {"spec": record.spec.model_copy(update=update), "history": history, "best": best}
    return record.model_copy(update={**changed, "stopped_early": epochs < 16})


@pytest.fixture(scope="session")
def mini() -> list[Record]:
    """Runs of three seeds whose lines end close together, each at its own epoch."""
    return [read_record(path) for path in sorted((ROOT / "paper/records/mini").glob("*/seed*.json"))]


@pytest.fixture(scope="session", params=["published", "short", "mini", "measured"])
def drawn(request):
    """Every figure of a suite, drawn once."""
    records = request.getfixturevalue(request.param)
    names = [name for name in NAMES if can_draw(name, records)]
    with style.journal():
        yield {name: draw(name, records) for name in names}


CONTRASTS = [
    ContrastFinding(
        id=f"{column}_{index}",
        title="DKD (β = 8) minus KD, under the strong recipe minus under crop and flip",
        claim=None,
        family="primary" if index else None,
        column=column,
        condition=("above −10", "below 0")[index],
        reported="−9.34 points" if index else None,
        estimate=Estimate(value=-2.5, seeds=5, low=-4.0, high=-1.0, chance="seed") if column != "best_epoch" else None,
        verdict="supported" if index else "not tested",
        reason="",
    )
    for column in ("accuracy_pct", "gap_closed_pct", "best_epoch")
    for index in (0, 1)
]


def can_draw(name: str, records: list[Record]) -> bool:
    module = figures.load(name)
    return set(module.RUNS) <= {record.name for record in records} and exhibits.has_data(module, records)


def draw(name: str, records: list[Record]):
    with style.journal():
        return figures.load(name).draw(RunData(summarise(records), records, CONTRASTS))


def _lines(figure, colour: str):
    return [
        line for axes in figure.axes for line in axes.lines if line.get_color() == colour and len(line.get_xdata()) > 2
    ]


@pytest.mark.parametrize("name", NAMES)
def test_no_result_is_typed_by_hand(name, published):
    source = exhibits.module_file("figures", name).read_text(encoding="utf-8")
    assert not re.search(r"\d\d\.\d\d", source)
    results = {round(value, 2) for r in published for value in (r.best.top1_pct, r.last.top1_pct)}
    typed = {node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)}
    assert not results & {value for value in typed if isinstance(value, float)}


def test_axes_are_labelled_and_have_no_title(drawn):
    for name, figure in drawn.items():
        assert figure.get_suptitle() == ""
        for axes in figure.axes:
            assert axes.get_title() == ""
            if name in NO_DATA or not axes.has_data() or axes.get_label() == "<colorbar>":
                continue
            below = [other for other in axes.get_shared_x_axes().get_siblings(axes) if other.get_xlabel()]
            beside = [other for other in axes.get_shared_y_axes().get_siblings(axes) if other.get_ylabel()]
            assert (below or axes.get_xlabel()) and (beside or axes.get_ylabel()), name


def test_text_is_legible_and_inside_the_figure(drawn):
    for name, figure in drawn.items():
        figure.draw_without_rendering()
        page = figure.bbox
        assert min(text.get_fontsize() for text in figure.findobj(Text) if text.get_text()) >= style.SMALL_PT
        for text in (text for axes in figure.axes for text in axes.texts):
            box = Text.get_window_extent(text)
            assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= page.x1 + 1 and box.y1 <= page.y1 + 1, (name, text)


def test_labels_do_not_overlap(drawn):
    for name, figure in drawn.items():
        figure.draw_without_rendering()
        for axes in figure.axes:
            boxes = [Text.get_window_extent(text).padded(-1) for text in axes.texts if text.get_text()]
            assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i]), name


def test_labels_keep_clear_of_the_horizontal_axis(drawn):
    for name, figure in drawn.items():
        figure.draw_without_rendering()
        for axes in (axes for axes in figure.axes if axes.axison):
            frame = axes.get_window_extent()
            for text in (text for text in axes.texts if text.get_text()):
                box = Text.get_window_extent(text)
                assert box.y0 > frame.y0 or box.x0 > frame.x1 or box.x1 < frame.x0, (name, text)


def test_leaders_cross_no_label(drawn):
    for name, figure in drawn.items():
        figure.canvas.draw()
        for axes in figure.axes:
            boxes = [Text.get_window_extent(text).padded(-1) for text in axes.texts if text.get_text()]
            for text in axes.texts:
                if leader := getattr(text, "arrow_patch", None):
                    path = leader.get_transform().transform_path(leader.get_path())
                    assert not any(path.intersects_bbox(box, filled=False) for box in boxes), (name, text)


def test_seeds_keep_clear_of_the_percentages(drawn):
    figure = drawn["fig4_retention_bar"]
    figure.draw_without_rendering()
    for axes in figure.axes:
        marks = [
            x for line in axes.lines if line.get_marker() == "|" for x in axes.transData.transform(line.get_xydata())
        ]
        boxes = [Text.get_window_extent(text).padded(2 * figure.dpi / 72) for text in axes.texts]
        assert not [mark for mark in marks for box in boxes if box.contains(*mark)]


def test_stopped_run_ends_at_its_last_epoch(published):
    data = RunData(summarise(published), published)
    last = data.longest("dkd_beta8").history[-1].epoch
    assert data.curve("dkd_beta8", "test_loss")["epoch"].max() == last
    for name in ("fig1a_loss_kd_vs_dkd", "fig2_dkd_beta_comparison", "fig3_accuracy_all"):
        lines = _lines(draw(name, published), data.look("dkd_beta8").colour)
        assert lines and {line.get_xdata()[-1] for line in lines} == {last}


def test_equal_epochs_are_compared_up_to_the_stop(published):
    accuracy, rate = draw("fig7_matched_epochs", published).axes
    assert sorted(line.get_ydata()[-1] for line in accuracy.lines) == [66.85, 68.95, 69.01]
    assert {line.get_xdata()[-1] for line in accuracy.lines} == {84}
    assert max(line.get_xdata()[-1] for line in rate.lines) == 300
    planned = next(line for line in rate.lines if len(line.get_xdata()) == 300 - 84 + 1)
    assert planned.get_ydata()[0] == pytest.approx(83.324, abs=0.01)


def test_sick_epochs_are_marked(published):
    (axes,) = draw("fig8_teacher_loss", published).axes
    (marks,) = [line for line in axes.lines if line.get_marker() == "o"]
    losses = [epoch.test_loss for record in published if record.name == "teacher_32" for epoch in record.history]
    assert list(marks.get_ydata()) == [loss for loss in losses if loss > math.log(100)]
    assert sum(loss > 5 for loss in losses) == 78 and round(max(marks.get_ydata())) == 970


def test_curve_is_over_the_seeds_that_reached_an_epoch(short):
    data = RunData(summarise(short), short)
    curve = data.curve("dkd_beta2", "test_accuracy_pct").set_index("epoch")
    assert curve["seeds"].tolist() == [2] * 10 + [1] * 3
    values = [record.history[4].test_accuracy_pct for record in data.seeds("dkd_beta2")]
    assert curve.loc[5, ["mean", "low", "high"]].tolist() == pytest.approx([sum(values) / 2, min(values), max(values)])
    assert data.stop_note("dkd_beta2") == "stopped: epoch 10–13 of 200"
    assert data.stop_note("kd_32") is None


def test_coinciding_schedules_are_all_visible(published):
    _, rate = draw("fig7_matched_epochs", published).axes
    data = RunData(summarise(published), published)
    drawn = {line.get_color(): line.get_linewidth() for line in rate.lines if len(line.get_xdata()) == 200}
    assert set(drawn) == {data.look("kd_32").colour, data.look("dkd_beta2").colour} and len(set(drawn.values())) == 2


def test_no_rule_passes_through_a_value(drawn):
    if "fig4_retention_bar" not in drawn:
        return
    bars, _ = drawn["fig4_retention_bar"].axes
    drawn["fig4_retention_bar"].draw_without_rendering()
    values = [Text.get_window_extent(text) for text in bars.texts if text.get_text().endswith("%")]
    rule = bars.transData.transform((100, 0))[0]
    assert values and not any(box.x0 <= rule <= box.x1 for box in values)


def test_figure_without_its_data_says_so_and_is_left_out(published, tmp_path):
    healthy = [record for record in published if record.name not in figures.load("fig8_teacher_loss").RUNS]
    module = figures.load("fig8_teacher_loss")
    assert exhibits.has_data(module, published) and not exhibits.has_data(module, healthy)
    figures.render("fig8_teacher_loss", summarise(healthy), healthy, tmp_path / "fig8.pdf")
    assert "do not hold" in PdfReader(tmp_path / "fig8.pdf").pages[0].extract_text()


def test_short_schedule_shows_its_last_quarter(published, short):
    limits = [draw("fig5_zoomed_convergence", records).axes[0].get_xlim() for records in (published, short)]
    assert limits == [(150, 200), (12, 16)]


def test_runs_have_labels_and_looks_that_depend_on_the_suite_alone(published, short):
    one, other = (RunData(summarise(records), records) for records in (published, short))
    labels = {run: one.label(run) for run in one.runs}
    assert labels["teacher_64"] == "teacher 64 px"
    assert labels["kd_32_basic"] == "v1 · KD (basic)"
    assert labels["dkd_beta8"] == "v3 · DKD β=8"
    assert labels["kd_64_to_32"] == "v4 · KD 64→32"
    assert other.label("kd_32_again") == "kd_32_again"
    assert len({other.look(run) for run in other.runs}) == len(other.runs)
    assert all(other.look(run) == one.look(run) for run in one.runs)
    with pytest.raises(CrossresError, match="no record of run 'kd_16'"):
        one.seeds("kd_16")


def test_labels_are_spread_without_overlap():
    centres = spread([1.0, 1.1, 1.2, 9.9], [1.0, 1.0, 1.0, 1.0], 0.0, 10.0)
    assert all(b - a >= 1 - 1e-9 for a, b in zip(centres, centres[1:], strict=False))
    assert centres[0] >= 0.5 and centres[-1] == pytest.approx(9.5)
    assert spread([2.0, 5.0], [1.0, 1.0], 0.0, 10.0) == pytest.approx([2.0, 5.0])


def test_suite_without_students_is_drawn(published):
    teachers = [record for record in published if record.spec.teacher is None]
    for name in NAMES:
        if can_draw(name, teachers):
            draw(name, teachers).draw_without_rendering()


def test_gradients_at_the_parameters_are_drawn_where_they_were_measured(short, measured):
    at_logits = draw("fig9_gradients", short).axes
    both = draw("fig9_gradients", measured).axes
    assert (len(at_logits), len(both)) == (3, 6)
    cosines = [axes.lines[0].get_ydata() for axes in (at_logits[0], both[3])]
    assert list(cosines[0]) == [-value for value in cosines[1]]


def test_contrasts_stand_where_their_intervals_are(published):
    accuracy, gap, epoch = draw("fig0_contrasts", published).axes
    for axes in (accuracy, gap):
        assert [
            list(line.get_xdata()) for line in axes.lines if len(line.get_xdata()) == 2 and 0 not in line.get_xdata()
        ] == [[-4.0, -1.0]] * 2
        assert [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "D"] == [-9.34]
        assert {line.get_marker(): line.get_xdata()[0] for line in axes.lines if line.get_marker() in "<>"} == {
            ">": -10.0,
            "<": 0.0,
        }
    assert not [line for line in epoch.lines if line.get_marker() == "o"]


def test_a_grid_of_two_settings_is_a_table_of_its_accuracies(published):
    source = next(record for record in published if record.name == "kd_32")
    grid = Grid(title="a", over={"objective.kd_weight": (0.5, 1.0), "objective.temperature": (2, 4, 8)})
    records = []
    for rank, name in enumerate(grid.cells("soft")):
        spec = source.spec.model_copy(update={"run": name, "thesis_id": None})
        best = source.best.model_copy(update={"top1_pct": 70.0 + rank})
        records.append(source.model_copy(update={"spec": spec, "best": best}))
    data = RunData(summarise([*published, *records]), records, grids={"soft": grid})
    with style.journal():
        axes, unused = figures.load("fig15_grids").draw(data).axes
    assert [text.get_text() for text in axes.texts] == ["70.0", "71.0", "72.0", "73.0", "74.0", "75.0"]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["2", "4", "8"]
    assert not unused.axison


def test_compared_methods_differ_in_nothing_else(published):
    assert choice.by_method(published) == ["dkd_beta2", "dkd_beta8", "kd_32"]
    assert choice.pair(published) == ("dkd_beta2", "kd_32")
    assert choice.pair([record for record in published if record.spec.objective.method != "dkd"]) is None


def test_of_two_runs_with_one_method_that_with_the_commonest_schedule_is_compared(mini):
    assert {"dkd_beta8", "dkd_beta8_full"} & {*choice.by_method(mini)} == {"dkd_beta8_full"}


def test_several_seeds_are_compared_with_the_stop_by_their_mean(short):
    stopped = [record.model_copy(update={"stopped_early": record.name == "dkd_beta8"}) for record in short]
    (axes,) = draw("fig2_dkd_beta_comparison", stopped).axes
    assert len([line for line in axes.lines if line.get_markerfacecolor() == "white"]) == 2
    assert len([text for text in axes.texts if re.fullmatch(r"\d+\.\d\d", text.get_text())]) == 1


@pytest.mark.parametrize("name", [name for name in NAMES if hasattr(figures.load(name), "has_data")])
def test_captions_are_of_records_without_and_with_the_data(name, published, measured):
    suite = load_suite(suite_file("paper"))
    for records in (published, [record for record in measured if record.name in suite.runs]):
        text = html.caption("figures", name, Facts(suite, records, summarise(records)))
        assert ("do not hold" in text) is not exhibits.has_data(figures.load(name), records)


@pytest.mark.parametrize("name", NAMES)
def test_files_are_reproducible_and_fit_for_print(name, published, tmp_path):
    summary = summarise(published)
    files = [(tmp_path / f"{i}.pdf", tmp_path / f"{i}.png") for i in range(2)]
    for pdf, png in files:
        figures.render(name, summary, published, pdf, png, contrasts=CONTRASTS)
    (pdf, png), again = files[0], files[1]
    assert pdf.read_bytes() == again[0].read_bytes() and png.read_bytes() == again[1].read_bytes()
    reader = PdfReader(pdf)
    assert "/CreationDate" not in reader.metadata and len(reader.pages) == 1
    fonts = [font.get_object() for font in reader.pages[0]["/Resources"]["/Font"].values()]
    assert fonts and all(font["/Subtype"] != "/Type3" for font in fonts)
    assert all("/FontFile2" in font["/DescendantFonts"][0]["/FontDescriptor"] for font in fonts)
    width_in = float(reader.pages[0].mediabox.width) / 72
    assert width_in == pytest.approx(style.COLUMN_IN) or width_in == pytest.approx(style.FULL_IN)
    content = png.read_bytes()
    assert int.from_bytes(content[16:20], "big") == pytest.approx(width_in * 200, abs=1)
    assert b"Software" not in content and b"tIME" not in content
