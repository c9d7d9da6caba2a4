"""The report: facts of a suite, set into a LaTeX template, and LaTeX into PDF.  Layer L2.

Every number of the report comes from a spec, a record or the summary; the template holds words only. Whatever is
inserted is escaped, unless it is `Latex` already, and an unknown name is an error.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jinja2
import pandas as pd

from crossres import catalog
from crossres.paths import TEMPLATES
from crossres.records import Epoch, Record, write_atomic
from crossres.schema import CrossresError
from crossres.spec import Spec, Suite, read_yaml
from crossres.summary import METHOD_NAMES, model_name, recipe_name
from crossres.tables import MISSING, Latex, escape, half_width, per_run, roles

DATASETS = {"cifar100": ("CIFAR-100", 50_000, 10_000), "shapes": ("a generated set of shapes", 4_000, 1_000)}
SOURCE_DATE_EPOCH = "1735689600"
TEXT_WIDTH_IN = 6.4
NARROW_IN = 3.6
INSTALL_TEX = "sudo apt-get install -y --no-install-recommends $(cat envs/apt.txt)"
OVERFULL_PT = 10.0
SETTINGS_COLUMNS = 8

Role = Literal["teacher", "student", "alone"]
"""A run's part: teacher of another, student of one, or alone with the labels."""


@dataclass(frozen=True)
class BuildInfo:
    """What the report was built with; printed in its appendix, so that it must not depend on the clock."""

    commit: str | None = None
    """Commit of this project, with `+` when the tree had changes."""
    sources_sha256: str | None = None
    """Digest of the training modules as they are now, to flag records of other ones."""
    versions: Mapping[str, str] = field(default_factory=dict)
    commands: Sequence[str] = ()
    """Shell commands that rebuild the report."""


class Number(float):
    """A number that prints with fixed decimals, and keeps them through sums and differences."""

    digits: int

    def __new__(cls, value: float, digits: int) -> Number:
        number = super().__new__(cls, value)
        number.digits = digits
        return number

    def __str__(self) -> str:
        return f"{float(self):,.{self.digits}f}".replace("-", "−")

    def __sub__(self, other: float) -> Number:
        return Number(float(self) - float(other), self.digits)

    def __add__(self, other: float) -> Number:
        return Number(float(self) + float(other), self.digits)

    def __neg__(self) -> Number:
        return Number(-float(self), self.digits)

    def __abs__(self) -> Number:
        return Number(abs(float(self)), self.digits)


class Setting(NamedTuple):
    """One line of a table of settings: its name, and its value in a spec or record, None where it has no use."""

    group: str
    name: str
    get: Callable[[Any], object]

    @property
    def proper(self) -> bool:
        """Whether the name starts with a proper name, which keeps its capital in a sentence."""
        return any(char.isupper() for char in self.name.split()[0][1:])


def digits_of(column: str) -> int:
    """Return the decimals that a column of the summary is printed with."""
    if column.endswith("_pct") or column.endswith("loss") or column == "compression":
        return 2
    return 1 if column.endswith(("_millions", "minutes")) else 0


