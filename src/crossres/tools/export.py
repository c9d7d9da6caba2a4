"""A trained run as files that others load: safetensors, ONNX held to PyTorch, a model card."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from crossres.base import CrossresError
from crossres.files import dump_json, write_atomic
from crossres.suites.datasets import Normalisation
from crossres.suites.spec import Spec
from crossres.suites.suite import Suite
from crossres.tools.card import Exported, Parity, card, describe
from crossres.tools.choice import Choice
from crossres.training.acquire import check
from crossres.training.data import class_names, load_splits
from crossres.training.evaluate import load_network, predict

TOLERANCE = 1e-3
"""Largest absolute difference of a logit between the two runtimes that is let pass."""
BATCH_SIZE = 500
CPU = torch.device("cpu")


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


def export(choice: Choice, suite: Suite, data_root: Path, output: Path) -> Parity:
    """Write a run's weights, record, configuration, ONNX model and model card into a folder.

    Nothing is written before the ONNX model was held to PyTorch's on the run's test images.

    Args:
        choice: The run.
        suite: Its suite.
        data_root: Folder under which each data set has its own.
        output: The folder.

    Returns:
        How the two runtimes agree.

    Raises:
        CrossresError: When the weights are missing or not the record's, the data are not those it was tested on, or the
            two runtimes differ by more than `TOLERANCE`.
    """
    record, spec = choice.record, choice.record.spec
    weights = _weights(choice)
    network = load_network(choice.run_dir / "weights.safetensors", CPU)[0].eval()
    check(spec.dataset.name, data_root)
    # The training images have no part here; one a class is the least that can be asked for.
    dataset = spec.dataset.model_copy(update={"train_images": spec.dataset.classes, "validation_images": 0})
    images = load_splits(dataset, spec.view, data_root, CPU)
    if images.digest != record.provenance.data_sha256:
        raise CrossresError(f"{data_root}: not the {spec.dataset.name} that {choice.record_file} was computed with")
    names = class_names(spec.dataset, data_root)
    files = {"model.safetensors": weights, "record.json": choice.record_file.read_bytes()}
    notes = {"class_names": json.dumps(names), **{f"{name}.sha256": _sha256(files[name]) for name in files}}
    model, opset = to_onnx(Deployed(network, spec.dataset.info.normalisation), spec, notes)
    parity = compare(model, network, *images.test, spec.dataset.info.normalisation)
    if not parity.max_abs_difference <= TOLERANCE:  # so that NaN fails, too
        differ = f"differ by up to {parity.max_abs_difference:.1e}, more than {TOLERANCE:.0e}"
        raise CrossresError(f"{spec.run} seed {spec.seed}: the logits of ONNX and PyTorch {differ}; nothing is written")
    digests = {name: _sha256(content) for name, content in {**files, "model.onnx": model}.items()}
    exported = Exported(names, *spec.dataset.info.normalisation, _stem(network, spec), opset, parity, digests)
    text = card(record, choice.teacher, suite, choice.reason, exported).encode()
    configuration = (dump_json(describe(record, exported)) + "\n").encode()
    for name, content in {**files, "model.onnx": model, "config.json": configuration, "README.md": text}.items():
        write_atomic(output / name, content)
    return parity


def to_onnx(model: nn.Module, spec: Spec, notes: dict[str, str]) -> tuple[bytes, int]:
    """Return a model in ONNX, with any batch size, and its opset.

    Args:
        model: In evaluation mode; from `images` to `logits`.
        spec: Its run, for the size of the images.
        notes: What the file is to say of itself, as metadata.
    """
    example = torch.zeros(2, 3, spec.view.resolution_px, spec.view.resolution_px)
    # The exporter reports to standard output, and its libraries warn of one another.
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


def compare(model: bytes, network: nn.Module, images: Tensor, labels: Tensor, normalisation: Normalisation) -> Parity:
    """Run an ONNX model by onnxruntime and hold it to PyTorch: on one image alone, then on all of them.

    Args:
        model: The ONNX file.
        network: What it was made from, without the normalisation.
        images: uint8 `[M, 3, S, S]`.
        labels: `[M]`.
        normalisation: What PyTorch's are normalised with.
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


def _weights(choice: Choice) -> bytes:
    record, path = choice.record, choice.run_dir / "weights.safetensors"
    expected = record.provenance.weights_sha256
    if expected is None:
        raise CrossresError(
            f"{choice.record_file}: its figures were not computed here, so there are no weights to export"
        )
    if not path.is_file():
        mend = "put them there, or train the run"
        raise CrossresError(f"{path}: no such file, and {choice.record_file} is about these weights; {mend}")
    content = path.read_bytes()
    if _sha256(content) != expected:
        raise CrossresError(
            f"{path}: not the weights that {choice.record_file} is about, by their SHA-256; delete it, compute it again"
        )
    return content


def _stem(network: nn.Module, spec: Spec) -> str | None:
    """Name the first convolution, where the spec sets its stride."""
    if spec.model.stem_stride is None:
        return None
    return next(name for name, module in network.named_modules() if isinstance(module, nn.Conv2d))


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
