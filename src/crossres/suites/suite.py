"""A suite: a named set of runs with shared settings, read from one YAML file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from crossres.base import CrossresError, Strict, nearest
from crossres.files import read_yaml
from crossres.suites.contrasts import PlannedContrast
from crossres.suites.grids import Grid, expand
from crossres.suites.methods import Objective
from crossres.suites.spec import AnyDataset, Augmentation, Budget, EvaluationKind, Model, Optimisation, Spec, View

RESERVED = ("figures", "tables", "pages", "export")
"""Folders of a suite's results that hold something else than a run."""

MAX_SEED = 2**32 - 1


def _is_a_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", name):
        raise ValueError(f"'{name:.100}' names a folder: at most 100 letters without accents, digits, _ and -")
    return name


def _are_different(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"a seed is named twice in {list(seeds)}")
    return seeds


def _is_a_seed(seed: int) -> int:
    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"{seed}: a seed is a whole number from 0 to {MAX_SEED}")
    return seed


Name = Annotated[str, AfterValidator(_is_a_name)]
"""Name of a suite or a run, and of its folder."""
Seed = Annotated[int, AfterValidator(_is_a_seed)]
Seeds = Annotated[tuple[Seed, ...], Field(min_length=1), AfterValidator(_are_different)]


class Run(Strict):
    """One entry of a suite: a run without its data set and seed."""

    thesis_id: str | None = None
    """The run of the thesis that this run repeats."""
    model: Model
    """The run's own network."""
    view: View = View()
    """How this run's own network sees the images."""
    teacher: str | None = None
    """Run whose selected weights teach this run; null for a run that learns from the labels alone."""
    teacher_view: View | None = None
    """How the teacher sees this run's mixed batches."""
    teacher_seed: Seed | None = None
    """Seed of the teacher's run; the seed of this run when absent."""
    seeds: Seeds | None = None
    """Seeds of this run; the suite's when absent."""
    stream_seed: Seed | None = None
    """Seed of the batches: order, augmentation and mixing; the seed of the run when absent. If given, all seeds of the
    run see the same batches and share a pass of their teacher; they differ in initial weights and dropout only."""
    augmentation: Augmentation = Augmentation()
    """What is done to a training image."""
    objective: Objective
    """The loss, by its `method`."""
    optimisation: Optimisation
    """How the weights are trained."""
    probe_images: int = Field(default=0, ge=0)
    """Size of the fixed batch on which gradients and teacher are measured after every epoch; 0 for no measurements."""

    @model_validator(mode="after")
    def _teacher_is_consistent(self) -> Run:
        if self.objective.needs_teacher != (self.teacher is not None):
            need = "needs a teacher" if self.objective.needs_teacher else "has no use for a teacher"
            raise ValueError(f"objective {self.objective.method} {need}")
        if self.probe_images and self.teacher is None:
            raise ValueError("probe_images: what is measured takes a teacher; leave it out")
        if self.teacher is not None and self.teacher_view is None:
            raise ValueError("teacher_view: missing; say how the teacher sees the batch")
        if self.view.kind == "upsampled":
            raise ValueError("view.kind: 'upsampled' is a teacher_view; a run's own view is native or resized")
        seen = self.teacher_view
        if seen is not None and seen.kind == "native" and seen != self.view:
            raise ValueError("teacher_view: the same view as this run's, or kind: upsampled or resized")
        if seen is not None and seen.kind == "resized" and seen.resolution_px % self.view.resolution_px:
            raise ValueError("teacher_view.resolution_px: of resized images, a multiple of this run's resolution_px")
        return self


class Factor(Strict):
    """One axis of a suite's design: runs that differ in one setting."""

    title: str
    """What varies, and what stays the same."""
    levels: dict[str, str]
    """Run of each level. The others are compared with the first. A run may be a level of several factors."""