def plain(value: object) -> str:
    """Print a setting: no trailing zeros, words for flags."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return " to ".join(plain(part) for part in value)
    return str(value).replace("_", " ")


def mono(text: str) -> Latex:
    """Set a name, path or command in typewriter, breakable after `/`, `_` and `.`."""
    escaped = escape(text).replace("'", r"\textquotesingle{}")
    return Latex("\\texttt{" + re.sub(r"(/|\\_|\.)(?=.)", r"\1\\allowbreak{}", escaped) + "}")


def listing(items: Iterable[object]) -> Latex:
    """Join items as a sentence does: `a, b and c`."""
    parts = [escape(item) for item in items]
    return Latex(" and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts))


def counted(number: int, word: str) -> str:
    """Return `1 run`, `2 runs`."""
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def _of_view(view: str, name: str) -> Callable[[Spec], object]:
    return lambda spec: getattr(getattr(spec, view), name, None)


def _of_objective(name: str) -> Callable[[Spec], object]:
    return lambda spec: getattr(spec.objective, name, None)


def _of_stream(name: str, only_if: str | None = None) -> Callable[[Spec], object]:
    def get(spec: Spec) -> object:
        return getattr(spec.augmentation, name) if only_if is None or getattr(spec.augmentation, only_if) else None

    return get


def _of_optimisation(name: str) -> Callable[[Spec], object]:
    return lambda spec: "off" if getattr(spec.optimisation, name) is None else getattr(spec.optimisation, name)


SETTINGS = (
    Setting("network", "Network", model_name),
    Setting("network", "ImageNet weights", lambda spec: spec.model.pretrained),
    Setting("network", "Own image side (px)", _of_view("view", "resolution_px")),
    Setting("network", "Own images", _of_view("view", "kind")),
    Setting("teacher", "Teacher", lambda spec: spec.teacher),
    Setting("teacher", "Teacher's image side (px)", _of_view("teacher_view", "resolution_px")),
    Setting("teacher", "Teacher's images", _of_view("teacher_view", "kind")),
    Setting("augmentation", "Crop padding (px)", _of_stream("crop_padding_px")),
    Setting("augmentation", "Flip probability", _of_stream("flip_prob")),
    Setting("augmentation", "AutoAugment", _of_stream("auto_augment")),
    Setting("augmentation", "Erasing probability", _of_stream("erase_prob")),
    Setting("augmentation", "Erased share of area", _of_stream("erase_scale", "erase_prob")),
    Setting("augmentation", "Erased aspect ratio", _of_stream("erase_ratio", "erase_prob")),
    Setting("augmentation", "Share of batches mixed", _of_stream("mix_prob")),
    Setting("augmentation", "CutMix share of mixed", _of_stream("cutmix_share", "mix_prob")),
    Setting("augmentation", "Mixup α", _of_stream("mixup_alpha", "mix_prob")),
    Setting("augmentation", "CutMix α", _of_stream("cutmix_alpha", "mix_prob")),
    Setting("objective", "Method", lambda spec: METHOD_NAMES.get(spec.objective.method, spec.objective.method)),
    Setting("objective", "Temperature T", _of_objective("temperature")),
    Setting("objective", "CE weight", _of_objective("ce_weight")),
    Setting("objective", "KD weight", _of_objective("kd_weight")),
    Setting("objective", "TCKD weight α", _of_objective("tckd_weight")),
    Setting("objective", "NCKD weight β", _of_objective("nckd_weight")),
    Setting("objective", "Inter-class weight", _of_objective("inter_weight")),
    Setting("objective", "Intra-class weight", _of_objective("intra_weight")),
    Setting("objective", "DKD warm-up (epochs)", _of_objective("warmup_epochs")),
    Setting("objective", "Target of mixed images", _of_objective("mixed_target")),
    Setting("objective", "Label smoothing", _of_objective("label_smoothing")),
    Setting("schedule", "Epochs planned", _of_optimisation("epochs")),
    Setting("schedule", "Batch size", _of_optimisation("batch_size")),
    Setting("schedule", "Peak learning rate", _of_optimisation("learning_rate")),
    Setting("schedule", "Weight decay", _of_optimisation("weight_decay")),
    Setting("schedule", "Decay matrices only", _of_optimisation("decay_matrices_only")),
    Setting("schedule", "Warm-up (epochs)", _of_optimisation("warmup_epochs")),
    Setting("schedule", "Patience (epochs)", _of_optimisation("patience_epochs")),
    Setting("schedule", "Gradient norm limit", _of_optimisation("grad_clip_norm")),
    Setting("schedule", "Autocast on CUDA", _of_optimisation("precision")),
    Setting("schedule", "Selection", _of_optimisation("select")),
    Setting("schedule", "Non-finite steps", _of_optimisation("nonfinite")),
)

PROVENANCE = (
    Setting("", "Device", lambda record: record.provenance.device),
    Setting("", "Precision", lambda record: record.provenance.precision),
    Setting("", "Project commit", lambda record: _short(record.provenance.commit)),
    Setting("", "Training modules (SHA-256)", lambda record: _short(record.provenance.sources_sha256)),
    Setting("", "Data (SHA-256)", lambda record: _short(record.provenance.data_sha256)),
    Setting("", "Container image", lambda record: record.provenance.image),
    Setting(
        "", "Versions", lambda record: ", ".join(f"{k} {v}" for k, v in record.provenance.versions.items()) or None
    ),
)


def _short(digest: str | None) -> str | None:
    return None if digest is None else digest[:12] + ("+" if digest.endswith("+") else "")


class Facts:
    """Everything that the template and the captions may say about a suite."""

    def __init__(self, suite: Suite, records: Iterable[Record], summary: pd.DataFrame) -> None:
        by_run: dict[str, list[Record]] = {name: [] for name in suite.runs}
        for record in records:
            if record.name not in by_run:
                raise CrossresError(f"a record of run '{record.name}', which suite {suite.suite} does not have")
            by_run[record.name].append(record)
        missing = [name for name, found in by_run.items() if not found]
        if missing:
            raise CrossresError(f"suite {suite.suite}: no record of {', '.join(missing)}; the report needs every run")
        self.suite = suite
        self.by_run = by_run
        self.records = [record for found in by_run.values() for record in found]
        self.table = per_run(summary).set_index("run", drop=False).loc[list(by_run)]
        self.table["parameters_millions"] = self.table["parameters"] / 1e6
        self.roles = {str(run): role for run, role in roles(self.table).items()}

    def has(self, *runs: str) -> bool:
        """Tell whether the suite has all of these runs."""
        return all(run in self.by_run for run in runs)

    def record(self, run: str) -> Record:
        """Return a run's record, of its first seed where it has several."""
        self.suite.run(run)  # names the nearest when there is none
        return self.by_run[run][0]

    def spec(self, run: str) -> Spec:
        """Return a run's resolved spec, of its first seed."""
        return self.record(run).spec

    def value(self, run: str, column: str) -> Any:
        """Return a cell of the table of runs: text, or the mean over seeds, which prints with the column's decimals."""
        self.suite.run(run)
        if column not in self.table:
            raise CrossresError(
                f"no column '{column}' in the summary; known: {', '.join(map(str, self.table.columns))}"
            )
        cell: Any = self.table.at[run, column]
        if pd.isna(cell):
            raise CrossresError(f"run {run} has no {column}")
        return cell if isinstance(cell, str) else Number(float(cell), digits_of(column))

    def label(self, run: str) -> str:
        """Name a run as the prose does: `v2`, `teacher 32 px`, or its own name where the thesis has no such run."""
        spec = self.spec(run)
        if spec.thesis_id is None or spec.role == "student":
            return spec.thesis_id or run
        return f"teacher {spec.view.resolution_px}\u00a0px"

    def runs(self, role: Role | None = None) -> list[str]:
        """Return the names of all runs, or of those with one role, in the suite's order."""
        return [run for run in self.by_run if role in (None, self.roles[run])]

    def named(self, runs: Sequence[str]) -> Latex:
        """Name some runs in a sentence: `v1 and v2`, or `all runs`."""
        return Latex("all runs") if set(runs) == set(self.by_run) else listing(self.label(run) for run in runs)

    def best_until(self, run: str, epoch: int) -> Number:
        """Return the best test accuracy of a run's first epochs, up to and including one."""
        return Number(max(e.test_accuracy_pct for e in self.record(run).history[: int(epoch)]), 2)

    def epochs_above(self, run: str, test_loss: float) -> list[int]:
        """Return the epochs whose test loss exceeds a threshold."""
        return [epoch.epoch for epoch in self.record(run).history if epoch.test_loss > test_loss]

    def worst_epoch(self, run: str) -> Epoch:
        """Return the epoch with the highest test loss."""
        return max(self.record(run).history, key=lambda epoch: epoch.test_loss)

    def training_time(self, role: Role | None = None) -> str:
        """Return the training time of all records, or of one role's, in hours or, below two, in minutes."""
        minutes = sum(record.cost.train_minutes for run in self.runs(role) for record in self.by_run[run])
        return f"{minutes / 60:,.1f}\u00a0hours" if minutes >= 120 else f"{minutes:.1f}\u00a0minutes"

    def ranked(self, role: Role) -> list[str]:
        """Return the runs of a role, the most accurate first."""
        return sorted(self.runs(role), key=lambda run: -self.value(run, "accuracy_pct"))

    def selection_gain(self, run: str) -> Number:
        """Return the reported accuracy minus the mean of the last epochs, at most ten."""
        return self.value(run, "accuracy_pct") - self.value(run, "last_ten_mean_pct")

    def taught_by(self, teacher: str) -> list[str]:
        """Return the students of a teacher."""
        return [run for run in self.by_run if self.spec(run).teacher == teacher]

    def lag(self, run: str, others: Sequence[str], until: int | None = None) -> Latex:
        """Say how far a run is from others, by the reported accuracy or by the best one up to an epoch."""

        def accuracy(name: str) -> Number:
            return self.value(name, "accuracy_pct") if until is None else self.best_until(name, until)

        gaps = [(accuracy(run) - accuracy(other), other) for other in others]
        return listing(f"{abs(gap)} points {'above' if gap > 0 else 'below'} {self.label(name)}" for gap, name in gaps)

    def rate_share(self, run: str) -> Number:
        """Return the learning rate of a run's last epoch in per cent of the peak."""
        record = self.record(run)
        return Number(100 * record.history[-1].learning_rate / record.spec.optimisation.learning_rate, 0)

    def networks(self) -> list[dict[str, Any]]:
        """Return the kinds of network: role, model, parameters, start, and the runs of each."""

        def kind(run: str) -> tuple[str, str, float, bool]:
            parameters = self.value(run, "parameters")
            return self.roles[run], model_name(self.spec(run)), parameters, self.spec(run).model.pretrained

        words = {"teacher": "teachers", "student": "students", "alone": "networks that learn from the labels alone"}
        groups = _grouped(self.runs(), kind)
        keys = ("role", "model", "parameters", "pretrained")
        return [{**dict(zip(keys, kind, strict=True)), "who": words[kind[0]], "runs": runs} for runs, kind in groups]

    def views(self) -> list[dict[str, Any]]:
        """Return the students whose teacher sees other pixels than they do."""
        found = []
        for run in self.runs("student"):
            spec = self.spec(run)
            if spec.teacher_view and spec.teacher and spec.teacher_view.resolution_px != spec.view.resolution_px:
                seen, trained = spec.teacher_view, self.spec(spec.teacher).view
                found.append({"run": run, "own": spec.view.resolution_px, "seen": seen, "trained": trained})
        return found

    def uses(self) -> dict[str, bool]:
        """Tell which parts of the method the suite uses at all."""
        specs = [self.spec(run) for run in self.by_run]
        return {
            "auto_augment": any(spec.augmentation.auto_augment != "none" for spec in specs),
            "erase": any(spec.augmentation.erase_prob > 0 for spec in specs),
            "mix": any(spec.augmentation.mix_prob > 0 for spec in specs),
            "smoothing": any(spec.objective.label_smoothing > 0 for spec in specs),
            "both_recipes": {"basic", "strong"} <= {recipe_name(spec) for spec in specs},
        }

    def missing_controls(self) -> list[str]:
        """Name the comparisons that the students call for and the suite does not have."""
        students, missing = [self.spec(run) for run in self.runs("student")], []
        if not students:
            return []
        alone = {self.spec(run).model.name for run in self.runs("alone")}
        if not {spec.model.name for spec in students} <= alone:
            missing.append("the student's network trained with the labels alone")
        widest = max(spec.view.resolution_px for spec in students)
        seen = max(spec.teacher_view.resolution_px for spec in students if spec.teacher_view)
        if seen > widest:
            missing.append(f"a student that sees {seen} px itself")
        had = {(spec.objective.method, spec.teacher) for spec in students}
        for method in dict.fromkeys(spec.objective.method for spec in students):
            lacking = [name for name in self.runs("teacher") if (method, name) not in had]
            missing += [f"{METHOD_NAMES.get(method, method)} from {self.label(name)}" for name in lacking]
        return missing

    def settings(self) -> tuple[list[tuple[str, str]], list[tuple[str, list[str | None]]]]:
        """Split the settings into those that all runs share and those in which they differ."""
        return split([self.spec(run) for run in self.by_run], SETTINGS, self._setting)

    def provenance(self) -> tuple[list[tuple[str, str]], list[tuple[str, list[str | None]]]]:
        """Split the provenance of all records in the same way."""
        return split(self.records, PROVENANCE, lambda setting, record: _printed(setting.get(record)))

    def _setting(self, setting: Setting, spec: Spec) -> str | None:
        value = setting.get(spec)
        if setting.name == "Teacher" and isinstance(value, str):
            return self.label(value).removeprefix("teacher ")
        return _printed(value)

    def differences(self, first: str, second: str) -> dict[str, list[str]]:
        """Return the settings in which two runs differ, by group: `epochs planned (200 / 300)`.

        A setting that only one of them has a use for follows from another, such as the method, and is left out.
        """
        found: dict[str, list[str]] = {}
        for setting in SETTINGS:
            values = [self._setting(setting, self.spec(run)) for run in (first, second)]
            if setting.name == "Teacher":
                values = [value or "none" for value in values]
            if None not in values and values[0] != values[1]:
                name = setting.name if setting.proper else setting.name[:1].lower() + setting.name[1:]
                found.setdefault(setting.group, []).append(f"{name} ({values[0]} / {values[1]})")
        return found

    def differ_in(self, first: str, second: str, except_for: str = "") -> list[str]:
        """Return the same as one list, without the setting of a name."""
        texts = [text for texts in self.differences(first, second).values() for text in texts]
        return [text for text in texts if not (except_for and text.startswith(except_for))]

    def pairs(self) -> list[dict[str, Any]]:
        """Return the pairs of students that differ in at most two groups of settings, with their difference in points.

        With two or more seeds in common the difference is paired by seed and has a 95 % t interval.
        """
        students, rows = self.runs("student") + self.runs("alone"), []
        for index, first in enumerate(students):
            for second in students[index + 1 :]:
                groups = self.differences(first, second)
                if len(groups) <= 2:
                    gains = self._gains(first, second)
                    rows.append(
                        {
                            **{"first": first, "second": second, "seeds": len(gains)},
                            "difference": Number(sum(gains) / len(gains), 2) if gains else None,
                            "half_width": Number(half_width(gains), 2) if len(gains) > 1 else None,
                            "settings": "; ".join(self.differ_in(first, second)),
                        }
                    )
        return rows

    def _gains(self, first: str, second: str) -> list[float]:
        ones, others = ({r.spec.seed: r.best.top1_pct for r in self.by_run[run]} for run in (first, second))
        return [others[seed] - ones[seed] for seed in ones if seed in others]

    def selections(self) -> list[tuple[list[str], str]]:
        """Return the selection rules with the runs of each."""
        return _grouped(self.runs(), lambda run: self.spec(run).optimisation.select)

    def with_method(self, method: str) -> list[str]:
        """Return the runs with one method."""
        return [run for run in self.by_run if self.spec(run).objective.method == method]

    def mixed_targets(self) -> list[tuple[list[str], str]]:
        """Return the ways in which DKD treats two labels, with the runs of each."""
        return _grouped(self.with_method("dkd"), lambda run: self.spec(run).objective.model_dump()["mixed_target"])

    def nonfinite_steps(self) -> int | None:
        """Return how many steps were not finite in all records, or None when that was not logged."""
        counts = [epoch.nonfinite_steps for record in self.records for epoch in record.history]
        return None if all(count is None for count in counts) else sum(count or 0 for count in counts)

    def images(self) -> dict[str, Any]:
        """Return the data set's name, classes and numbers of images, as the first record's spec has them."""
        dataset = self.records[0].spec.dataset
        name, train, test = DATASETS[dataset.name]
        counts = {"train": dataset.train_images or train, "test": dataset.test_images or test}
        texts = {key: f"{count:,}" for key, count in counts.items()}
        validation = {"validation": f"{dataset.validation_images:,}" if dataset.validation_images else ""}
        return {"name": name, "key": dataset.name, "classes": dataset.classes, **texts, **validation}

    def printed(self, document: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Compare the figures that the thesis printed with the table of runs, at the printed precision.

        Args:
            document: `paper/printed.yaml`.

        Returns:
            One row a printed figure, with `agrees`; none when they are another suite's.
        """
        if document["suite"] != self.suite.suite:
            return []
        return [self._compared(figure) for figure in document["figures"]]

    def _compared(self, figure: Mapping[str, Any]) -> dict[str, Any]:
        value = self.value(figure["run"], figure["column"])
        if "minus" in figure:
            value = value - self.value(figure["minus"], figure["column"])
        digits = len(figure["printed"].partition(".")[2])
        return {**figure, "value": value, "agrees": f"{float(value):.{digits}f}" == figure["printed"]}


def printed_rows(facts: Facts, printed: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the printed figures that disagree with the records, a row for all runs with the same two figures."""
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    for figure in printed:
        if not figure["agrees"]:
            unit = figure.get("unit", "")
            name = figure["column"].removesuffix("_pct").removesuffix("_millions").replace("_", " ").capitalize()
            texts = {"column": name, "printed": figure["printed"] + unit, "value": f"{figure['value']}{unit}"}
            row = rows.setdefault(tuple(texts.values()), {**texts, "runs": [], "where": figure["where"]})
            minus = f" minus {facts.label(figure['minus'])}" if "minus" in figure else ""
            row["runs"].append(facts.label(figure["run"]) + minus)
    return list(rows.values())


def _printed(value: object) -> str | None:
    return None if value is None else plain(value)


def _grouped(runs: Iterable[str], key: Callable[[str], Any]) -> list[tuple[list[str], Any]]:
    groups: list[tuple[list[str], Any]] = []
    for run in runs:
        same = next((names for names, value in groups if value == key(run)), None)
        if same is None:
            groups.append(([run], key(run)))
        else:
            same.append(run)
    return groups


def split(
    items: Sequence[Any], settings: Iterable[Setting], show: Callable[[Setting, Any], str | None]
) -> tuple[list[tuple[str, str]], list[tuple[str, list[str | None]]]]:
    """Split settings into those that all items share, with their value, and the others, with a value an item.

    A setting counts only for the items that have a use for it; one that none has is left out.
    """
    shared, varying = [], []
    for setting in settings:
        values = [show(setting, item) for item in items]
        distinct = {value for value in values if value is not None}
        if len(distinct) > 1:
            varying.append((setting.name, values))
        elif distinct:
            shared.append((setting.name, distinct.pop()))
    return shared, varying


def chunks(items: Sequence[Any], size: int) -> list[list[Any]]:
    """Cut a sequence into lists of equal length, the last one shorter."""
    return [list(items[start : start + size]) for start in range(0, len(items), size)]


def finalize(value: object) -> str:
    """Turn what a template inserts into LaTeX; missing values are an error rather than the word None."""
    if value is None:
        raise CrossresError("the template inserts a value that is missing (None)")
    return escape(plain(value) if isinstance(value, float) and not isinstance(value, Number) else value)


def environment(templates: Path) -> jinja2.Environment:
    r"""Return a Jinja2 environment for LaTeX: `\BLOCK{}`, `\VAR{}`, `\#{}`, strict and escaping."""
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates),
        block_start_string=r"\BLOCK{",
        block_end_string="}",
        variable_start_string=r"\VAR{",
        variable_end_string="}",
        comment_start_string=r"\#{",
        comment_end_string="}",
        undefined=jinja2.StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    env.filters.update(mono=mono, listing=listing, up=lambda text: Latex(escape(text)[:1].upper() + escape(text)[1:]))
    return env


