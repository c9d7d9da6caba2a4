"""A trained run as files for others: safetensors, ONNX checked against PyTorch, a model card."""

from __future__ import annotations

import contextlib
import io
import json
import secrets
import shutil
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from crossres import files
from crossres.base import CrossresError
from crossres.files import dump_json, sha256, sync, write_atomic
from crossres.records.record import Record, read_record
from crossres.suites.datasets import Normalisation
from crossres.suites.spec import Spec
from crossres.suites.suite import Suite
from crossres.tools.card import Exported, Parity, model_card, model_config
from crossres.training.acquire import check
from crossres.training.data import class_names, load_splits
from crossres.training.evaluate import load_network, predict

TOLERANCE = 1e-3
"""Largest accepted difference of a logit between the two runtimes."""
BATCH_SIZE = 500
CARD = "README.md"
CPU = torch.device("cpu")


class EvaluatedRun(NamedTuple):
    """A trained and evaluated run and seed."""

    record: Record
    record_file: Path
    weights_file: Path
    reason: str
    """Why it is exported, as a sentence for the reader."""
    teacher: Record | None
    """The record of its teacher, where that is evaluated."""


def best_run(
    suite: Suite, results: Path, run: str | None = None, seed: int | None = None, suite_name: str | None = None
) -> EvaluatedRun:
    """Return the most accurate evaluated run and seed.

    Candidates are compared by validation images if all of them select their epoch without the test images and have
    validation images, and by test images otherwise.

    Args:
        suite: The suite.
        results: Folder of its results; a record is computed there, or shipped.
        run: Only this run; every student (a run that teaches no other) when None.
        seed: Only this seed; all when None.
        suite_name: What the user called the suite, for messages: its name or file.

    Raises:
        CrossresError: When there is no such run or seed, it is not trained or not evaluated, or its record is stale.
    """
    teachers = {entry.teacher for entry in suite.runs.values()}
    runs = [name for name in suite.runs if name not in teachers] if run is None else [run]
    candidates = [(name, each) for name in runs for each in suite.seeds_of(name) if seed in (None, each)]
    if not candidates:
        seeds = sorted({each for name in runs for each in suite.seeds_of(name)})
        raise CrossresError(f"{run or suite.suite}: has no seed {seed}; known: {', '.join(map(str, seeds))}")
    found = [file for job in candidates if (file := _record_file(suite, results, *job)) is not None]
    if not found:
        raise CrossresError(_why_no_record(suite_name or suite.suite, results, candidates))
    records = {file: _current_record(suite, file) for file in found}
    test_pct = {file: record.best.top1_pct for file, record in records.items()}
    validation_pct = {file: pct for file, record in records.items() if (pct := _validation_pct(record)) is not None}
    images, accuracy_pct = ("validation", validation_pct) if len(validation_pct) == len(found) else ("test", test_pct)
    file = max(found, key=lambda file: accuracy_pct[file])
    reason = "It was asked for by name." if run else "It is the only student and seed of its suite."
    if len(candidates) > 1:
        reason = f"It is the most accurate on the {images} images of {len(found)} evaluated runs and seeds. "
        reason += (
            "The same images measure its accuracy, which flatters it."
            if images == "test"
            else "No test image was used."
        )
    weights = files.run_dir(results, records[file].spec.run, records[file].spec.seed) / "weights.safetensors"
    return EvaluatedRun(records[file], file, weights, reason, _teacher(suite, results, records[file]))


def _record_file(suite: Suite, results: Path, run: str, seed: int) -> Path | None:
    """The computed record, or else the shipped one."""
    places = (files.record_file(results, run, seed), files.shipped_record(suite.suite, run, seed))
    return next((file for file in places if file.is_file()), None)


