"""What is handed on: the choice of a run, its files, ONNX held to PyTorch, and a card whose lines run."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import onnx
import pytest
import torch
import yaml
from safetensors.torch import load_file

from crossres import files
from crossres.__main__ import main
from crossres.base import CrossresError
from crossres.files import write_json
from crossres.records.record import Record, TrainingResult, read_record, write_record
from crossres.suites.datasets import CIFAR100_NORMALISATION, Normalisation
from crossres.suites.spec import Budget, Spec
from crossres.suites.suite import Suite, load_suite
from crossres.tools import export
from crossres.training import acquire, data
from crossres.training.augment import normalise
from crossres.training.evaluate import evaluate, load_network, pack_weights, score
from crossres.training.models import build
from tests import cifar
from tests.project import copy_of_the_project, job_counts, snakemake

CPU = torch.device("cpu")
PUBLISHED = "paper/records/published/kd_32/seed42.json"
FILES = {"README.md", "config.json", "model.onnx", "model.safetensors", "record.json"}


def finish(spec: Spec, results: Path, root: Path) -> Record:
    """Leave what training and evaluating a run leave; the weights are random, and their logits far from zero."""
    run_dir = files.run_dir(results, spec.run, spec.seed)
    run_dir.mkdir(parents=True)
    network = build(spec.model, spec.dataset.classes, spec.seed)
    with torch.no_grad():
        images = data.load_splits(spec.dataset.model_copy(update={"validation_images": 0}), spec.view, root, CPU)
        for _ in range(8):
            network(normalise(images.test.images[:32], spec.dataset.info.normalisation))
        for parameter in list(network.parameters())[-2:]:
            parameter.mul_(30)
    content = pack_weights(network, spec, epoch=1)
    for name in ("weights", "last"):
        (run_dir / f"{name}.safetensors").write_bytes(content)
    published = read_record(Path(PUBLISHED))
    digests = {"weights_sha256": hashlib.sha256(content).hexdigest(), "data_sha256": images.digest, "source": None}
    made_with = published.provenance.model_copy(update={**digests, "precision": "fp32", "commit": "0" * 40})
    top1_pct, loss, _ = score(network, images.test, spec)
    entry = published.history[0].model_copy(update={"test_accuracy_pct": top1_pct, "test_loss": loss})
    training = TrainingResult(
        state="0" * 12,
        last_sha256=hashlib.sha256(content).hexdigest(),
        history=[entry],
        stopped_early=False,
        cost=published.cost,
        provenance=made_with,
    )
    write_json(run_dir / "training.json", training.model_dump(mode="json"))
    record = evaluate(spec, run_dir, training, root, CPU)
    write_record(run_dir / "record.json", record)
    return record


class Finished(NamedTuple):
    """A suite of which some runs are finished."""

    suite: Path
    results: Path
    root: Path

    def export(self, *words: str, output: Path | None = None) -> Path:
        folder = output or self.results / "out"
        command = ["export", str(self.suite), "--results", str(self.results), "--data", str(self.root)]
        assert main([*command, "--output", str(folder), *words]) == 0
        return folder


def own_suite(folder: Path, model: dict[str, Any], **optimisation: Any) -> Path:
    """A suite of one network without a teacher, and a bigger one that is not a student."""
    run = {"model": model, "objective": {"method": "ce"}, "optimisation": {"epochs": 1, "warmup_epochs": 0}}
    run["optimisation"] |= {"batch_size": 16, **optimisation}
    document = {"suite": "mine", "title": "Mine", "dataset": {"name": "shapes", "validation_images": 40}}
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({**document, "seeds": [1, 2, 3], "runs": {"alone": run}}))
    return path


@pytest.fixture(scope="module")
def finished(shapes_root: Path, tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Finished:
    """The suite `demo`, cut, with one student finished."""
    results = tmp_path_factory.mktemp("demo")
    suite = load_suite(files.suite_file("demo"))
    finish(suite.resolve("kd_64_to_32", 2, Budget(test_images=100)), results, shapes_root)
    return Finished(files.suite_file("demo"), results, shapes_root)


@pytest.fixture(scope="module")
def exported(finished: Finished) -> Path:
    return finished.export()


def blocks(card: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", card.read_text(), re.DOTALL)


def run_the_card(folder: Path, images: torch.Tensor) -> dict[str, Any]:
    """Run the card's own lines, in its folder."""
    names: dict[str, Any] = {"images": images}
    with contextlib.chdir(folder):
        for block in blocks(folder / "README.md"):
            exec(block, names)
    return names