def render_report(
    suite: Suite,
    records: Iterable[Record],
    summary: pd.DataFrame,
    figures_dir: Path,
    tables_dir: Path,
    build: BuildInfo,
    templates: Path = TEMPLATES,
) -> str:
    """Return the LaTeX source of a suite's report.

    Args:
        suite: The suite.
        records: A record of every run, of one or more seeds.
        summary: Their table, of `crossres.summary.summarise`.
        figures_dir: Folder with `NAME.pdf` of every figure the suite has the runs for.
        tables_dir: Folder with `NAME.tex` of every table.
        build: What the report is built with.
        templates: Folder of `report.tex.j2` and `printed.yaml`.

    Returns:
        The source; only figures and the bibliography stay outside it.

    Raises:
        CrossresError: When a figure, a table, a record or a name in the template is missing.
    """
    facts = Facts(suite, records, summary)
    env = environment(templates)
    _add_filters(env, facts)
    context = _context(facts, build, read_yaml(templates / "printed.yaml"))
    captions = Captions(env, context)
    context["figure_rows"] = lambda section: captions.figure_rows(suite, section, figures_dir)
    context["tables"] = lambda section: captions.tables(suite, section, tables_dir)
    context["has_figure"] = lambda name: name in catalog.names("figures", suite)
    try:
        return env.get_template("report.tex.j2").render(context)
    except jinja2.TemplateNotFound as error:
        raise CrossresError(f"{templates / str(error)}: no such file") from None
    except jinja2.TemplateError as error:
        raise CrossresError(f"{templates}/report.tex.j2: {error}") from error


