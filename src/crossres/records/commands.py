"""Verbs of the records."""

from __future__ import annotations

from pathlib import Path

from crossres import files
from crossres.options import Data, File, Folder, Output, PathName, Records, Spec
from crossres.records.record import read_record, read_spec, write_record
from crossres.suites.suite import load_suite


def import_thesis(*, source: PathName | None = None) -> None:
    """Turn the logs of the thesis into the records of suite `published`.

    Args:
        source: Folder or archive with the logs; without it, they are downloaded.
    """
    from crossres.records import thesis

    files.check_root()
    for record in thesis.import_records(load_suite(files.suite_file("published")), source):
        path = files.shipped_record(record.spec.suite, record.spec.run, record.spec.seed)
        write_record(path, record)
        print(f"{path}  {record.best.top1_pct:.2f} % at epoch {record.best.epoch} of {len(record.history)}")


def summary(*, records: Records, output: Output) -> None:
    """Collect the records of a suite in one table."""
    from crossres.records.summary import summarise

    files.write_atomic(output, summarise(read_record(path) for path in records).to_csv(index=False))


def adopt(
    donor: Folder, /, *, spec: Spec, data: Data = Path("data"), teacher: File | None = None, weights: File | None = None
) -> None:
    """Take a run that was trained in another suite's results instead of training it, by hard links.

    Args:
        donor: Folder of the trained run.
        teacher: Weights of the run's teacher.
        weights: ImageNet weights that the run would start from.
    """
    from crossres.records import reuse

    wanted = read_spec(spec)
    needed = reuse.needs(files.data_manifest(data, wanted.dataset.key), teacher, weights)
    reuse.adopt(donor, wanted, needed, spec.parent)
    print(f"{wanted.run} seed {wanted.seed}: adopted from {donor}")