def _why_no_record(suite_name: str, results: Path, candidates: list[tuple[str, int]]) -> str:
    trained = [job for job in candidates if (files.run_dir(results, *job) / "training.json").is_file()]
    record = files.record_file(results, *(trained or candidates)[0])
    problem = f"none of the {len(candidates)} runs and seeds to choose from is trained"
    if trained or len(candidates) == 1:
        problem = "it is trained and not yet evaluated" if trained else "it is not trained"
    fix = f"snakemake --cores 1 --config suite={suite_name} -- {record}"
    truncated = results.with_name(f"{results.name}-truncated")
    if truncated.is_dir():
        fix += f"; or export a run that a budget cut: --results {truncated}"
    return f"{record}: no such record, {problem}; to make it: {fix}"


def _current_record(suite: Suite, file: Path) -> Record:
    record = read_record(file)
    spec = suite.resolve(record.spec.run, record.spec.seed, record.spec.budget)
    if keys := record.spec.differing(spec):
        raise CrossresError(f"{file}: stale: its spec differs from the suite's in {', '.join(keys)}; compute it again")
    return record


def _validation_pct(record: Record) -> float | None:
    """The validation accuracy of the selected epoch; None where the test images selected it."""
    if record.spec.optimisation.select == "best_on_test":
        return None
    return next(entry.validation_accuracy_pct for entry in record.history if entry.epoch == record.best.epoch)


def _teacher(suite: Suite, results: Path, record: Record) -> Record | None:
    spec = record.spec
    if spec.teacher is None or spec.teacher_seed is None:
        return None
    file = _record_file(suite, results, spec.teacher, spec.teacher_seed)
    teacher = None if file is None else read_record(file)
    same = teacher is not None and teacher.provenance.weights_sha256 == record.provenance.teacher_sha256
    return teacher if same else None


class Deployed(nn.Module):
    """A network with its normalisation: what `model.onnx` computes."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, normalisation: Normalisation) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(normalisation.mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(normalisation.std).view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Map images in [0, 1], `[N, 3, S, S]`, to logits `[N, C]`."""
        return self.network((images - self.mean) / self.std)


def export(chosen: EvaluatedRun, suite: Suite, data_root: Path, output: Path) -> Parity:
    """Write a run's weights, record, configuration, ONNX model and model card into a folder.

    Nothing is written before the ONNX model has been compared with PyTorch on the run's test images.

    Returns:
        How the two runtimes agree.

    Raises:
        CrossresError: When the weights are missing or not the record's, the data are not those it was tested on, or the
            two runtimes differ by more than `TOLERANCE`.
    """
    record, spec = chosen.record, chosen.record.spec
    weights, normalisation = _checked_weights(chosen), spec.dataset.info.normalisation
    network = load_network(chosen.weights_file, CPU)[0].eval()
    check(spec.dataset, data_root)
    # The training images are not used; one per class is the smallest number that can be asked for.
    dataset = spec.dataset.model_copy(update={"train_images": spec.dataset.classes, "validation_images": 0})
    images = load_splits(dataset, spec.view, data_root, CPU)
    if images.digest != record.provenance.data_sha256:
        raise CrossresError(f"{data_root}: not the {spec.dataset.name} that {chosen.record_file} was computed with")
    names = class_names(spec.dataset, data_root)
    contents = {"model.safetensors": weights, "record.json": chosen.record_file.read_bytes()}
    notes = {f"{name}.sha256": sha256(content) for name, content in contents.items()}
    notes["class_names"] = json.dumps(names)
    contents["model.onnx"], opset = to_onnx(Deployed(network, normalisation), spec, notes)
    parity = measure_parity(contents["model.onnx"], network, *images.test, normalisation)
    if not parity.max_abs_difference <= TOLERANCE:  # so that NaN fails as well
        differ = f"differ by up to {parity.max_abs_difference:.1e}, more than {TOLERANCE:.0e}"
        raise CrossresError(f"{spec.run} seed {spec.seed}: the logits of ONNX and PyTorch {differ}; nothing is written")
    digests = {name: sha256(content) for name, content in contents.items()}
    exported = Exported(names, *normalisation, _stem(network, spec), opset, parity, digests)
    contents["config.json"] = (dump_json(model_config(record, exported)) + "\n").encode()
    contents[CARD] = model_card(record, chosen.teacher, suite, chosen.reason, exported).encode()
    _write(output.absolute(), contents)
    return parity