def _add_filters(env: jinja2.Environment, facts: Facts) -> None:
    env.filters.update(label=facts.label, named=facts.named, selection_gain=facts.selection_gain)
    env.filters["known"] = lambda text: text or "not recorded"
    env.filters["by_gain"] = lambda runs: sorted(runs, key=facts.selection_gain)
    env.filters["sort_by"] = lambda runs, column: sorted(runs, key=lambda run: facts.value(run, column))
    env.tests["taught_by"] = lambda run: bool(facts.taught_by(run))


def _context(facts: Facts, build: BuildInfo, printed: Mapping[str, Any]) -> dict[str, Any]:
    compared = facts.printed(printed)
    rows, runs = facts.settings()[1], list(facts.by_run)
    sources = [record.provenance.source for record in facts.records]
    digests = {record.provenance.sources_sha256 for record in facts.records} - {None, build.sources_sha256}
    seeds = sorted({record.spec.seed for record in facts.records})
    return {
        **{name: getattr(facts, name) for name in dir(facts) if not name.startswith("_")},
        **{"counted": counted, "latex": Latex, "abs": abs, "signed": signed, "listing": listing, "Number": Number},
        **{
            "uses": facts.uses(),
            "images": facts.images(),
            "build": build,
            "commands": build.commands or rebuild(facts),
        },
        "several_seeds": any(len(found) > 1 for found in facts.by_run.values()),
        "seed_names": listing([f"seed{'s' if len(seeds) > 1 else ''} {seeds[0]}", *seeds[1:]]),
        "published": all(sources),
        "source": sources[0],
        "truncated": [record for record in facts.records if record.spec.budget],
        "budgets": budget_names(facts.records),
        "stale": bool(build.sources_sha256 and digests),
        "halves": chunks(facts.settings()[0], 2),
        "varying": [
            [[("Setting", [stacked(facts.label(run)) for run in part]), *_columns(rows, runs, part)], len(part)]
            for part in chunks(runs, SETTINGS_COLUMNS)
        ],
        "printed_source": printed["source"],
        "printed": compared,
        "printed_rows": printed_rows(facts, compared),
    }


