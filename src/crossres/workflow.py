"""What the rules of the workflow ask: which runs are computed, from which inputs, on what device and in which image."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from crossres import files
from crossres.base import CrossresError
from crossres.gpus import RUNS_PER_GPU, VISIBLE, visible_gpus
from crossres.records import container
from crossres.records.finished import RunFiles, check_given, pattern_of
from crossres.records.record import read_record
from crossres.records.reuse import Donor, find_donor, why_not
from crossres.report import exhibits, latex
from crossres.suites.config import Config, chosen_suite, is_computed, read_config, results_dir, suite_path
from crossres.suites.datasets import DATASETS
from crossres.suites.passes import Sharing, pass_key, passes, stored_passes
from crossres.suites.spec import FolderDataset, Spec
from crossres.suites.suite import Suite, suite_files

MIN_TEMPORARY_BYTES = 2**20


@dataclass(frozen=True, eq=False)
class Workflow:
    """One start of the workflow: a configuration, its suite, and where the jobs run."""

    config: Config
    suite: Suite
    basedir: Path
    """Root of the project, from the working directory."""
    uses_apptainer: bool
    """Snakemake was told to run the jobs in an image."""
    uses_conda: bool
    """Snakemake was told to run the jobs in a conda environment."""

    @classmethod
    def read(cls, document: dict[str, object], basedir: Path, apptainer: bool = False, conda: bool = False) -> Workflow:
        """Check the configuration that Snakemake merged, and everything it refers to.

        Raises:
            CrossresError: Also for an image that jobs cannot run in, before Snakemake deletes an output.
        """
        _check_temporary_folder()
        config = read_config(document)
        suite = chosen_suite(config)
        check_given(config, suite)
        latex.check_titles(suite, suite_path(config))
        for folder in config.reuse:
            if not folder.is_dir():
                raise CrossresError(f"config: reuse: {folder}: no such folder; name one like results/paper")
        for kind, paths in (("figures", config.figures), ("tables", config.tables)):
            exhibits.check_own(kind, paths)
            os.environ[exhibits.variable(kind)] = os.pathsep.join(map(str, paths))
        found = cls(config, suite, basedir, apptainer, conda)
        if found.in_image:
            container.check_image(config.container)
        return found

    @cached_property
    def results(self) -> str:
        return results_dir(self.config, self.suite).as_posix()

    @cached_property
    def data(self) -> str:
        return self.config.data_dir.as_posix()

    @cached_property
    def suite_file(self) -> str:
        """The suite's file, from the working directory: the HTML report shows it, and no folder of the user's."""
        return os.path.relpath(suite_path(self.config))

    @cached_property
    def suite_files(self) -> list[str]:
        """The suite's file and those that it extends: with fewer runs or another title, no record is newer."""
        return [os.path.relpath(path) for path in suite_files(suite_path(self.config))]

    def code(self, *folders: str) -> list[str]:
        """Return every module of some rooms, as inputs of the rule that runs them, and the file of that rule."""
        modules = (
            path for folder in folders for path in sorted((self.basedir / "src/crossres" / folder).rglob("*.py"))
        )
        return [path.as_posix() for path in (*modules, self.basedir / "workflow/rules/report.smk")]

    def run_dir(self, run: str, seed: int | str) -> str:
        return files.run_dir(Path(self.results), run, seed).as_posix()

    @cached_property
    def manifest(self) -> str:
        return files.data_manifest(self.config.data_dir, self.suite.dataset.key).as_posix()

    def data_request(self, dataset: str) -> str:
        """Return the words after `crossres data`: a folder, or a known data set and where to adopt it from."""
        if dataset not in DATASETS:
            return f"folder --suite {shlex.quote(self.suite_file)}"
        source = self.config.source(dataset)
        return f"{dataset} --source {shlex.quote(str(source))}" if source else dataset

    def record(self, run: str, seed: int) -> str:
        """Return the path of a run's record: an output of `evaluate`, or a shipped one, which no rule outputs."""
        if self.is_computed(run):
            return f"{self.run_dir(run, seed)}/record.json"
        return files.shipped_record(self.suite.suite, run, seed).as_posix()

    @cached_property
    def records(self) -> list[str]:
        return [self.record(*job) for job in self.suite.jobs()]

    def names(self, kind: str) -> list[str]:
        """Return the figures or tables that the suite has the runs for."""
        return exhibits.names(kind, self.suite)

    @property
    def claims(self) -> str | None:
        """The file of the claims: those of the thesis for its own suites, and none for others unless it is given."""
        is_own = not suite_path(self.config).resolve().is_relative_to(files.SUITES.resolve())
        given = self.config.claims or (None if is_own else files.CLAIMS)
        return os.path.normpath(given) if given else None

    @property
    def own_template(self) -> list[str]:
        """The suite's own template of the report, if one stands beside its file."""
        path = Path(self.suite_file).with_suffix(".tex.j2")
        return [path.as_posix()] if path.is_file() else []

    def module(self, kind: str, name: str) -> str:
        """Return the file of a figure or table."""
        path = exhibits.own(kind).get(name)
        return (path or self.basedir / "src/crossres/report" / kind / f"{name}.py").as_posix()

    def shows_claims(self, figure: str) -> bool:
        """Return whether a figure is drawn from the verdicts."""
        return bool(getattr(exhibits.load("figures", figure), "CLAIMS", False))

    def products(self, kind: str, *suffixes: str) -> list[str]:
        return [f"{self.results}/{kind}/{name}{suffix}" for name in self.names(kind) for suffix in suffixes]

    def is_computed(self, run: str) -> bool:
        return is_computed(self.config, self.suite, run)

    @cached_property
    def computed(self) -> list[tuple[str, int]]:
        return [(run, seed) for run, seed in self.suite.jobs() if self.is_computed(run)]

    @cache  # noqa: B019  # a process has one workflow
    def run_files(self, run: str, seed: int) -> RunFiles:
        """Return the files of a run, to tell whether it is finished."""
        spec = self.spec(run, seed)
        has_teacher = spec.teacher is not None and spec.teacher_seed is not None
        teacher = self.run_files(spec.teacher, spec.teacher_seed) if has_teacher else None
        return RunFiles(Path(self.run_dir(run, seed)), spec, teacher, is_given=not self.is_computed(run))

    def is_pending(self, run: str, seed: int) -> bool:
        """Return whether a run is still to be trained, or adopted."""
        return self.run_files(run, seed).trained_sha256 is None

    @cache  # noqa: B019  # a process has one workflow
    def donor(self, run: str, seed: int) -> Donor | None:
        """Return the trained run, in the results to reuse, that a run is adopted from instead of being trained."""
        if not self.config.reuse or not self.is_computed(run) or not self.is_pending(run, seed):
            return None
        return find_donor(self.config.reuse, self.spec(run, seed), self._needs(run, seed))

    def _needs(self, run: str, seed: int) -> dict[str, str | None]:
        """Return the digests of what a run is trained from, as far as they are known before any job."""
        spec = self.spec(run, seed)
        needed: dict[str, str | None] = {}
        if Path(self.manifest).is_file():
            needed["data_sha256"] = files.data_sha256(Path(self.manifest))
        if spec.teacher is not None and spec.teacher_seed is not None:
            teacher, given = (
                self.run_files(spec.teacher, spec.teacher_seed),
                self.donor(spec.teacher, spec.teacher_seed),
            )
            needed["teacher_sha256"] = teacher.trained_sha256 or (given.weights_sha256 if given else None)
        return needed

    def is_to_be_trained(self, run: str, seed: int) -> bool:
        return self.is_pending(run, seed) and self.donor(run, seed) is None

    def describe_reuse(self, jobs: Iterable[tuple[str, int]]) -> list[str]:
        """Say of each run what it is adopted from, or what differs in the run of its name."""
        lines = []
        for run, seed in jobs if self.config.reuse else ():
            if donor := self.donor(run, seed):
                lines.append(
                    f"{run} seed {seed}: adopted from {donor.folder}, whose spec, data and teacher are the same"
                )
            else:
                lines += why_not(self.config.reuse, self.spec(run, seed), self._needs(run, seed))
        return lines

    @cached_property
    def computed_runs(self) -> str:
        """A regular expression for the runs that the rules of training may output."""
        return pattern_of(self.computed)

    @cached_property
    def to_train(self) -> str:
        """The same without those that are trained."""
        return pattern_of(job for job in self.computed if self.is_pending(*job))

    @cached_property
    def to_adopt(self) -> str:
        """The same for those that other results have."""
        return pattern_of(job for job in self.computed if self.donor(*job))

    @cached_property
    def to_evaluate(self) -> str:
        """The same without those that have their record."""
        return pattern_of(job for job in self.computed if self.run_files(*job).recorded_sha256 is None)

    @cached_property
    def finished(self) -> str:
        """A regular expression for the files of what is finished."""
        paths = [path.relative_to(self.results) for job in self.computed for path in self.run_files(*job).finished]
        return "|".join(re.escape(path.as_posix()) for path in paths) or "(?!)"

    def outdated(self, run: str, seed: int) -> list[str]:
        """Return an input that is newer than the files of a run, where some are of another spec or teacher.

        With it, they are made again whatever their dates, and whatever Snakemake knows of them.
        """
        return [f"{self.results}/.outdated"] if self.run_files(run, seed).is_outdated else []

    def mark_outdated(self) -> None:
        """Write that input where it is needed, before Snakemake lists the files that there are."""
        if any(self.run_files(*job).is_outdated for job in self.computed):
            files.write_atomic(Path(self.results) / ".outdated", str(time.time_ns()))  # the same text is no change

    def spec(self, run: str, seed: int) -> Spec:
        return self.suite.resolve(run, seed, self.config.budget)

    @cached_property
    def passes(self) -> dict[str, Sharing]:
        """Every teacher's pass by its key, with all the students that can read it."""
        return {sharing.key: sharing for sharing in passes(self.spec(*job) for job in self.computed)}

    @cached_property
    def stored(self) -> dict[str, Sharing]:
        """The passes worth storing, which only the students that are still to be trained decide."""
        pending = [self.spec(*job) for job in self.computed if self.is_to_be_trained(*job)]
        return {sharing.key: sharing for sharing in stored_passes(pending, self.config.teacher_logits)}

    def pass_spec(self, key: str) -> str:
        """Return the spec that describes the stream of a pass: that of the first student that reads it."""
        first = self.passes[key].students[0]
        return f"{self.run_dir(first.run, first.seed)}/spec.json"

    def train_inputs(self, run: str, seed: int) -> dict[str, str]:
        """Return the inputs of `train` by name.

        A finished run has no stored logits among them: a pass computed for another run would retrain it.
        """
        spec = self.spec(run, seed)
        inputs = {"spec": f"{self.run_dir(run, seed)}/spec.json", "data": self.manifest}
        if spec.teacher:
            inputs["teacher"] = f"{self.run_dir(spec.teacher, str(spec.teacher_seed))}/weights.safetensors"
            sharing = self.stored.get(pass_key(spec))
            if sharing and self.is_to_be_trained(run, seed):
                teacher_dir = Path(self.run_dir(sharing.teacher, sharing.teacher_seed))
                inputs["logits"] = files.logits_dir(teacher_dir, sharing.key).as_posix()
        if spec.model.pretrained:
            inputs["weights"] = f"{self.data}/weights/{spec.model.name}.safetensors"
        return inputs

    @cached_property
    def in_image(self) -> bool:
        return self.uses_apptainer and not container.is_inside()

    @property
    def image(self) -> str | None:
        """The image for the jobs; None where there is none, or this process already runs in one."""
        return None if container.is_inside() else self.config.container

    def shell_prefix(self) -> str:
        """Return the start of every shell command: with it, jobs run this project's code.

        On the host they do so with the interpreter that runs Snakemake. The device and the image's digest go by the
        environment, since a changed parameter would be a reason to train again.
        """
        on_host = not (self.in_image or self.uses_conda)
        digest = container.digest(self.image if self.in_image else None)
        variables = [
            f'PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"' if on_host else "",
            f"CROSSRES_IMAGE_DIGEST={digest}" if digest else "",
            f"CROSSRES_ROOT={shlex.quote(str(self.basedir))}",
            f"PYTHONPATH={shlex.quote(str((self.basedir / 'src').resolve()))}",
            f"CROSSRES_DATA={shlex.quote(str(self.data))}",
            f"CROSSRES_DEVICE={self.device}",
            f"{VISIBLE}={shlex.quote(','.join(self.gpus))}" if len(self.gpus) > 1 else "",
            f"CROSSRES_CUDA_GRAPH={int(self.config.cuda_graph)}",
            f"CROSSRES_ACCEPT_SOURCES={int(self.config.accept_sources)}",
            f"{RUNS_PER_GPU}={self.config.runs_per_gpu}",
            *(f"{name}={shlex.quote(os.environ[name])}" for name in map(exhibits.variable, exhibits.KINDS)),
        ]
        return f"set -euo pipefail; export {' '.join(filter(None, variables))}; "

    def apptainer_arguments(self, given: str) -> str:
        """Return what Snakemake passes on to Apptainer: what the user gave, the folders to bind, and the GPU.

        The Snakemake of a single job is given the result again, which it leaves as it is.
        """
        config = self.config
        own = (*config.figures, *config.tables, *([Path(self.claims)] if self.claims else []))
        folders = [
            self.basedir,
            Path(self.suite_file).parent,
            Path(self.results),
            config.data_dir,
            *(path.parent for path in own),
            *config.reuse,
        ]
        if isinstance(self.suite.dataset, FolderDataset) and self.suite.dataset.path:
            folders.append(self.suite.dataset.path)
        words = shlex.join([*container.binds([*folders, *config.sources]), *(["--nv"] if self.gpus else [])])
        return given if words in given else f"{given} {words}"

    @property
    def device(self) -> str:
        """What jobs compute on: a suite for CUDA is never left to what a job finds."""
        return "cuda" if self.config.device == "auto" and self.suite.device == "cuda" else self.config.device

    @cached_property
    def gpus(self) -> list[str]:
        """The names of this machine's GPUs, none for jobs on a CPU; a job takes one of those that it is told of."""
        return [] if self.device == "cpu" else visible_gpus()

    def uses_gpu(self, on_cluster: bool) -> bool:
        """Return whether jobs compute on a GPU; the GPUs of this machine say nothing about those of a cluster."""
        return self.device == "cuda" or (self.device == "auto" and not on_cluster and bool(self.gpus))

    def gpu_share_pct(self, on_cluster: bool) -> int:
        """Return the share of this machine's GPU that one job takes; a cluster allots its GPUs itself."""
        return 100 // self.config.runs_per_gpu if self.uses_gpu(on_cluster) and not on_cluster else 0

    def before_the_first_job(
        self, train: list[tuple[str, int]], adopt: list[tuple[str, int]], keys: Iterable[str], on_cluster: bool
    ) -> list[str]:
        """Check that the runs to train can be trained; return what is to be said of them, a line each.

        Args:
            train: The runs and seeds to train.
            adopt: Those to adopt.
            keys: The passes of teachers to store.
            on_cluster: Whether jobs run on other machines.

        Raises:
            CrossresError: When there is no GPU for them, or a network fails.
        """
        self.check_gpu(len(train), on_cluster)
        self.check_networks(train)
        return [*self.describe_reuse([*adopt, *train]), *(self.describe_pass(key, on_cluster) for key in keys)]

    def check_gpu(self, to_train: int, on_cluster: bool) -> None:
        """Check that a suite for a GPU has one to train on.

        Raises:
            CrossresError: Naming what it would take, and what can be done without a GPU.
        """
        wants = self.suite.device == self.device == "cuda"
        if to_train and wants and not (on_cluster or self.gpus):
            raise CrossresError(
                f"suite {self.suite.suite}: training {to_train} of {len(self.suite.jobs())} runs needs a CUDA device, "
                f"and none is visible{self._gpu_hours()}; instead: --config suite=demo (minutes on a CPU), --config "
                "suite=published (no training), or --config device=cpu with a budget (docs/partial-rebuilds.md)"
            )

    def check_networks(self, to_train: Iterable[tuple[str, int]]) -> None:
        """Try one step of each run without numbers, where this environment has torch: jobs may run in another.

        Raises:
            CrossresError: Naming the run whose network fails, and the fix.
        """
        if importlib.util.find_spec("torch") is None:
            return
        for spec in (self.spec(*job) for job in to_train):
            from crossres.training.models import try_out  # takes seconds

            try_out(spec, self.spec(spec.teacher, spec.teacher_seed or 0) if spec.teacher else None)

    def _gpu_hours(self) -> str:
        """Say what the published runs took, where they are the runs of this suite."""
        shipped = [files.shipped_record("published", run, seed) for run, seed in self.suite.jobs()]
        if not all(path.is_file() for path in shipped):
            return ""
        first, *_ = published = [read_record(path) for path in shipped]
        hours = sum(record.cost.train_minutes for record in published) / 60
        return f" (the published runs took {hours:.1f} GPU-hours on an {first.provenance.device})"

    def describe_pass(self, key: str, on_cluster: bool) -> str:
        """Say which students share a stored pass of their teacher, and what that saves."""
        sharing = self.passes[key]
        students = ", ".join(f"{spec.run} seed {spec.seed}" for spec in sharing.students)
        size = sharing.gigabytes(bytes_per_logit=2 if self.uses_gpu(on_cluster) else 4)
        return (
            f"the logits of {sharing.teacher} seed {sharing.teacher_seed} are computed once for {students}: "
            f"{sharing.epochs} epochs, {size:.2g} GB, {sharing.saved_epochs} epochs of its forward pass saved"
        )


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End with the error's one line: Snakemake would bury it under the places that it passed."""
    try:
        yield
    except (CrossresError, OSError) as error:
        sys.exit(f"crossres: {error}")


def check_texts(configfiles: Iterable[Path], words: Iterable[str]) -> None:
    """Check what Snakemake reads as YAML for a repeated key, all but the last of which it drops.

    Args:
        configfiles: The configuration's files.
        words: What stands after `--config`.

    Raises:
        CrossresError: Naming the key and its place.
    """
    for path in configfiles:
        files.read_yaml(path)
    for key, _, value in (word.partition("=") for word in words):
        if value.startswith(("{", "[")):
            files.parse_yaml(value, f"config: {key}")


def option(flag: str, path: str | Path | None) -> str:
    """Return a flag with its file, or nothing where there is no such file."""
    return f"--{flag} {shlex.quote(str(path))}" if path else ""


def _check_temporary_folder() -> None:
    """Check that there is room for what jobs and Snakemake itself write for a moment."""
    folder = Path(os.environ.get("TMPDIR") or tempfile.gettempdir())
    if folder.is_dir() and shutil.disk_usage(folder).free < MIN_TEMPORARY_BYTES:
        raise CrossresError(f"{folder}: full, and temporary files go there; make room, or set TMPDIR to another folder")