class Suite(Strict):
    """A named set of runs with shared settings."""

    suite: Name
    """Name of the suite, and of its folder under results/."""
    title: str
    """One line for the report's first page."""
    notice: str | None = None
    """What a reader must know before any figure; set in a box on the report's first page."""
    records: Literal["computed", "shipped"] = "computed"
    """`shipped`: the records come with the project, and no rule can compute them."""
    device: Literal["any", "cuda"] = "any"
    """What training needs."""
    dataset: AnyDataset
    """The images of all its runs."""
    evaluation: EvaluationKind = "exact"
    """`thesis`: TF32 is allowed on CUDA, and the test loss is also recorded as a mean of batch means."""
    seeds: Seeds = (42,)
    """Seeds of the runs that have no `seeds` of their own."""
    runs: dict[Name, Run] = Field(min_length=1)
    """The runs by name: teachers, students, and networks that learn from the labels alone."""
    factors: dict[str, Factor] = {}
    """The design: which runs are compared for what. The report has a table per factor."""
    grids: dict[Name, Grid] = {}
    """Runs that are the combinations of some settings; each setting becomes a factor."""
    contrasts: dict[str, PlannedContrast] = {}
    """What it decides, and by which rule. Each gives one row of the report's forest plot."""

    @model_validator(mode="after")
    def _folders_are_free(self) -> Suite:
        for name in self.runs:
            if name in RESERVED:
                raise ValueError(f"runs.{name}: results/{self.suite}/{name} holds something else; choose another name")
        return self

    @model_validator(mode="after")
    def _levels_exist(self) -> Suite:
        for name, factor in self.factors.items():
            for level, run in factor.levels.items():
                if run not in self.runs:
                    raise ValueError(f"factors.{name}.levels.{level}: no run '{run}'{nearest(run, self.runs)}")
        return self

    @model_validator(mode="after")
    def _contrasts_are_of_runs_and_claims_of_their_own(self) -> Suite:
        judged: dict[str, str] = {}
        for name, contrast in self.contrasts.items():
            for run in contrast.runs:
                if run not in self.runs:
                    raise ValueError(f"contrasts.{name}.runs: no run '{run}'{nearest(run, self.runs)}")
            if contrast.claim and judged.setdefault(contrast.claim, name) != name:
                raise ValueError(f"contrasts.{name}.claim: {judged[contrast.claim]} judges '{contrast.claim}', too")
        return self

    @model_validator(mode="after")
    def _teachers_exist(self) -> Suite:
        for name, run in self.runs.items():
            if run.teacher is not None and run.teacher not in self.runs:
                raise ValueError(f"runs.{name}.teacher: no run '{run.teacher}'{nearest(run.teacher, self.runs)}")
            if run.teacher is not None and self.runs[run.teacher].teacher is not None:
                raise ValueError(f"runs.{name}.teacher: '{run.teacher}' is itself a student")
        return self

    @model_validator(mode="after")
    def _teachers_have_the_seeds(self) -> Suite:
        for name, run in self.runs.items():
            wanted = set(self.seeds_of(name) if run.teacher_seed is None else [run.teacher_seed])
            if run.teacher is not None and (missing := wanted - set(self.seeds_of(run.teacher))):
                raise ValueError(
                    f"runs.{name}: seed {min(missing)} of its teacher '{run.teacher}' is none of the suite's runs; "
                    f"add it to the seeds of '{run.teacher}', or set teacher_seed to one of them"
                )
        return self

    @model_validator(mode="after")
    def _folder_is_its_own(self) -> Suite:
        if self.suite.endswith("-truncated"):
            raise ValueError(f"suite: '{self.suite}' is the folder of a suite under a budget; choose another name")
        return self

    def seeds_of(self, name: str) -> tuple[int, ...]:
        """Return the seeds of a run."""
        return self.run(name).seeds or self.seeds

    def run(self, name: str) -> Run:
        """Return a run by name.

        Raises:
            CrossresError: When there is none, naming the nearest.
        """
        if name not in self.runs:
            raise CrossresError(f"suite {self.suite} has no run '{name}'{nearest(name, self.runs)}")
        return self.runs[name]

    def common_seeds(self, names: Iterable[str]) -> list[int]:
        """Return the seeds that all of some runs have."""
        return sorted(set.intersection(*(set(self.seeds_of(name)) for name in names)))

    def resolve(self, name: str, seed: int, budget: Budget | None = None) -> Spec:
        """Return the self-contained spec of one run and seed, cut by a budget if one is given."""
        run = self.run(name)
        teacher_seed = seed if run.teacher_seed is None else run.teacher_seed
        document = run.model_dump(exclude={"seeds"}) | {
            "suite": self.suite,
            "run": name,
            "seed": seed,
            "teacher_seed": None if run.teacher is None else teacher_seed,
            "dataset": self.dataset.model_dump(exclude={"path"}),
            "evaluation": self.evaluation,
        }
        if budget is not None:
            document = merge(document, budget.changes(run.optimisation))
        return Spec.parse(document, f"suite {self.suite}, run {name}")

    def jobs(self) -> list[tuple[str, int]]:
        """Return every (run, seed) of the suite, in the file's order."""
        return [(name, seed) for name in self.runs for seed in self.seeds_of(name)]


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two nested mappings. The second wins; a change of `method` replaces the whole objective."""
    if "method" in over and base.get("method") not in (None, over["method"]):
        return dict(over)
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def load_suite(path: Path) -> Suite:
    """Read and check a suite file.

    `extends: FILE` starts from another suite beside it. Under `presets` stand partial runs; a run's `use: [names]`
    merges them in order, and the run's own keys come last. A run that is null is left out. Every combination of the
    settings of a grid is a run, too.

    Raises:
        CrossresError: One line that names the key and the fix.
    """
    document = expand(_with_parents(path), str(path))
    presets = _mapping(document.pop("presets", None) or {}, f"{path}: presets")
    runs = _mapping(document.get("runs", {}), f"{path}: runs")
    document["runs"] = {name: _complete(run, presets, path, name) for name, run in runs.items() if run is not None}
    return Suite.parse(document, str(path))


def suite_files(path: Path) -> list[Path]:
    """Return a valid suite's file and those that it extends, the nearest first."""
    parent = read_yaml(path).get("extends")
    return [path] if parent is None else [path, *suite_files(path.parent / parent)]


def _with_parents(path: Path, children: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read a suite file, merged into the one that it extends."""
    document = read_yaml(path)
    parent = document.pop("extends", None)
    if parent is None:
        return document
    if not isinstance(parent, str):
        raise CrossresError(f"{path}: extends: expected the name of a file beside it (got {parent!r:.40})")
    children = (*children, path.resolve())
    if (path.parent / parent).resolve() in children:
        raise CrossresError(f"{path}: extends: {parent} extends this file itself")
    return merge(_with_parents(path.parent / parent, children), document)


def _complete(run: Any, presets: Mapping[str, Any], path: Path, name: str) -> dict[str, Any]:
    """Return a run merged into the presets that it uses."""
    entry = dict(_mapping(run, f"{path}: runs.{name}"))
    used = entry.pop("use", [])
    if not (isinstance(used, list) and all(isinstance(preset, str) for preset in used)):
        raise CrossresError(f"{path}: runs.{name}.use: expected a list of presets, such as [{used}]")
    for preset in reversed(used):
        if preset not in presets:
            raise CrossresError(f"{path}: runs.{name}.use: no preset '{preset}'{nearest(preset, presets)}")
        entry = merge(_mapping(presets[preset], f"{path}: presets.{preset}"), entry)
    return entry


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise CrossresError(f"{where}: expected a mapping of keys (got {value!r:.40})")
    return value