def _columns(
    rows: Sequence[tuple[str, list[str | None]]], runs: Sequence[str], part: Sequence[str]
) -> list[tuple[str, list[str]]]:
    named = [(name, values) for name, values in rows if name != "Network"]  # the prose gives each run's network
    return [(name, [values[runs.index(run)] or MISSING for run in part]) for name, values in named]


def stacked(text: str) -> Latex:
    """Set the words of a narrow column's entry below each other."""
    words = [escape(word) for word in text.split(" ")]
    return Latex("\\shortstack[l]{" + r"\\".join(words) + "}") if len(words) > 1 else words[0]


def signed(number: Number, spread: Number | None = None) -> str:
    """Print a difference with its sign, and its half-width where there is one."""
    text = f"{float(number):+.{number.digits}f}".replace("-", "−")
    return text if spread is None else f"{text} ± {spread}"


def budget_names(records: Iterable[Record]) -> list[str]:
    """Name the cuts of truncated records: `epochs 2`."""
    budgets = [record.spec.budget.model_dump(exclude_none=True) for record in records if record.spec.budget]
    return list(dict.fromkeys(f"{plain(key)} {plain(value)}" for budget in budgets for key, value in budget.items()))


def rebuild(facts: Facts) -> list[str]:
    """Return the command that builds the suite's report again, with the budget if one cut it."""
    budget = facts.records[0].spec.budget
    cut = budget.model_dump(exclude_none=True) if budget else {}
    option = (
        " budget='{" + ", ".join(f"{key}: {str(value).lower()}" for key, value in cut.items()) + "}'" if cut else ""
    )
    return [f"snakemake --cores all --config suite={facts.suite.suite}{option}"]


