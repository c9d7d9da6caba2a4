"""Which runs a figure shows, by what they are rather than by their names."""

from __future__ import annotations

from collections.abc import Sequence

from crossres.records.record import Record
from crossres.suites.names import method_name
from crossres.suites.spec import Spec


def teachers(records: Sequence[Record]) -> set[str]:
    """Return the runs that teach others."""
    return {record.spec.teacher for record in records if record.spec.teacher}


def by_method(records: Sequence[Record]) -> list[str]:
    """Return one run per method, such that they differ in nothing but the method; as many methods as there can be.

    They share network, views, augmentation and teacher; a run that learns from the labels alone has no teacher. Of
    several with one method, the first is taken.
    """
    by_student = [_beside(record.spec, records) for record in records if record.spec.teacher]
    return max(by_student, key=len, default=[])


def _beside(student: Spec, records: Sequence[Record]) -> list[str]:
    found: dict[str, str] = {}
    for spec in (record.spec for record in records if record.name not in teachers(records)):
        same = (spec.model, spec.view, spec.augmentation) == (student.model, student.view, student.augmentation)
        if same and (
            spec.teacher is None or (spec.teacher, spec.teacher_view) == (student.teacher, student.teacher_view)
        ):
            found.setdefault(method_name(spec), spec.run)
    return list(found.values())


def pair(records: Sequence[Record]) -> tuple[str, str] | None:
    """Return the first and the last student of `by_method`; None where there is only one."""
    taught = {record.name for record in records if record.spec.teacher}
    students = [run for run in by_method(records) if run in taught]
    return (students[0], students[-1]) if len(students) > 1 else None
