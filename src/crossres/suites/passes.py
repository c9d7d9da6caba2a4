"""Which students can share one pass of their teacher.

Two students see the same batches if they have the same data, view, augmentation, seed and batch size. Their teacher's
logits are then the same as well, and need computing only once.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from crossres.base import canonical_json
from crossres.suites.spec import Spec

TeacherLogits = Literal["auto", "live", "stored"]


class Sharing(NamedTuple):
    """A pass of one teacher over one stream, with the students that can read it."""

    key: str
    """Name of the pass: a digest of teacher and stream."""
    teacher: str
    teacher_seed: int
    students: tuple[Spec, ...]

    @property
    def epochs(self) -> int:
        """Epochs that at least two students need, or all epochs of a single one. A student computes any others."""
        lengths = sorted((spec.optimisation.epochs for spec in self.students), reverse=True)
        return lengths[min(1, len(lengths) - 1)]

    @property
    def saved_epochs(self) -> int:
        """Epochs of the teacher's forward pass that storing saves if no student stops early."""
        return sum(min(spec.optimisation.epochs, self.epochs) for spec in self.students) - self.epochs

    def gigabytes(self, bytes_per_logit: int) -> float:
        """Return the size of the pass in units of 10⁹ bytes."""
        first = self.students[0]
        return (
            self.epochs
            * steps_per_epoch(first)
            * first.optimisation.batch_size
            * first.dataset.classes
            * (bytes_per_logit / 1e9)
        )


def pass_key(spec: Spec) -> str:
    """Return the key of the pass that a student can read: equal for two students exactly if their batches are equal."""
    decides = spec.model_dump(
        mode="json", include={"dataset", "view", "augmentation", "teacher", "teacher_seed", "teacher_view"}
    )
    size, precision = spec.optimisation.batch_size, spec.optimisation.precision
    document = {**decides, "seed": spec.seed_of_batches, "batch_size": size, "precision": precision}
    return hashlib.sha256(canonical_json(document).encode()).hexdigest()[:12]


def steps_per_epoch(spec: Spec) -> int:
    """Return the steps of one epoch; the incomplete last batch is dropped."""
    images = spec.dataset.train_images or spec.dataset.info.train_images
    return (images - spec.dataset.validation_images) // spec.optimisation.batch_size


def passes(specs: Iterable[Spec]) -> list[Sharing]:
    """Group students by the pass that they can read."""
    groups: defaultdict[str, list[Spec]] = defaultdict(list)
    for spec in specs:
        if spec.teacher is not None:
            groups[pass_key(spec)].append(spec)
    return [_sharing(key, students) for key, students in groups.items()]


def _sharing(key: str, students: Sequence[Spec]) -> Sharing:
    first = students[0]
    assert first.teacher is not None
    assert first.teacher_seed is not None
    return Sharing(key, first.teacher, first.teacher_seed, tuple(students))


def stored_passes(specs: Iterable[Spec], mode: TeacherLogits) -> list[Sharing]:
    """Return the passes to compute and store before their students train.

    Args:
        specs: The runs that are still to be trained.
        mode: `live` stores none, `stored` all, `auto` those that save a forward pass. With one student, storing saves
            nothing and takes disk space.
    """
    found = [] if mode == "live" else passes(specs)
    return [sharing for sharing in found if mode == "stored" or sharing.saved_epochs > 0]