class Captions(NamedTuple):
    """Figures and tables of the catalog, with their captions rendered."""

    env: jinja2.Environment
    context: Mapping[str, Any]

    def caption(self, kind: str, name: str) -> Latex:
        """Render the `CAPTION` of a figure or table.

        Raises:
            CrossresError: When it inserts a name that does not exist.
        """
        try:
            return Latex(self.env.from_string(str(catalog.constant(kind, name, "CAPTION"))).render(self.context))
        except jinja2.TemplateError as error:
            raise CrossresError(f"{catalog.module_file(kind, name)}: CAPTION: {error}") from error

    def figure_rows(self, suite: Suite, section: str, folder: Path) -> list[list[dict[str, Any]]]:
        """Return the figures of a section in rows: neighbours that are one column wide stand side by side."""
        rows: list[list[dict[str, Any]]] = []
        for name in _of_section("figures", suite, section):
            width = pdf_width_in(folder / f"{name}.pdf")
            entry = {
                **{"name": name, "caption": self.caption("figures", name), "narrow": width <= NARROW_IN},
                "width": Latex(r"\linewidth" if width > TEXT_WIDTH_IN else f"{width:.2f}in"),
                "file": mono(f"src/crossres/figures/{name}.py"),
            }
            if entry["narrow"] and rows and len(rows[-1]) == 1 and rows[-1][0]["narrow"]:
                rows[-1].append(entry)
            else:
                rows.append([entry])
        return rows

    def tables(self, suite: Suite, section: str, folder: Path) -> list[dict[str, Any]]:
        """Return the tables of a section with their LaTeX."""
        entries = []
        for name in sorted(
            _of_section("tables", suite, section), key=lambda name: catalog.constant("tables", name, "ORDER")
        ):
            file = folder / f"{name}.tex"
            if not file.is_file():
                raise CrossresError(f"{file}: no such file; the report needs the table '{name}'")
            text = Latex(file.read_text(encoding="utf-8").rstrip())
            entries.append({"name": name, "caption": self.caption("tables", name), "tabular": text})
        return entries


