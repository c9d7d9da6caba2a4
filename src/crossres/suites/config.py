"""How to run: the workflow's configuration, checked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, create_model, field_validator

from crossres.base import Count, CrossresError, Strict, nearest
from crossres.files import SUITES, read_yaml, suite_dir, suite_file
from crossres.suites.datasets import DATASETS
from crossres.suites.passes import TeacherLogits
from crossres.suites.spec import Budget
from crossres.suites.suite import Seeds, Suite, load_suite


class _Config(Strict):
    """The keys of `config/config.yaml`."""

    suite: str = "paper"
    """A suite of workflow/suites/, or the path of a suite file of your own."""
    records: Literal["computed", "shipped"] | list[str] = "computed"
    """Compute all runs, none, or those listed; the others are shipped."""
    seeds: Seeds | None = None
    """Seeds instead of the suite's, such as [1, 2, 3]; a run with seeds of its own keeps them. A verdict on a planned
    contrast still needs every seed of the suite's file; further ones count, and it says so."""
    device: Literal["auto", "cuda", "cpu"] = "auto"
    """Where to compute."""
    data_dir: Path = Path("data")
    """Folder of the data sets."""
    weights_dir: Path | None = None
    """Folder to adopt ImageNet weights from."""
    teacher_logits: TeacherLogits = "auto"
    """`live`: each student computes its teacher's logits. `stored`: they are computed once and read. `auto`: stored if
    two or more students that are still to be trained share them. The results are the same to the bit."""
    keep_logits: bool = False
    """Keep stored logits after their last student has read them; otherwise they are removed."""
    reuse: list[Path] = []
    """Folders of other suites' results, such as results/paper. A run whose spec, data and teacher are the same there is
    not trained again: its weights are linked."""
    cuda_graph: bool = True
    """On CUDA, capture the whole training step in one CUDA graph; false runs it eagerly."""
    accept_sources: bool = False
    """Go on with a half-trained run that other code, another torch or another device began; its record says so."""
    runs_per_gpu: Count = 1
    """Number of runs that share one GPU at a time; their memory adds up, and without NVIDIA's MPS they take turns."""
    claims: Path | None = None
    """File of the claims to judge. When null, those of the thesis for the suites of this project, else none."""
    figures: list[Path] = []
    """Figures of your own: Python files like those of `src/crossres/report/figures/`."""
    tables: list[Path] = []
    """Tables of your own: Python files like those of `src/crossres/report/tables/`."""
    container: str | None = "docker/crossres.sif"
    """The image that jobs run in with `--use-singularity`: a file or an address."""
    budget: Budget | None = None
    """A smaller version of the suite, to try it out."""

    @field_validator("*", mode="before")
    @classmethod
    def _at_home(cls, path: Any) -> Any:
        """Expand `~` to the home directory, as a shell does."""
        return os.path.expanduser(path) if isinstance(path, str) else path

    def source(self, dataset: str) -> Path | None:
        """Return the folder or archive to adopt a data set from; None to download or generate it."""
        path: Path | None = getattr(self, dataset, None)
        return path

    @property
    def sources(self) -> list[Path]:
        """Every folder or archive to adopt a data set or weights from."""
        return [path for path in (*map(self.source, DATASETS), self.weights_dir) if path is not None]


if TYPE_CHECKING:
    Config = _Config
else:  # with a key per data set that is not generated, such as `cifar100`
    Config = create_model(
        "Config",
        __base__=_Config,
        __doc__=_Config.__doc__,
        **{
            key: (Path | None, Field(None, description=f"Folder or archive to adopt {info.title} from."))
            for key, info in DATASETS.items()
            if info.generator is None
        },
    )


def read_config(document: Mapping[str, Any]) -> Config:
    """Check the configuration that Snakemake merged from files and command line.

    Raises:
        CrossresError: One line that names the key and the nearest known one.
    """
    return Config.parse(_nulls(document), "config")


def _nulls(value: Any) -> Any:
    """Return a value with null for the word: `--config KEY=null` gives the word alone."""
    if isinstance(value, Mapping):
        return {key: _nulls(part) for key, part in value.items()}
    return None if value == "null" else value


def file_config(path: Path, suite: str | None = None) -> Config:
    """Read the configuration file, for another suite if one is given.

    Raises:
        CrossresError: As `read_config`, or when there is no such file.
    """
    chosen = {} if suite is None else {"suite": suite}
    return read_config(read_yaml(path) | chosen)


def suite_path(config: Config) -> Path:
    """Return the file of the suite that the configuration names.

    Raises:
        CrossresError: When there is no suite of that name, naming the nearest.
    """
    if config.suite.endswith((".yaml", ".yml")):
        return Path(config.suite)
    known = [path.stem for path in sorted(SUITES.glob("*.yaml"))]
    if config.suite not in known:
        raise CrossresError(f"config: suite: no suite '{config.suite}'{nearest(config.suite, known)}")
    return suite_file(config.suite)


def chosen_suite(config: Config) -> Suite:
    """Load the suite that the configuration names.

    Raises:
        CrossresError: When it is invalid, has the name of another suite in workflow/suites/, or lacks a run that
            `records` lists.
    """
    path = suite_path(config)
    suite = load_suite(path)
    if config.seeds:
        fields = {name: getattr(suite, name) for name in Suite.model_fields}
        suite = Suite.parse(
            fields | {"seeds": config.seeds}, f"config: seeds {list(config.seeds)}, suite {suite.suite}"
        )
    namesake = suite_file(suite.suite)
    if namesake.is_file() and not namesake.samefile(path):
        raise CrossresError(f"{path}: suite: {namesake} has the name '{suite.suite}', and its results; choose another")
    if isinstance(config.records, list):
        for name in config.records:
            suite.run(name)
    return suite


def is_computed(config: Config, suite: Suite, run: str) -> bool:
    """Return whether a run's record is computed rather than shipped."""
    if suite.records == "shipped" or config.records == "shipped":
        return False
    return config.records == "computed" or run in config.records


def results_dir(config: Config, suite: Suite) -> Path:
    """The folder of the results."""
    return suite_dir(suite.suite, truncated=config.budget is not None)
