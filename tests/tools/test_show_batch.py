"""A batch as a picture: replayed, not remembered."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from crossres import files
from crossres.__main__ import main
from crossres.base import CrossresError
from crossres.files import write_json
from crossres.suites.spec import Spec
from crossres.suites.suite import load_suite
from crossres.tools.show_batch import contact_sheet


@pytest.fixture
def spec() -> Spec:
    return load_suite(files.suite_file("demo")).resolve("kd_64_to_32", 1)


def test_any_batch_can_be_replayed(spec: Spec, shapes_root: Path) -> None:
    first = contact_sheet(spec, shapes_root, epoch=3, step=5, images=6)
    contact_sheet(spec, shapes_root, epoch=1, step=1, images=6)
    assert contact_sheet(spec, shapes_root, epoch=3, step=5, images=6) == first
    assert contact_sheet(spec, shapes_root, epoch=3, step=6, images=6) != first
    assert Image.open(io.BytesIO(first)).format == "PNG"


def test_it_lies_beside_the_spec(spec: Spec, shapes_root: Path, tmp_path: Path) -> None:
    write_json(tmp_path / "spec.json", spec.model_dump(mode="json"))
    words = ["--spec", str(tmp_path / "spec.json"), "--data", str(shapes_root), "--epoch", "3", "--step", "5"]
    assert main(["show-batch", *words, "--images", "6"]) == 0
    written = tmp_path / "batch_epoch3_step5.png"
    assert written.read_bytes() == contact_sheet(spec, shapes_root, epoch=3, step=5, images=6)


def test_a_student_is_shown_beside_its_teacher(spec: Spec, shapes_root: Path) -> None:
    alone = load_suite(files.suite_file("demo")).resolve("teacher_32", 1)
    widths = [Image.open(io.BytesIO(contact_sheet(s, shapes_root, 1, 1, 4))).width for s in (alone, spec)]
    assert widths[1] > 1.5 * widths[0]


def test_a_step_that_is_not_there(spec: Spec, shapes_root: Path) -> None:
    with pytest.raises(CrossresError, match="has the steps 1 to 125"):
        contact_sheet(spec, shapes_root, epoch=1, step=126, images=4)


def test_an_epoch_that_is_not_there(spec: Spec, shapes_root: Path) -> None:
    with pytest.raises(
        CrossresError, match=rf"--epoch 99: run kd_64_to_32 has the epochs 1 to {spec.optimisation.epochs}"
    ):
        contact_sheet(spec, shapes_root, epoch=99, step=1, images=4)