def _of_section(kind: str, suite: Suite, section: str) -> list[str]:
    return [name for name in catalog.names(kind, suite) if str(catalog.constant(kind, name, "SECTION")) == section]


def pdf_width_in(path: Path) -> float:
    """Return the width of a PDF's first page in inches.

    Raises:
        CrossresError: When the file is missing or is not such a PDF.
    """
    if not path.is_file():
        raise CrossresError(f"{path}: no such file; the report needs the figure '{path.stem}'")
    box = re.search(rb"/MediaBox\s*\[\s*([\d.-]+)\s+[\d.-]+\s+([\d.-]+)\s+[\d.-]+\s*\]", path.read_bytes())
    if box is None:
        raise CrossresError(f"{path}: not a PDF with a readable page size; delete it and draw it again")
    return (float(box[2]) - float(box[1])) / 72


def build_pdf(tex: str, out_pdf: Path, bibliography: Path, figures: Path) -> list[str]:
    """Compile a report; equal input gives an equal file, byte by byte, wherever and whenever it is built.

    Args:
        tex: The source.
        out_pdf: Where the PDF goes, atomically; after an error, the log stands beside it as `NAME.log`.
        bibliography: The BibTeX file.
        figures: Folder of the figures that the source includes.

    Returns:
        Warnings worth a look: lines that stick out of the margin by more than 10 pt.

    Raises:
        CrossresError: When LaTeX is not installed, fails, or leaves a reference or citation undefined.
    """
    if not (shutil.which("latexmk") and shutil.which("pdflatex")):
        raise CrossresError(f"latexmk is not installed, so the PDF cannot be built; install it with: {INSTALL_TEX}")
    with tempfile.TemporaryDirectory(prefix="crossres-report-") as folder:
        work = Path(folder)
        (work / "report.tex").write_text(tex, encoding="utf-8")
        shutil.copyfile(bibliography, work / "references.bib")
        for name in re.findall(r"\\includegraphics(?:\[[^]]*\])?\{([^}]+\.pdf)\}", tex):
            if not (figures / name).is_file():
                raise CrossresError(f"{figures / name}: no such file; the report includes it")
            shutil.copyfile(figures / name, work / name)
        code = _latexmk(work)
        log = _read(work / "report.log")
        problem = latex_problem(code, log, _read(work / "report.blg"))
        if problem:
            kept = out_pdf.with_suffix(".log")
            write_atomic(kept, log)
            raise CrossresError(f"LaTeX: {problem}; the log is kept as {kept}")
        write_atomic(out_pdf, (work / "report.pdf").read_bytes())
    return overfull_lines(log)


