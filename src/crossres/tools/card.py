"""The model card of an exported run, and the configuration beside it."""

from __future__ import annotations

from typing import Any, NamedTuple

import jinja2
from huggingface_hub import EvalResult, ModelCardData

from crossres import files
from crossres.files import dump_json
from crossres.records.record import Record
from crossres.suites.names import initial_weights
from crossres.suites.suite import Suite

TEMPLATE = "model_card.md.j2"


class Parity(NamedTuple):
    """The agreement of the ONNX model with PyTorch on the same images."""

    images: int
    """Test images that both were given: one alone, then all in batches."""
    max_abs_difference: float
    """Largest absolute difference of two logits."""
    tolerance: float
    """The largest difference that is accepted."""
    top1_agreement_pct: float
    """Share of the images for which both predict the same class."""
    top1_pct: float
    """Accuracy of the ONNX model."""


class Exported(NamedTuple):
    """What the card describes, besides the record."""

    class_names: list[str]
    mean: tuple[float, ...]
    """Mean per channel for normalisation, of values in [0, 1]."""
    std: tuple[float, ...]
    stem: str | None
    """Name of the first convolution, where its stride is not the architecture's own."""
    opset: int
    parity: Parity
    sha256: dict[str, str]
    """Digest of each file beside the card."""


def model_card(record: Record, teacher: Record | None, suite: Suite, reason: str, exported: Exported) -> str:
    """Return the model card, with the header that model hubs read.

    Args:
        record: The run's record.
        teacher: The record of its teacher, where there is one.
        suite: Its suite.
        reason: Why this run was chosen.
        exported: The files beside the card, and what was measured of them.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(files.TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    spec = record.spec
    library, _, architecture = spec.model.name.partition("/")
    budget = {} if spec.budget is None else spec.budget.model_dump(exclude_none=True)
    return environment.get_template(TEMPLATE).render(
        header=_header(record).to_yaml(),
        record=record,
        spec=spec,
        suite=suite,
        teacher=teacher,
        reason=reason,
        exported=exported,
        dataset=spec.dataset.info,
        library=library,
        architecture=architecture,
        budget=", ".join(f"{key}: {str(value).lower()}" for key, value in budget.items()),
        start=initial_weights(spec),
        spec_json=dump_json(spec.model_dump(mode="json")),
    )


def _header(record: Record) -> ModelCardData:
    spec = record.spec
    library, _, architecture = spec.model.name.partition("/")
    method = [] if spec.teacher is None else ["knowledge-distillation", spec.objective.method]
    scores = {"Top-1 accuracy": record.best.top1_pct, "Top-5 accuracy": record.best.top5_pct}
    return ModelCardData(
        license="mit",
        library_name=library,
        pipeline_tag="image-classification",
        tags=[architecture, *method, "safetensors", "onnx"],
        datasets=[spec.dataset.name],
        metrics=["accuracy"],
        model_name=f"{spec.suite}/{spec.run}",
        eval_results=[
            EvalResult(
                task_type="image-classification",
                dataset_type=spec.dataset.name,
                dataset_name=spec.dataset.info.title,
                dataset_split="test",
                metric_type="accuracy",
                metric_name=name,
                metric_value=round(value, 2),
            )
            for name, value in scores.items()
            if value is not None
        ],
    )


def model_config(record: Record, exported: Exported) -> dict[str, Any]:
    """Return the content of `config.json`: what a program has to know to use the model."""
    spec = record.spec
    library, _, architecture = spec.model.name.partition("/")
    return {
        "library": library,
        "architecture": architecture,
        "stem_stride": spec.model.stem_stride,
        "num_classes": spec.dataset.classes,
        "class_names": exported.class_names,
        "resolution_px": spec.view.resolution_px,
        "mean": exported.mean,
        "std": exported.std,
        "safetensors": {"input": "float32 [N, 3, H, W], RGB, (pixels / 255 - mean) / std", "output": "logits"},
        "onnx": {
            "input": "images: float32 [N, 3, H, W], RGB, pixels / 255",
            "output": "logits",
            "opset": exported.opset,
        },
        "dataset": spec.dataset.name,
        "suite": spec.suite,
        "run": spec.run,
        "seed": spec.seed,
        "epoch": record.best.epoch,
        "sha256": exported.sha256,
    }