def _write(output: Path, contents: dict[str, bytes]) -> None:
    """Write the files of an export once all are on the disk: a new folder as a whole, an old one with its card last."""
    part = output.with_name(f".{output.name}.{secrets.token_hex(4)}.part")
    try:
        for name, content in contents.items():
            write_atomic(part / name, content)
        if output.is_dir():
            (output / CARD).unlink(missing_ok=True)
            for name in sorted(contents, key=lambda name: name == CARD):
                (part / name).replace(output / name)
            sync(output)
        else:
            part.rename(output)
        sync(output.parent)
    except OSError as error:
        raise CrossresError(f"{output}: could not be written ({error.strerror})") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def to_onnx(model: nn.Module, spec: Spec, notes: dict[str, str]) -> tuple[bytes, int]:
    """Return a model in evaluation mode as ONNX, for any batch size and with notes as metadata, and its opset."""
    example = torch.zeros(2, 3, spec.view.resolution_px, spec.view.resolution_px)
    # The exporter reports to standard output, and its libraries warn about each other.
    with warnings.catch_warnings(action="ignore"), contextlib.redirect_stdout(io.StringIO()):
        program = torch.onnx.export(
            model,
            (example,),
            dynamo=True,
            verbose=False,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )
    assert program is not None
    proto = program.model_proto
    _forget_the_machine(proto)
    for key, value in notes.items():
        proto.metadata_props.add(key=key, value=value)
    return proto.SerializeToString(deterministic=True), proto.opset_import[0].version


def _forget_the_machine(proto: Any) -> None:
    """Remove the exporter's notes: stack traces, with the paths of this machine."""
    graph = proto.graph
    for part in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


def measure_parity(
    model: bytes, network: nn.Module, images: Tensor, labels: Tensor, normalisation: Normalisation
) -> Parity:
    """Compare an ONNX model in onnxruntime with PyTorch: on one image alone, then on all of them.

    Args:
        model: The ONNX file.
        network: The same network in PyTorch, without the normalisation.
        images: uint8 `[M, 3, S, S]`.
        labels: `[M]`.
        normalisation: Of PyTorch's images.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def run(part: Tensor) -> Tensor:
        return torch.from_numpy(session.run(["logits"], {"images": (part.float() / 255).numpy()})[0])

    expected = predict(network, images, normalisation)
    logits = torch.cat([run(part) for part in images.split(BATCH_SIZE)])
    alone = (run(images[:1]) - expected[:1]).abs().max()
    predicted = logits.argmax(1)
    return Parity(
        images=len(images),
        max_abs_difference=torch.maximum((logits - expected).abs().max(), alone).item(),
        tolerance=TOLERANCE,
        top1_agreement_pct=100 * (predicted == expected.argmax(1)).double().mean().item(),
        top1_pct=100 * (predicted == labels).double().mean().item(),
    )


def _checked_weights(chosen: EvaluatedRun) -> bytes:
    path, record_file, expected = chosen.weights_file, chosen.record_file, chosen.record.provenance.weights_sha256
    if expected is None:
        raise CrossresError(f"{record_file}: its figures were not computed here, so there are no weights to export")
    if not path.is_file():
        fix = "put them there, or train the run"
        raise CrossresError(f"{path}: no such file, and {record_file} is about these weights; {fix}")
    content = path.read_bytes()
    if sha256(content) != expected:
        problem = f"not the weights that {record_file} is about, by their SHA-256"
        raise CrossresError(f"{path}: {problem}; delete it and compute it again")
    return content


def _stem(network: nn.Module, spec: Spec) -> str | None:
    """Name the first convolution, where the spec sets its stride."""
    if spec.model.stem_stride is None:
        return None
    return next(name for name, module in network.named_modules() if isinstance(module, nn.Conv2d))
