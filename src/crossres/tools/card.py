"""The model card of an exported run: what it is, how good, how to load it, what it was made from."""

from __future__ import annotations

from typing import Any, NamedTuple

import jinja2
import yaml

from crossres import files
from crossres.files import dump_json
from crossres.records.record import Record
from crossres.suites.spec import Spec, View
from crossres.suites.suite import Suite

TEMPLATE = "model_card.md.j2"
SELECTED = {
    "best_on_test": "its best epoch on the test images, on which its accuracy is reported, too: a flattering choice",
    "best_on_validation": "its best epoch on the validation images, none of which was trained on or tested on",
    "last": "its last epoch",
}


class Parity(NamedTuple):
    """How the ONNX model and PyTorch's differ on the same images."""

    images: int
    """Test images that both were given: one alone, then all in batches."""
    max_abs_difference: float
    """Largest absolute difference of two logits."""
    tolerance: float
    """What it may be at most."""
    top1_agreement_pct: float
    """Share of the images whose likeliest class is the same."""
    top1_pct: float
    """Accuracy of the ONNX model."""


class Exported(NamedTuple):
    """What the card is about, besides the record."""

    class_names: list[str]
    mean: tuple[float, ...]
    """Mean by channel that images are normalised with, of values in [0, 1]."""
    std: tuple[float, ...]
    stem: str | None
    """Name of the first convolution, where its stride is not the architecture's own."""
    opset: int
    parity: Parity
    sha256: dict[str, str]
    """Digest of each file beside the card."""


def card(record: Record, teacher: Record | None, suite: Suite, reason: str, exported: Exported) -> str:
    """Return the model card, with the header that model hubs read.

    Args:
        record: The run's record.
        teacher: Its teacher's, where it has one and that is at hand.
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
    library, _, architecture = record.spec.model.name.partition("/")
    return environment.get_template(TEMPLATE).render(
        **{"header": _header(record, exported), "record": record, "spec": record.spec, "suite": suite},
        **{"teacher": teacher, "reason": reason, "exported": exported, "facts": record.spec.dataset.info},
        **{"library": library, "architecture": architecture, "selected": SELECTED[record.spec.optimisation.select]},
        **{"metrics": _metrics(record, teacher), "sees": sees, "cut": _cut(record.spec)},
        **{"spec_json": dump_json(record.spec.model_dump(mode="json"))},
    )


def describe(record: Record, exported: Exported) -> dict[str, Any]:
    """Return the content of `config.json`: what a program has to know to use the model."""
    library, _, architecture = record.spec.model.name.partition("/")
    return {
        **{"library": library, "architecture": architecture, "stem_stride": record.spec.model.stem_stride},
        **{"num_classes": record.spec.dataset.classes, "class_names": exported.class_names},
        **{"resolution_px": record.spec.view.resolution_px, "mean": exported.mean, "std": exported.std},
        "safetensors": {"input": "float32 [N, 3, H, W], RGB, (pixels / 255 - mean) / std", "output": "logits"},
        "onnx": {
            "input": "images: float32 [N, 3, H, W], RGB, pixels / 255",
            "output": "logits",
            "opset": exported.opset,
        },
        **{"dataset": record.spec.dataset.name, "suite": record.spec.suite, "run": record.spec.run},
        **{"seed": record.spec.seed, "epoch": record.best.epoch, "sha256": exported.sha256},
    }


def sees(view: View) -> str:
    """Say how a network sees the images of the data set."""
    side = f"{view.resolution_px} × {view.resolution_px} px"
    return side if view.kind == "native" else f"{side}, {view.kind}"


def _header(record: Record, exported: Exported) -> str:
    spec = record.spec
    library, _, architecture = spec.model.name.partition("/")
    method = [] if spec.teacher is None else ["knowledge-distillation", spec.objective.method]
    values = {"Top-1 accuracy": record.best.top1_pct, "Top-5 accuracy": record.best.top5_pct}
    scores = [
        {"type": "accuracy", "name": name, "value": round(value, 2)}
        for name, value in values.items()
        if value is not None
    ]
    result = {
        "task": {"type": "image-classification"},
        "dataset": {"type": spec.dataset.name, "name": spec.dataset.info.title, "split": "test"},
        "metrics": scores,
    }
    document = {
        **{"license": "mit", "library_name": library, "pipeline_tag": "image-classification"},
        **{"tags": [architecture, *method, "safetensors", "onnx"], "datasets": [spec.dataset.name]},
        **{"metrics": ["accuracy"], "model-index": [{"name": f"{spec.suite}/{spec.run}", "results": [result]}]},
    }
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True).rstrip()


def _metrics(record: Record, teacher: Record | None) -> list[tuple[str, str]]:
    """The rows of the card's table of results; a figure that is not recorded has none."""
    best, cost = record.best, record.cost
    rows = [
        ("Top-1 accuracy", f"{best.top1_pct:.2f} %"),
        ("Top-5 accuracy", None if best.top5_pct is None else f"{best.top5_pct:.2f} %"),
        ("Negative log-likelihood", None if best.nll is None else f"{best.nll:.4f} nats"),
        ("Expected calibration error (15 bins)", None if best.ece is None else f"{best.ece:.4f}"),
        ("Brier score", None if best.brier is None else f"{best.brier:.4f}"),
        ("Top-1 accuracy of the last epoch", f"{record.last.top1_pct:.2f} %"),
        ("Parameters", f"{cost.parameters:,}"),
        ("Multiply-accumulates an image", None if cost.gmacs is None else f"{cost.gmacs:.3f} × 10⁹"),
    ]
    if teacher is not None:
        retention_pct = 100 * best.top1_pct / teacher.best.top1_pct
        rows.insert(1, ("Top-1 accuracy of its teacher", f"{teacher.best.top1_pct:.2f} %"))
        rows.insert(2, ("Retention of the teacher's accuracy", f"{retention_pct:.2f} %"))
    return [(name, value) for name, value in rows if value is not None]


def _cut(spec: Spec) -> str:
    """Name what a budget cut; empty without one."""
    cut = {} if spec.budget is None else spec.budget.model_dump(exclude_none=True)
    return ", ".join(f"{key}: {str(value).lower()}" for key, value in cut.items())
