"""A stored pass: equal to the live one to the bit, resumed, refused when it is not whole, and chosen where it pays."""

from __future__ import annotations

import io
import json
import math
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from crossres import files
from crossres.base import CrossresError
from crossres.suites.passes import Sharing, pass_key, passes, steps_per_epoch, stored_passes
from crossres.suites.spec import Budget, Spec
from crossres.suites.suite import load_suite, merge
from crossres.training import teacher
from crossres.training.loop import Trainer
from crossres.training.progress import ProgressBar
from crossres.training.teacher import store_pass

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
EPOCHS = 3
SUITE = load_suite(files.suite_file("demo"))
BUDGET = Budget(train_images=60, test_images=40, epochs=EPOCHS)


def spec_of(run: str, /, **changes: Any) -> Spec:
    document = {**SUITE.resolve(run, 1, BUDGET).model_dump(), "probe_images": 0}
    return Spec.parse(merge(merge(document, {"optimisation": {"batch_size": 16}}), changes), run)


def quiet() -> ProgressBar:
    return ProgressBar("quiet", EPOCHS, io.StringIO())


class Results(NamedTuple):
    weights: bytes
    last: bytes
    history: list[Any]


class Bench(NamedTuple):
    root: Path
    folder: Path

    def weights(self, run: str) -> Path:
        return self.folder / run / "seed1" / "weights.safetensors"

    def fit(self, run: str, name: str = "", **changes: Any) -> Results:
        spec = spec_of(run, **changes)
        folder = self.folder / (name or run) / "seed1"
        path = self.weights(spec.teacher) if spec.teacher else None
        Trainer(spec, self.root, folder, CPU, path).fit(quiet())
        history = json.loads((folder / "training.json").read_text())["history"]
        return Results(
            (folder / "weights.safetensors").read_bytes(), (folder / "last.safetensors").read_bytes(), history
        )

    def logits(self, run: str) -> Path:
        spec = spec_of(run)
        assert spec.teacher is not None
        return files.logits_dir(self.weights(spec.teacher).parent, pass_key(spec))

    def store(self, run: str, epochs: int = EPOCHS, progress: ProgressBar | None = None) -> Path:
        spec, folder = spec_of(run), self.logits(run)
        assert spec.teacher is not None
        store_pass(spec, self.weights(spec.teacher), self.root, epochs, folder, CPU, progress or quiet())
        return folder


