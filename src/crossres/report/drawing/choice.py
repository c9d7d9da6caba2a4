"""Which runs a figure shows, by what they are rather than by their names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence

from crossres.records.record import Record
from crossres.suites.names import method_name


def teachers(records: Sequence[Record]) -> set[str]:
    """Return the runs that teach others."""
    return {record.spec.teacher for record in records if record.spec.teacher}


def by_method(records: Sequence[Record]) -> list[str]:
    """Return one run per method, such that they differ in little but the method; as many methods as there can be.

    They share network, views, augmentation and teacher; a run that learns from the labels alone has no teacher. Of
    several with one method, the first with the commonest schedule is taken.
    """
    runs = {record.name: record.spec for record in records}
    schedules = [spec.optimisation for spec in runs.values() if spec.teacher]
    teaching = teachers(records)
    alone: defaultdict[Hashable, dict[str, str]] = defaultdict(dict)
    taught: defaultdict[tuple[Hashable, Hashable], dict[str, str]] = defaultdict(dict)
    candidates = [spec for run, spec in runs.items() if run not in teaching]
    for spec in sorted(candidates, key=lambda spec: -schedules.count(spec.optimisation)):
        network = (spec.model, spec.view, spec.augmentation)
        group = taught[network, (spec.teacher, spec.teacher_view)] if spec.teacher else alone[network]
        group.setdefault(method_name(spec), spec.run)
    chosen: list[str] = max(
        ([*alone[network].values(), *group.values()] for (network, _), group in taught.items()), key=len, default=[]
    )
    return [run for run in runs if run in chosen]


def pair(records: Sequence[Record]) -> tuple[str, str] | None:
    """Return the first and the last student of `by_method`; None where there is only one."""
    taught = {record.name for record in records if record.spec.teacher}
    students = [run for run in by_method(records) if run in taught]
    return (students[0], students[-1]) if len(students) > 1 else None
