"""The shipped records of `mini`: of its runs, judged as on record, and what today's code still computes."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch

from crossres import files
from crossres.claims.audit import audit
from crossres.claims.claim import load_claims
from crossres.records.record import Record, read_record
from crossres.records.summary import summarise
from crossres.suites.suite import Suite, load_suite
from crossres.training.acquire import prepare
from crossres.training.loop import Trainer
from crossres.training.progress import ProgressBar


@pytest.fixture(scope="module")
def mini() -> Suite:
    return load_suite(files.suite_file("mini"))


@pytest.fixture(scope="module")
def records(mini: Suite) -> dict[tuple[str, int], Record]:
    return {job: read_record(files.shipped_record("mini", *job)) for job in mini.jobs()}


def test_every_record_is_of_its_run_and_of_its_teacher(mini: Suite, records: dict[tuple[str, int], Record]) -> None:
    for (run, seed), record in records.items():
        spec, made = record.spec, record.provenance
        assert spec == mini.resolve(run, seed)
        assert (made.precision, made.source, made.commit is None) == ("fp32", None, False)
        if spec.teacher is not None and spec.teacher_seed is not None:
            assert made.teacher_sha256 == records[spec.teacher, spec.teacher_seed].provenance.weights_sha256
    assert len({record.provenance.data_sha256 for record in records.values()}) == 1
    assert len({record.provenance.sources_sha256 for record in records.values()}) == 1


def test_the_verdicts_are_those_on_record(mini: Suite, records: dict[tuple[str, int], Record]) -> None:
    claims, given = load_claims(files.CLAIMS), list(records.values())
    found = audit(mini, given, summarise(given), claims)
    assert found.mismatches(claims.recorded("mini")) == []
    tested = [figure.estimate for finding in found.findings for figure in finding.figures if figure.estimate]
    assert any(estimate.chance == "seed" and estimate.p is not None for estimate in tested)


@pytest.mark.cifar100
def test_an_epoch_of_a_record_is_still_what_training_computes(
    records: dict[tuple[str, int], Record], cifar100_folder: Path, tmp_path: Path, one_thread: None
) -> None:
    """To the bit on the machine of the records; the last bits are another processor's own, hence the tolerance."""
    record = records["ce_32", 1]
    prepare("cifar100", tmp_path, str(cifar100_folder))
    trainer = Trainer(record.spec, tmp_path, tmp_path / "run", torch.device("cpu"))
    trainer._run_epoch(ProgressBar("ce_32", 1, io.StringIO()))
    assert trainer.images.digest == record.provenance.data_sha256
    (again,), first = trainer.checkpoint.history, record.history[0]
    print(f"equal to the bit: {again == first}")
    assert again.train_loss == pytest.approx(first.train_loss, rel=1e-3)
    assert again.grad_norm == pytest.approx(first.grad_norm, rel=1e-2)
    assert again.validation_accuracy_pct == pytest.approx(first.validation_accuracy_pct, abs=2)