# ------------------------------------------------------------------------------------------------- the card's own lines


@pytest.mark.parametrize(
    "model", [{"name": "timm/test_efficientnet", "stem_stride": 1}, {"name": "torchvision/resnet18"}]
)
def test_the_cards_lines_rebuild_the_model(model: dict[str, Any], shapes_root: Path, tmp_path: Path) -> None:
    suite = own_suite(tmp_path, model)
    finish(load_suite(suite).resolve("alone", 2, Budget(test_images=60)), tmp_path, shapes_root)
    check_the_card(Finished(suite, tmp_path, shapes_root).export(), 20)


def test_the_cards_lines_rebuild_one_of_our_own(exported: Path) -> None:
    check_the_card(exported, 20)


def test_the_thesis_student_loads_into_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models import efficientnet_v2_s

    root, content = tmp_path / "data", cifar.pass_for(monkeypatch, "cifar100")
    acquire.prepare("cifar100", root, str(cifar.write_folder(tmp_path / "source", content)))
    suite = load_suite(files.suite_file("paper"))
    finish(suite.resolve("kd_32", 42, Budget(pretrained=False, train_images=200, test_images=40)), tmp_path, root)
    folder = Finished(files.suite_file("paper"), tmp_path, root).export()
    student = efficientnet_v2_s(num_classes=100)
    assert student.load_state_dict(load_file(folder / "model.safetensors"), strict=True)
    assert "from torchvision.models import efficientnet_v2_s" in blocks(folder / "README.md")[0]
    check_the_card(folder, 100)


