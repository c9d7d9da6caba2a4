"""Runs that were trained in another suite's results, and are adopted where spec, data and teacher are the same."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

from crossres import files
from crossres.base import CrossresError, at_path
from crossres.files import read_json, sha256, write_atomic
from crossres.records.finished import TRAINED, described, described_spec
from crossres.records.record import TrainingResult
from crossres.suites.spec import Spec

NEEDS = {"data_sha256": "data set", "teacher_sha256": "teacher", "imagenet_sha256": "ImageNet weights"}
"""What a run is trained from besides its spec, as its provenance names it."""


class Donor(NamedTuple):
    """A trained run of other results."""

    folder: Path
    spec: Spec
    training: TrainingResult

    @property
    def weights_sha256(self) -> str | None:
        return self.training.provenance.weights_sha256

    def difference(self, spec: Spec, needed: Mapping[str, str | None]) -> str | None:
        """Say what keeps it from being a run; None where it is the same.

        Args:
            needed: Digests of what the run is trained from, by the names in `NEEDS`; what is not known is left out.
        """
        for key, (here, there) in self.spec.differing_in_training(spec).items():
            return f"{key} is {here}, not {there}"
        for name, digest in needed.items():
            if getattr(self.training.provenance, name) != digest:
                return f"its {NEEDS[name]} is another"
        return None


@cache
def trained_runs(results: Path, seed: int) -> tuple[Donor, ...]:
    """Return the trained runs of a seed in a folder of results; what is not whole is left out."""
    found = []
    for path in sorted(results.glob(f"*/seed{seed}/training.json")):
        spec, last = (described_spec(path.with_name(name)) for name in TRAINED[:2])
        if spec is not None and spec == last:
            with contextlib.suppress(CrossresError):
                found.append(Donor(path.parent, spec, TrainingResult.parse(read_json(path), str(path))))
    return tuple(found)


def find_donor(results: Iterable[Path], spec: Spec, needed: Mapping[str, str | None]) -> Donor | None:
    """Return the first trained run in some results that is the same as a run."""
    donors = (donor for folder in results for donor in trained_runs(folder, spec.seed))
    return next((donor for donor in donors if donor.difference(spec, needed) is None), None)


def why_not(results: Iterable[Path], spec: Spec, needed: Mapping[str, str | None]) -> list[str]:
    """Say what differs in the runs of the same name."""
    namesakes = (donor for folder in results for donor in trained_runs(folder, spec.seed) if donor.spec.run == spec.run)
    return [f"{donor.folder}: not adopted, since {donor.difference(spec, needed)}" for donor in namesakes]


def needs(manifest: Path, teacher: Path | None, weights: Path | None) -> dict[str, str | None]:
    """Return the digests of what a run is trained from."""
    return {
        "data_sha256": files.data_sha256(manifest),
        "teacher_sha256": sha256(teacher) if teacher else None,
        "imagenet_sha256": at_path(described(weights), "source_sha256") if weights else None,
    }


def adopt(donor: Path, spec: Spec, needed: Mapping[str, str | None], folder: Path) -> None:
    """Put a trained run into another folder: by hard links, or as copies on another file system.

    Raises:
        CrossresError: When it is not the run, or not whole. Nothing is then put there.
    """
    found = next((run for run in trained_runs(donor.parents[1], spec.seed) if run.folder == donor), None)
    if found is None:
        raise CrossresError(f"{donor}: no whole trained run; leave {donor.parents[1]} out of `reuse`")
    digests = (found.weights_sha256, found.training.last_sha256)
    damaged = [name for name, digest in zip(TRAINED, digests, strict=False) if sha256(donor / name) != digest]
    difference = f"{damaged[0]} is damaged" if damaged else found.difference(spec, needed)
    if difference:
        raise CrossresError(
            f"{donor}: not {spec.run} seed {spec.seed}: {difference}; leave {donor.parents[1]} out of `reuse`"
        )
    for name in TRAINED:  # the last of them says that the others are there
        (folder / name).unlink(missing_ok=True)
        try:
            os.link(donor / name, folder / name)
        except OSError:
            with open(donor / name, "rb") as file:
                write_atomic(folder / name, partial(shutil.copyfileobj, file))
    files.sync(folder)
