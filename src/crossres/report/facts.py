"""What a report can say of a suite: its numbers, its settings and what they let one compare.

Everything here is plain text and numbers; `crossres.report.render` sets it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from crossres.base import CrossresError
from crossres.claims.statistics import half_width
from crossres.records.record import Epoch, Provenance, Record, records_by_run
from crossres.records.summary import Role
from crossres.report.tabular import per_run
from crossres.suites.compare import SETTINGS, differences, plain, setting_text
from crossres.suites.names import model_name, recipe_name, run_name
from crossres.suites.spec import Spec, View
from crossres.suites.suite import Suite

ROLE_WORDS = {"teacher": "teachers", "student": "students", "alone": "networks that learn from the labels alone"}


class Number(float):
    """A number that prints with fixed decimals, and keeps them in a difference."""

    digits: int

    def __new__(cls, value: float, digits: int) -> Number:
        number = super().__new__(cls, value)
        number.digits = digits
        return number

    def __str__(self) -> str:
        return f"{float(self):,.{self.digits}f}".replace("-", "−")

    def __sub__(self, other: float) -> Number:
        return Number(float(self) - float(other), self.digits)

    def __abs__(self) -> Number:
        return Number(abs(float(self)), self.digits)

    def worded(self, more: str, less: str, equal: str) -> str:
        """Say a difference in points by its sign, and `equal` where it is zero at the printed precision."""
        if round(float(self), self.digits) == 0:
            return equal
        return f"{abs(self)} points {more if self > 0 else less}"


def digits_of(column: str) -> int:
    """Return the decimals that a column of the summary is printed with."""
    if column.endswith(("_pct", "loss")) or column == "compression":
        return 2
    return 1 if column.endswith(("_millions", "minutes")) else 0


def listing(items: Iterable[object]) -> str:
    """Join items as a sentence does: `a, b and c`."""
    *most, last = map(str, items)
    return f"{', '.join(most)} and {last}" if most else last


def counted(number: int, word: str) -> str:
    """Return `1 run`, `2 runs`."""
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def portion(part: int, whole: int, word: str) -> str:
    """Return `All 3 records`, `2 of the 3 records` or `The only record`."""
    if part < whole:
        return f"{part:,} of the {counted(whole, word)}"
    return f"All {counted(whole, word)}" if whole > 1 else f"The only {word}"


def signed(number: Number, spread: Number | None = None) -> str:
    """Print a difference with its sign, and its half-width where there is one."""
    text = f"{float(number):+.{number.digits}f}".replace("-", "−")
    return text if spread is None else f"{text} ± {spread}"


PROVENANCE: dict[str, Callable[[Provenance], str | None]] = {
    "Device": lambda made: made.device,
    "Precision": lambda made: made.precision,
    "Project commit": lambda made: _short(made.commit),
    "Training modules (SHA-256)": lambda made: _short(made.sources_sha256),
    "Data (SHA-256)": lambda made: _short(made.data_sha256),
    "Container image": lambda made: _short_image(made.image),
    "Versions": lambda made: ", ".join(f"{name} {version}" for name, version in made.versions.items()) or None,
}


def _short(digest: str | None) -> str | None:
    return None if digest is None else digest[:12] + ("+" if digest.endswith("+") else "")


def _short_image(image: str | None) -> str | None:
    tag, _, digest = (image or "").partition("@sha256:")
    return f"{tag}@sha256:{_short(digest)}" if digest else image


class Split(NamedTuple):
    """Named properties of several things: those that all share, and the others."""

    shared: list[tuple[str, str]]
    """Name and value."""
    varying: list[tuple[str, list[str | None]]]
    """Name and the value of each thing, None where it has no use for the property."""


def split(properties: Mapping[str, Sequence[str | None]]) -> Split:
    """Split properties, each given with its value for every thing; one that no thing has a use for is left out."""
    found = Split([], [])
    for name, values in properties.items():
        distinct = {value for value in values if value is not None}
        if len(distinct) > 1:
            found.varying.append((name, list(values)))
        elif distinct:
            found.shared.append((name, distinct.pop()))
    return found


class Network(NamedTuple):
    """Networks of one kind and role."""

    who: str
    """Their role, as the subject of a sentence."""
    model: str
    parameters: Number
    pretrained: bool
    runs: list[str]


class CrossView(NamedTuple):
    """A student whose teacher sees other pixels than it does."""

    run: str
    own: int
    """Side of the student's images in pixels."""
    seen: View
    """How the teacher sees the student's batch."""
    trained: View
    """How the teacher saw images in its own training."""


