"""Which runs are finished, by what their files say: neither dates nor what Snakemake knows of them count."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from crossres import files
from crossres.base import CrossresError, at_path
from crossres.files import read_json, sha256
from crossres.records.record import read_record
from crossres.suites.config import Config, is_computed, results_dir
from crossres.suites.spec import Spec
from crossres.suites.suite import Suite

TRAINED = ("weights.safetensors", "last.safetensors", "training.json")
"""What training leaves."""


@dataclass(frozen=True)
class RunFiles:
    """The files of one run and seed, held against the spec and the teacher that they should be of."""

    folder: Path
    spec: Spec
    teacher: RunFiles | None = None
    is_given: bool = False
    """No rule computes the run; its weights, if they are there, were put there."""

    def __post_init__(self) -> None:
        """Give files of a clock that is ahead an old date: Snakemake fails on an input newer than its output."""
        for path in self.folder.glob("*"):
            if path.stat().st_mtime > time.time():
                os.utime(path, (1, 1))

    @cached_property
    def trained_sha256(self) -> str | None:
        """Digest of the selected weights; None where the run is still to be trained."""
        if self.is_given:
            weights = self.folder / "weights.safetensors"
            return sha256(weights) if weights.is_file() else None
        training = _read(self.folder / "training.json")
        described = [described_spec(self.folder / name) for name in TRAINED[:2]]
        are_whole = all(spec is not None and not spec.differing_in_training(self.spec) for spec in described)
        return _weights_sha256(training) if are_whole and self._is_of_the_teacher(training) else None

    @cached_property
    def recorded_sha256(self) -> str | None:
        """Digest of the selected weights as the record has it; None where the record is still to be written.

        The evaluation ends with the removal of the state that training left.
        """
        record = _read(self.folder / "record.json")
        if (self.folder / "state" / str(at_path(_read(self.folder / "training.json"), "state"))).exists():
            return None
        digest = _weights_sha256(record)
        is_this_run = self._is_the_spec(at_path(record, "spec")) and self._is_of_the_teacher(record)
        return digest if is_this_run and self.trained_sha256 in (None, digest) else None

    @property
    def finished(self) -> list[Path]:
        """The files of this spec and teacher: they need no job."""
        names = [*(TRAINED if self.trained_sha256 else ()), *(["record.json"] if self.recorded_sha256 else ())]
        return [self.folder / name for name in names]

    @cached_property
    def is_outdated(self) -> bool:
        """Whether files are of another spec or teacher, or not whole."""
        left = [self.folder / name for name in (*TRAINED, "record.json")]
        spec = self.folder / "spec.json"
        is_another = spec.exists() and not self._is_the_spec(_read(spec))
        return is_another or any(path.exists() and path not in self.finished for path in left)

    def _is_the_spec(self, document: Any) -> bool:
        try:
            return Spec.parse(document, "spec") == self.spec
        except CrossresError:
            return False

    def _is_of_the_teacher(self, document: Any) -> bool:
        if self.teacher is None:
            return True
        digest = self.teacher.trained_sha256 or self.teacher.recorded_sha256
        return digest is not None and digest == at_path(document, "provenance.teacher_sha256")


def _weights_sha256(document: Any) -> str | None:
    digest: str | None = at_path(document, "provenance.weights_sha256")
    return digest


def _read(path: Path) -> Any:
    """Return a JSON document; None where there is none that can be read."""
    try:
        return read_json(path)
    except (CrossresError, OSError):
        return None


def described(path: Path) -> Any:
    """Return what a whole weights file says of itself in its header; None otherwise."""
    try:
        with open(path, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(size, path.stat().st_size)))
        tensors = [entry for name, entry in header.items() if name != "__metadata__"]
        end = max(entry["data_offsets"][1] for entry in tensors)
        return json.loads(header["__metadata__"]["crossres"]) if path.stat().st_size == 8 + size + end else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def described_spec(path: Path) -> Spec | None:
    """Return the spec that a whole weights file names; None otherwise."""
    try:
        return Spec.parse(at_path(described(path), "spec"), "spec")
    except CrossresError:
        return None


def pattern_of(jobs: Iterable[tuple[str, int]]) -> str:
    """Return a regular expression for the runs of some jobs, each before one of its seeds; `(?!)` without any."""
    seeds: dict[str, list[str]] = {}
    for run, seed in jobs:
        seeds.setdefault(run, []).append(str(seed))
    return "|".join(f"{run}(?=/seed(?:{'|'.join(own)})/)" for run, own in seeds.items()) or "(?!)"


def check_given(config: Config, suite: Suite) -> None:
    """Check that everything which is given, and which no rule may compute, is there.

    Raises:
        CrossresError: Naming a shipped record that is missing or of another spec, or a teacher that is not to be
            computed and whose weights are missing.
    """
    for run, seed in suite.jobs():
        computed, record = is_computed(config, suite, run), files.shipped_record(suite.suite, run, seed)
        # With a list, weights alone may be wanted, and then no other run's record is.
        if not computed and not isinstance(config.records, list) and not record.is_file():
            fix = "git restore it" if suite.records == "shipped" else f"compute it, then: crossres ship {config.suite}"
            if seeds := _shipped_seeds(suite):
                fix += f"; or show the seeds that are complete: 'seeds={seeds}'"
            raise CrossresError(f"{run} seed {seed} is not to be computed, and there is no {record}; {fix}")
        if not computed and record.is_file():
            _check_shipped(record, suite, run, seed)
        spec = suite.resolve(run, seed, config.budget)
        if not computed or spec.teacher is None or is_computed(config, suite, spec.teacher):
            continue
        teacher_dir = files.run_dir(results_dir(config, suite), spec.teacher, str(spec.teacher_seed))
        weights = teacher_dir / "weights.safetensors"
        if not weights.is_file():
            fix = f"put them there, or compute it, too: records=[{run},{spec.teacher}]"
            raise CrossresError(f"{run} learns from {spec.teacher}, whose weights are not here ({weights}); {fix}")


def _shipped_seeds(suite: Suite) -> list[int]:
    """Return the seeds of the suite of which all records are shipped."""
    missing = {seed for run, seed in suite.jobs() if not files.shipped_record(suite.suite, run, seed).is_file()}
    return [seed for seed in suite.seeds if seed not in missing]


def _check_shipped(path: Path, suite: Suite, run: str, seed: int) -> None:
    spec, wanted = read_record(path).spec, suite.resolve(run, seed)
    if differing := spec.differing(wanted):
        fix = "git restore it" if suite.records == "shipped" else "undo the change, or compute it and ship it again"
        raise CrossresError(f"{path}: not the record of {run} seed {seed}: it differs in {', '.join(differing)}; {fix}")