def check_the_card(folder: Path, classes: int) -> None:
    """The lines give the logits of the run's own network, from one image and from several, in both runtimes."""
    pixels = torch.randint(0, 256, (7, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
    network = load_network(folder / "model.safetensors", CPU)[0].eval()
    with torch.no_grad():
        expected = network(normalise(pixels, CIFAR100_NORMALISATION))
    assert expected.shape == (7, classes) and expected.std() > 0.1
    for rows in (slice(0, 7), slice(3, 4)):
        ran = run_the_card(folder, pixels[rows].float() / 255)
        assert not ran["model"].training
        torch.testing.assert_close(ran["logits"], expected[rows], rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(torch.from_numpy(ran["onnx_logits"]), expected[rows], rtol=1e-3, atol=1e-3)


# ---------------------------------------------------------------------------------------------------------- the files


def test_the_folder_is_whole_and_its_digests_are_right(exported: Path, finished: Finished) -> None:
    run_dir = files.run_dir(finished.results, "kd_64_to_32", 2)
    assert {path.name for path in exported.iterdir()} == FILES
    assert (exported / "model.safetensors").read_bytes() == (run_dir / "weights.safetensors").read_bytes()
    assert (exported / "record.json").read_bytes() == (run_dir / "record.json").read_bytes()
    text, configuration = (exported / "README.md").read_text(), json.loads((exported / "config.json").read_text())
    assert set(configuration["sha256"]) == FILES - {"README.md", "config.json"}
    for name, digest in configuration["sha256"].items():
        assert hashlib.sha256((exported / name).read_bytes()).hexdigest() == digest
        assert f"| `{name}` | `{digest}` |" in text


def test_the_card_says_what_the_record_says(exported: Path) -> None:
    record, text = read_record(exported / "record.json"), (exported / "README.md").read_text()
    header = yaml.safe_load(text.split("---\n")[1])
    (result,) = header["model-index"][0]["results"]
    assert result["metrics"][0]["value"] == round(record.best.top1_pct, 2)
    assert "knowledge-distillation" in header["tags"]
    assert f"| Top-1 accuracy | {record.best.top1_pct:.2f} % |" in text
    assert "**Truncated**" in text and "This is the demonstration" in text
    assert "which saw each batch at 64 × 64 px, upsampled, by KD" in text
    assert "accuracy is optimistic" in text and "compared with PyTorch's logits" in text
    assert json.loads(text.split("```json\n")[1].split("```")[0]) == record.spec.model_dump(mode="json")
    configuration = json.loads((exported / "config.json").read_text())
    assert configuration["class_names"][:2] == ["disc_columns", "disc_rows"]
    assert (configuration["num_classes"], configuration["resolution_px"]) == (20, 32)


def test_the_onnx_file_is_sound_and_knows_no_machine(exported: Path) -> None:
    content = (exported / "model.onnx").read_bytes()
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    (given,) = model.graph.input
    assert [size.dim_param or size.dim_value for size in given.type.tensor_type.shape.dim] == ["batch", 3, 32, 32]
    notes = {note.key: note.value for note in model.metadata_props}
    assert notes["record.json.sha256"] == hashlib.sha256((exported / "record.json").read_bytes()).hexdigest()
    assert json.loads(notes["class_names"])[0] == "disc_columns"
    for foreign in (b"site-packages", b"stack_trace", str(Path.cwd()).encode()):
        assert foreign not in content


def test_exporting_again_gives_the_same_files(exported: Path, finished: Finished, tmp_path: Path) -> None:
    finished.export("--run", "kd_64_to_32", "--seed", "2", output=tmp_path)
    for name in FILES - {"README.md"}:
        assert (tmp_path / name).read_bytes() == (exported / name).read_bytes(), name
    assert "It was asked for by name." in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize("is_new", [True, False])
def test_a_full_disk_leaves_no_part_of_an_export(
    is_new: bool, exported: Path, finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    if not is_new:
        shutil.copytree(exported, folder)
        (folder / "model.onnx").write_text("older")
    before = {path.name: path.read_bytes() for path in folder.glob("*")}
    synced, fsync = [], os.fsync

    def fill_the_disk(file: int) -> None:
        synced.append(file)
        if len(synced) > 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(file)

    monkeypatch.setattr(os, "fsync", fill_the_disk)
    words = ["export", str(finished.suite), "--results", str(finished.results), "--data", str(finished.root)]
    assert main([*words, "--output", str(folder)]) == 1
    assert {path.name: path.read_bytes() for path in folder.glob("*")} == before
    assert list(tmp_path.iterdir()) == ([] if is_new else [folder])


def test_a_difference_is_one_line_and_nothing_is_written(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = export.to_onnx

    def off(model: export.Deployed, spec: Spec, notes: dict[str, str]) -> tuple[bytes, int]:
        return whole(export.Deployed(model.network, Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))), spec, notes)

    monkeypatch.setattr(export, "to_onnx", off)
    words = ["export", "demo", "--results", str(finished.results), "--data", str(finished.root)]
    assert main([*words, "--output", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert re.search(r"kd_64_to_32 seed 2: the logits of ONNX and PyTorch differ by up to .*nothing is written", said)
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


# ----------------------------------------------------------------------------------------------------------- the choice


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    return load_suite(own_suite(tmp_path_factory.mktemp("mine"), {"name": "crossres/tiny_student"}))


def leave_record(suite: Suite, results: Path, seed: int, test_pct: float, validation_pct: float | None = None) -> Path:
    published = read_record(Path(PUBLISHED))
    entry = published.history[0].model_copy(
        update={"test_accuracy_pct": test_pct, "validation_accuracy_pct": validation_pct}
    )
    best = published.best.model_copy(update={"epoch": 1, "top1_pct": test_pct})
    changed = {"spec": suite.resolve("alone", seed), "history": [entry], "best": best, "last": best}
    path = files.record_file(results, "alone", seed)
    write_record(path, published.model_copy(update=changed))
    return path


def test_the_best_on_the_test_images_is_chosen_and_called_flattered(mine: Suite, tmp_path: Path) -> None:
    for seed, test_pct in ((1, 70.0), (2, 72.0), (3, 71.0)):
        leave_record(mine, tmp_path, seed, test_pct, validation_pct=100.0 - test_pct)
    chosen = export.best_run(mine, tmp_path)
    assert chosen.record.spec.seed == 2
    assert (
        "most accurate on the test images of 3 evaluated runs and seeds" in chosen.reason
        and "flatters" in chosen.reason
    )
    assert export.best_run(mine, tmp_path, seed=3).record.spec.seed == 3


def test_validation_images_choose_where_the_suite_selects_by_them(tmp_path: Path) -> None:
    path = own_suite(tmp_path, {"name": "crossres/tiny_student"}, select="best_on_validation")
    suite = load_suite(path)
    for seed, test_pct in ((1, 70.0), (2, 72.0)):
        leave_record(suite, tmp_path, seed, test_pct, validation_pct=100.0 - test_pct)
    chosen = export.best_run(suite, tmp_path)
    assert chosen.record.spec.seed == 1
    assert "most accurate on the validation images of 2 evaluated runs and seeds" in chosen.reason


def test_teachers_are_not_students() -> None:
    suite = load_suite(files.suite_file("demo"))
    students = sum(suite.run(run).teacher is not None for run, _ in suite.jobs())
    with pytest.raises(CrossresError, match=f"none of the {students} runs and seeds to choose from is trained"):
        export.best_run(suite, Path("nowhere"))


# ----------------------------------------------------------------------------------------------------------- mistakes


def test_what_is_not_there_is_named(mine: Suite, tmp_path: Path) -> None:
    with pytest.raises(
        CrossresError, match=r"alone/seed1/record\.json: no such record, it is not trained; to make it: snak"
    ):
        export.best_run(mine, tmp_path, "alone", 1)
    write_json(files.run_dir(tmp_path, "alone", 2) / "training.json", {})
    with pytest.raises(
        CrossresError, match=r"alone/seed2/record\.json: no such record, it is trained and not yet evaluated"
    ):
        export.best_run(mine, tmp_path)
    with pytest.raises(CrossresError, match="alone: has no seed 7; known: 1, 2, 3"):
        export.best_run(mine, tmp_path, "alone", 7)
    with pytest.raises(CrossresError, match="no run 'alon'; did you mean 'alone'"):
        export.best_run(mine, tmp_path, "alon")
    record = leave_record(mine, tmp_path, 1, 70.0)
    edited = mine.model_copy(update={"dataset": mine.dataset.model_copy(update={"validation_images": 60})})
    with pytest.raises(
        CrossresError, match="stale: its spec differs from the suite's in dataset.validation_images; compute it again"
    ):
        export.best_run(edited, tmp_path)
    record.write_text(record.read_text()[:50])
    with pytest.raises(CrossresError, match="not valid JSON"):
        export.best_run(mine, tmp_path)


def test_published_figures_have_no_weights(shapes_root: Path, tmp_path: Path) -> None:
    suite = load_suite(files.suite_file("published"))
    chosen = export.best_run(suite, tmp_path, "kd_64_to_32")
    with pytest.raises(CrossresError, match="were not computed here, so there are no weights to export"):
        export.export(chosen, suite, shapes_root, tmp_path / "out")


@pytest.mark.parametrize("damage", ["missing", "other"])
def test_weights_that_are_not_the_records_are_refused(damage: str, finished: Finished, tmp_path: Path) -> None:
    suite = load_suite(finished.suite)
    chosen = export.best_run(suite, finished.results)
    weights = tmp_path / "weights.safetensors"
    if damage == "other":
        content = bytearray(chosen.weights_file.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
    message = {
        "missing": "no such file, and .* is about these weights",
        "other": "not the weights that .* by their SHA-256",
    }
    with pytest.raises(CrossresError, match=message[damage]) as caught:
        export.export(chosen._replace(weights_file=weights), suite, finished.root, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.workflow
def test_the_workflow_exports_after_the_records(tmp_path: Path) -> None:
    project = copy_of_the_project(tmp_path)
    for target in ("export", "results/demo/export/model.onnx"):
        done = snakemake(project, "-n", "--config", "suite=demo", "device=cpu", "--", target)
        assert done.returncode == 0, done.stderr
        counts = job_counts(done.stdout + done.stderr)
        assert (counts["export"], counts["evaluate"]) == (1, len(load_suite(files.suite_file("demo")).jobs()))
        assert "summary" not in counts