def _latexmk(folder: Path) -> int:
    env = {key: value for key, value in os.environ.items() if not key.startswith(("TEXINPUTS", "BIBINPUTS", "TEXMF"))}
    env |= {"SOURCE_DATE_EPOCH": SOURCE_DATE_EPOCH, "FORCE_SOURCE_DATE": "1", "TZ": "UTC", "max_print_line": "10000"}
    command = ["latexmk", "-norc", "-pdf", "-bibtex", "-interaction=nonstopmode", "-halt-on-error", "report.tex"]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, check=False).returncode


def _read(path: Path) -> str:
    with contextlib.suppress(FileNotFoundError):
        return path.read_text(encoding="utf-8", errors="replace")
    return ""


def latex_problem(code: int, log: str, bibtex_log: str) -> str | None:
    """Name what is wrong with a LaTeX run: its first error, or the first undefined reference or citation."""
    error = re.search(r"^(!.*)$", log, re.MULTILINE)
    if error:
        return error[1].rstrip(".")
    undefined = re.search(r"(?:Reference|Citation) [`'][^']*'.*undefined", log)
    if undefined:
        return undefined[0].rstrip(".")
    lost = re.search(r"I didn't find a database entry for \S+|I found no \S+ command.*", bibtex_log)
    if lost and "Citation" in log:
        return f"BibTeX: {lost[0]}"
    return f"latexmk ended with code {code}" if code else None


def overfull_lines(log: str) -> list[str]:
    """Return the log's complaints about lines that are too wide by more than 10 pt."""
    found = re.findall(r"(Overfull \\hbox \(([\d.]+)pt too wide\).*)", log)
    return [line for line, points in found if float(points) > OVERFULL_PT]