@pytest.fixture(scope="module")
def trained(shapes_root: Path, tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """Return a folder with both teachers, trained for an epoch."""
    bench = Bench(shapes_root, tmp_path_factory.mktemp("teachers"))
    for run in ("teacher_32", "teacher_64"):
        bench.fit(run, optimisation={"epochs": 1, "warmup_epochs": 0})
    return bench.folder


@pytest.fixture
def bench(shapes_root: Path, tmp_path: Path, trained: Path) -> Bench:
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return Bench(shapes_root, tmp_path)


def count_forwards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    calls: list[int] = []
    live = teacher.Teacher.__call__

    def counted(self: teacher.Teacher, images: Tensor) -> Tensor:
        calls.append(len(images))
        return live(self, images)

    monkeypatch.setattr(teacher.Teacher, "__call__", counted)
    return calls


@pytest.mark.parametrize("run", ["kd_32", "dkd_beta8", "kd_64_to_32"])
@pytest.mark.parametrize("epochs", [EPOCHS, 2])
def test_stored_and_live_are_equal_to_the_bit(
    run: str, epochs: int, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every loss, every figure and the final weights; with a pass that is shorter than the run, too."""
    live = bench.fit(run, "live")
    bench.store(run, epochs)
    calls = count_forwards(monkeypatch)
    stored = bench.fit(run, "stored")
    assert len(calls) == (EPOCHS - epochs) * 3
    assert stored == live
    costs = [
        json.loads((bench.folder / name / "seed1/training.json").read_text())["cost"] for name in ("live", "stored")
    ]
    assert [cost["stored_epochs"] for cost in costs] == [0, epochs]


def test_students_of_one_stream_share_a_pass(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.store("kd_32")
    calls = count_forwards(monkeypatch)
    for run in ("kd_32", "dkd_beta8", "dkd_beta2"):
        bench.fit(run)
    assert not calls
    bench.fit("kd_32_basic")
    assert len(calls) == EPOCHS * 3


class Interrupting(ProgressBar):
    """Stops a pass in an epoch."""

    def __init__(self, epoch: int) -> None:
        super().__init__("interrupted", EPOCHS, io.StringIO())
        self.at = epoch

    def step(self, epoch: int, done: int, steps: int) -> None:
        if epoch == self.at:
            raise KeyboardInterrupt


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_an_interrupted_pass_goes_on(epoch: int, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = {path.name: path.read_bytes() for path in bench.store("kd_32").iterdir()}
    shutil.rmtree(bench.logits("kd_32"))
    with pytest.raises(KeyboardInterrupt):
        bench.store("kd_32", progress=Interrupting(epoch))
    assert not bench.logits("kd_32").exists()
    calls = count_forwards(monkeypatch)
    folder = bench.store("kd_32")
    assert len(calls) == (EPOCHS + 1 - epoch) * 3
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole
    assert len(whole) == EPOCHS + 1


def test_a_pass_of_other_weights_is_not_gone_on_with(bench: Bench) -> None:
    with pytest.raises(KeyboardInterrupt):
        bench.store("kd_32", progress=Interrupting(2))
    bench.fit("teacher_32", optimisation={"epochs": 2, "warmup_epochs": 0})
    live = bench.fit("kd_32", "live")
    bench.store("kd_32")
    assert bench.fit("kd_32", "stored") == live


def test_a_stale_pass_is_named_and_not_used(bench: Bench) -> None:
    folder = bench.store("kd_32")
    bench.fit("teacher_32", optimisation={"epochs": 2, "warmup_epochs": 0})
    heard = io.StringIO()
    spec = spec_of("kd_32")
    trainer = Trainer(spec, bench.root, bench.folder / "stale", CPU, bench.weights("teacher_32"))
    trainer.fit(ProgressBar("kd_32", EPOCHS, heard))
    assert f"{folder}: logits of other weights or data; computing them live" in heard.getvalue()


@pytest.mark.parametrize("damage", ["cut", "flipped", "missing"])
def test_a_damaged_pass_is_refused(damage: str, bench: Bench) -> None:
    folder = bench.store("kd_32")
    path = files.epoch_logits(folder, 2)
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content if damage == "flipped" else content[:-4])
    with pytest.raises(CrossresError, match=f"{path}: not the file that its manifest lists; delete"):
        bench.fit("kd_32")


@pytest.mark.parametrize("nonfinite", ["stop", "skip", "thesis_fallback"])
def test_logits_that_are_not_finite_do_the_same_stored_as_live(
    nonfinite: str, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed = teacher.Teacher.__call__
    calls: list[int] = []

    def spoilt(self: teacher.Teacher, images: Tensor) -> Tensor:
        calls.append(1)
        return computed(self, images) * (math.inf if len(calls) == 2 else 1)

    monkeypatch.setattr(teacher.Teacher, "__call__", spoilt)
    outcomes = []
    for name in ("live", "stored"):
        calls.clear()
        if name == "stored":
            bench.store("kd_32")
        try:
            outcomes.append(bench.fit("kd_32", name, optimisation={"nonfinite": nonfinite}))
        except CrossresError as error:
            outcomes.append(str(error).partition("; ")[0])
    assert outcomes[0] == outcomes[1]


def test_a_pass_that_does_not_fit_on_the_disk_is_not_begun(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = count_forwards(monkeypatch)
    usage = shutil.disk_usage(bench.folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=5000))
    with pytest.raises(CrossresError, match=r"need 0\.0 GB and 0\.0 GB are free; make room, or set teacher_logits"):
        bench.store("kd_32")
    assert not calls


# ------------------------------------------------------------------------------------------------------ what is shared


def test_exactly_the_runs_with_equal_batches_share_a_pass() -> None:
    suite = load_suite(files.suite_file("paper"))
    groups = {tuple(spec.run for spec in found.students): found for found in passes(map(suite.resolve, *jobs(suite)))}
    assert set(groups) == {("kd_32_basic",), ("kd_32", "dkd_beta8", "dkd_beta2"), ("kd_64_to_32",)}
    shared = groups["kd_32", "dkd_beta8", "dkd_beta2"]
    assert (shared.epochs, shared.saved_epochs) == (200, 400)
    assert shared.gigabytes(2) == pytest.approx(200 * 390 * 128 * 100 * 2 / 1e9)


def jobs(suite: Any) -> tuple[list[str], list[int]]:
    names, seeds = zip(*suite.jobs(), strict=True)
    return list(names), list(seeds)


CHANGES: dict[str, tuple[dict[str, Any], bool]] = {
    "objective": ({"objective": {"kd_weight": 0.5}}, True),
    "epochs": ({"optimisation": {"epochs": 9}}, True),
    "own network": ({"model": {"name": "crossres/tiny_teacher"}}, True),
    "seed": ({"seed": 2, "stream_seed": None}, False),
    "seed of the weights": ({"seed": 2, "stream_seed": 1}, True),
    "seed of the batches": ({"stream_seed": 2}, False),
    "teacher's seed": ({"teacher_seed": 2}, False),
    "batch size": ({"optimisation": {"batch_size": 8}}, False),
    "augmentation": ({"augmentation": {"mixup_alpha": 0.7}}, False),
    "data": ({"dataset": {"train_images": 50}}, False),
    "precision": ({"optimisation": {"precision": "bf16"}}, False),
    "teacher's view": ({"teacher_view": {"kind": "upsampled", "resolution_px": 48}}, False),
}


@pytest.mark.parametrize(("changes", "shares"), CHANGES.values(), ids=CHANGES)
def test_what_a_pass_depends_on(changes: dict[str, Any], shares: bool) -> None:
    assert (pass_key(spec_of("kd_32")) == pass_key(spec_of("kd_32", **changes))) is shares


def chosen(mode: Any, *runs: str) -> list[Sharing]:
    return stored_passes([spec_of(run) for run in runs], mode)


@pytest.mark.parametrize(
    ("mode", "runs", "expected"),
    [
        ("auto", ("kd_32", "dkd_beta8"), 1),
        ("auto", ("kd_32", "kd_32_basic", "kd_64_to_32", "teacher_32"), 0),
        ("live", ("kd_32", "dkd_beta8"), 0),
        ("stored", ("kd_32", "kd_32_basic", "teacher_32"), 2),
    ],
)
def test_a_pass_is_stored_where_it_saves_one(mode: str, runs: tuple[str, ...], expected: int) -> None:
    assert len(chosen(mode, *runs)) == expected


def test_a_pass_reaches_as_far_as_two_students_do() -> None:
    specs = [spec_of("kd_32", optimisation={"epochs": epochs}) for epochs in (3, 9, 5)]
    (found,) = passes(specs)
    assert (found.epochs, found.saved_epochs) == (5, 3 + 5 + 5 - 5)
    assert steps_per_epoch(specs[0]) == 60 // 16