class Pair(NamedTuple):
    """Two runs that differ in little."""

    first: str
    second: str
    difference: Number | None
    """The second's accuracy minus the first's, in points; None without a seed in common."""
    half_width: Number | None
    """Of the difference's 95 % t interval, paired by seed; None below two seeds."""
    settings: str
    """What they differ in."""


class Images(NamedTuple):
    """The data set, as the records' specs cut it; counts are printed."""

    key: str
    name: str
    classes: int
    train: str
    test: str
    validation: str
    """Empty when none are held out."""


class Facts:
    """Everything that the template and the captions may say about a suite; they find each member by its name."""

    def __init__(self, suite: Suite, records: Iterable[Record], summary: pd.DataFrame) -> None:
        self.suite = suite
        self.by_run = records_by_run(suite, records)
        self.records = [record for found in self.by_run.values() for record in found]
        self.specs = {run: found[0].spec for run, found in self.by_run.items()}
        self.table = per_run(summary).set_index("run", drop=False).loc[list(self.by_run)]

    # Runs and their names

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

    def runs(self, role: Role | None = None) -> list[str]:
        """Return the names of all runs, or of those with one role, in the suite's order."""
        return [run for run in self.by_run if role in (None, self.table.at[run, "role"])]

    def taught_by(self, teacher: str) -> list[str]:
        """Return the students of a teacher."""
        return [run for run in self.by_run if self.spec(run).teacher == teacher]

    def with_method(self, method: str) -> list[str]:
        """Return the runs with one method."""
        return [run for run in self.by_run if self.spec(run).objective.method == method]

    def label(self, run: str) -> str:
        """Name a run as the prose does."""
        return run_name(self.spec(run))

    def named(self, runs: Sequence[str]) -> str:
        """Name some runs in a sentence: `v1 and v2`, or `all runs`."""
        return "all runs" if set(runs) == set(self.by_run) else listing(self.label(run) for run in runs)

    @property
    def cast(self) -> str:
        """The networks by what they learn from: `1 teacher and 2 students that learn from it`."""
        teachers, students, alone = (len(self.runs(role)) for role in ("teacher", "student", "alone"))
        parts = [counted(teachers, "teacher")] if teachers else []
        if students:
            parts.append(
                f"{counted(students, 'student')} that {_learn(students)} from {'it' if teachers == 1 else 'them'}"
            )
        if alone:
            parts.append(f"{counted(alone, 'network')} that {_learn(alone)} from the labels alone")
        return listing(parts)

    # The records as a whole

    @property
    def published(self) -> bool:
        """Whether all figures come from elsewhere."""
        return all(record.is_published for record in self.records)

    @property
    def repeats_thesis(self) -> bool:
        """Whether any run stands for one of the thesis."""
        return any(record.spec.thesis_id for record in self.records)

    @property
    def several_seeds(self) -> bool:
        return any(len(found) > 1 for found in self.by_run.values())

    @property
    def seed_names(self) -> str:
        """The seeds: `seeds 1 and 2`."""
        seeds = sorted({record.spec.seed for record in self.records})
        return f"{'seeds' if len(seeds) > 1 else 'seed'} {listing(seeds)}"

    @property
    def truncated(self) -> list[Record]:
        """The records that a budget cut."""
        return [record for record in self.records if record.spec.budget]

    @property
    def budgets(self) -> list[str]:
        """The cuts: `epochs 2`."""
        cuts = [cut for record in self.records for cut in _cuts(record).items()]
        return list(dict.fromkeys(f"{plain(key)} {plain(value)}" for key, value in cuts))

    @property
    def images(self) -> Images:
        """The data set, as the first record's spec has it."""
        dataset = self.records[0].spec.dataset
        whole = dataset.info
        train, test = dataset.train_images or whole.train_images, dataset.test_images or whole.test_images
        validation = f"{dataset.validation_images:,}" if dataset.validation_images else ""
        return Images(dataset.name, whole.title, whole.classes, f"{train:,}", f"{test:,}", validation)

    def training_time(self, role: Role | None = None) -> str:
        """Return the training time of all records, or of one role's, in the unit that suits that of all."""
        minutes = {run: sum(record.cost.train_minutes for record in self.by_run[run]) for run in self.runs()}
        whole, part = sum(minutes.values()), sum(minutes[run] for run in self.runs(role))
        if whole >= 120:
            return f"{part / 60:,.1f}\u00a0hours"
        return f"{part:.1f}\u00a0minutes" if whole >= 2 else f"{60 * part:.1f}\u00a0seconds"

    def reads_stored_logits(self) -> bool:
        """Tell whether a run read its teacher's logits from disk, so that their pass is in no run's training time."""
        return any(record.cost.stored_epochs for record in self.records)

    def nonfinite_steps(self) -> int | None:
        """Return how many steps were not finite in all records, or None when that was not logged."""
        counts = [epoch.nonfinite_steps for record in self.records for epoch in record.history]
        return None if all(count is None for count in counts) else sum(count or 0 for count in counts)

    def provenance(self) -> Split:
        """Split what the records were computed with."""
        made = [record.provenance for record in self.records]
        return split({name: [show(one) for one in made] for name, show in PROVENANCE.items()})

    # Results

    def value(self, run: str, column: str) -> Any:
        """Return a cell of the table of runs: text, or the mean over seeds, which prints with the column's decimals."""
        self.suite.run(run)
        if column not in self.table:
            known = ", ".join(map(str, self.table.columns))
            raise CrossresError(f"no column '{column}' in the summary; known: {known}")
        cell: Any = self.table.at[run, column]
        if pd.isna(cell):
            raise CrossresError(f"run {run} has no {column}")
        return cell if isinstance(cell, str) else Number(float(cell), digits_of(column))

    def ranked(self, role: Role) -> list[str]:
        """Return the runs of a role, the most accurate first."""
        return sorted(self.runs(role), key=lambda run: -self.value(run, "accuracy_pct"))

    def selection_gain(self, run: str) -> Number:
        """Return the reported accuracy minus the mean of the last epochs, at most ten."""
        return self.value(run, "accuracy_pct") - self.value(run, "last_ten_mean_pct")

    def best_until(self, run: str, epoch: int) -> Number:
        """Return the best test accuracy of a run's first epochs, up to and including one."""
        return Number(max(entry.test_accuracy_pct for entry in self.record(run).history[:epoch]), 2)

    def lag(self, run: str, others: Sequence[str], until: int | None = None) -> str:
        """Say how far a run is from others, by the reported accuracy or by the best one up to an epoch."""

        def accuracy(name: str) -> Number:
            return self.value(name, "accuracy_pct") if until is None else self.best_until(name, until)

        gaps = [(accuracy(run) - accuracy(other), other) for other in others]
        return listing(f"{gap.worded('above', 'below', 'level with')} {self.label(name)}" for gap, name in gaps)

    def rate_share(self, run: str) -> Number:
        """Return the learning rate of a run's last epoch in per cent of the peak."""
        record = self.record(run)
        return Number(100 * record.history[-1].learning_rate / record.spec.optimisation.learning_rate, 0)

    def epochs_above(self, run: str, test_loss: float) -> list[int]:
        """Return the epochs whose test loss exceeds a threshold."""
        return [epoch.epoch for epoch in self.record(run).history if epoch.test_loss > test_loss]

    def worst_epoch(self, run: str) -> Epoch:
        """Return the epoch with the highest test loss."""
        return max(self.record(run).history, key=lambda epoch: epoch.test_loss)

    # Method

    def networks(self) -> list[Network]:
        """Return the kinds of network, with the runs of each."""

        def kind(run: str) -> tuple[str, str, Number, bool]:
            who = ROLE_WORDS[self.value(run, "role")]
            return who, model_name(self.spec(run)), self.value(run, "parameters"), self.spec(run).model.pretrained

        groups = _grouped(self.runs(), kind)
        return [Network(who, model, size, pretrained, runs) for runs, (who, model, size, pretrained) in groups]

    def views(self) -> list[CrossView]:
        """Return the students whose teacher sees other pixels than they do."""
        specs = [self.spec(run) for run in self.runs("student")]
        return [
            CrossView(spec.run, spec.view.resolution_px, spec.teacher_view, self.spec(spec.teacher).view)
            for spec in specs
            if spec.teacher and spec.teacher_view and spec.teacher_view.resolution_px != spec.view.resolution_px
        ]

    @property
    def uses(self) -> dict[str, bool]:
        """Which parts of the method the suite uses at all."""
        specs = [self.spec(run) for run in self.by_run]
        return {
            "auto_augment": any(spec.augmentation.auto_augment != "none" for spec in specs),
            "erase": any(spec.augmentation.erase_prob > 0 for spec in specs),
            "mix": any(spec.augmentation.mix_prob > 0 for spec in specs),
            "smoothing": any(spec.objective.label_smoothing > 0 for spec in specs),
            "both_recipes": {"basic", "strong"} <= {recipe_name(spec) for spec in specs},
        }

    def selections(self) -> list[tuple[list[str], str]]:
        """Return the selection rules with the runs of each."""
        return _grouped(self.runs(), lambda run: self.spec(run).optimisation.select)

    def mixed_targets(self) -> list[tuple[list[str], str]]:
        """Return the ways in which DKD treats two labels, with the runs of each."""
        return _grouped(self.with_method("dkd"), lambda run: self.spec(run).objective.model_dump()["mixed_target"])

    # Settings, and what they let the runs be compared for

    def settings(self) -> Split:
        """Split the settings of all runs."""
        return split(
            {setting.name: [setting_text(setting, run, self.specs) for run in self.specs] for setting in SETTINGS}
        )

    def differences(self, first: str, second: str) -> dict[str, list[str]]:
        """Return the settings in which two runs differ, by group: `epochs planned (200 / 300)`."""
        found: dict[str, list[str]] = {}
        for difference in differences(first, second, self.specs):
            found.setdefault(difference.setting.group, []).append(str(difference))
        return found

    def differ_in(self, first: str, second: str, except_for: str = "") -> list[str]:
        """Return the same as one list, without the settings whose names start so."""
        texts = [text for texts in self.differences(first, second).values() for text in texts]
        return [text for text in texts if not (except_for and text.startswith(except_for))]

    def pairs(self) -> list[Pair]:
        """Return the pairs of runs, teachers apart, that differ in at most two groups of settings."""
        runs = self.runs("student") + self.runs("alone")
        pairs = [(first, second) for index, first in enumerate(runs) for second in runs[index + 1 :]]
        return [self._pair(*pair) for pair in pairs if len(self.differences(*pair)) <= 2]

    def _pair(self, first: str, second: str) -> Pair:
        ones, others = ({r.spec.seed: r.best.top1_pct for r in self.by_run[run]} for run in (first, second))
        gains = [others[seed] - ones[seed] for seed in ones if seed in others]
        difference = Number(sum(gains) / len(gains), 2) if gains else None
        width = Number(half_width(gains), 2) if len(gains) > 1 else None
        return Pair(first, second, difference, width, "; ".join(self.differ_in(first, second)))

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
        had = {(spec.objective.title, spec.teacher) for spec in students}
        for title in dict.fromkeys(spec.objective.title for spec in students):
            lacking = [name for name in self.runs("teacher") if (title, name) not in had]
            missing += [f"{title} from {self.label(name)}" for name in lacking]
        return missing


def _learn(number: int) -> str:
    return "learns" if number == 1 else "learn"


def _cuts(record: Record) -> dict[str, Any]:
    return record.spec.budget.model_dump(exclude_none=True) if record.spec.budget else {}


def _grouped(runs: Iterable[str], key: Callable[[str], Any]) -> list[tuple[list[str], Any]]:
    groups: dict[Any, list[str]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return [(names, value) for value, names in groups.items()]
