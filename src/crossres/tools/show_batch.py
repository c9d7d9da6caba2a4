"""A batch of the augmentation stream as a picture: what the student and its teacher see."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from crossres.base import CrossresError
from crossres.suites.datasets import Normalisation
from crossres.suites.spec import Spec
from crossres.training.augment import MixedBatch, Stream, upsample
from crossres.training.data import class_names, load_splits

TILE_PX = 128
COLUMNS = 4
MARGIN_PX = 8
LINE_PX = 15


def contact_sheet(spec: Spec, data_root: Path, epoch: int, step: int, images: int) -> bytes:
    """Replay one training batch and draw it.

    Args:
        spec: The run.
        data_root: Folder under which each data set has its own.
        epoch: The epoch, from 1.
        step: The step in the epoch, from 1.
        images: How many of the batch's images to draw.

    Returns:
        A PNG: each image as the run's own network sees it and, for a student, as its teacher does; below it the two
        labels, and lambda where it was mixed.

    Raises:
        CrossresError: When the run has no such epoch, or the epoch no such step.
    """
    if not 1 <= epoch <= spec.optimisation.epochs:
        raise CrossresError(f"--epoch {epoch}: run {spec.run} has the epochs 1 to {spec.optimisation.epochs}")
    train = load_splits(spec.dataset, spec.view, data_root, torch.device("cpu")).train
    stream = Stream.of(spec, *train)
    if not 1 <= step <= stream.steps_per_epoch:
        raise CrossresError(f"--step {step}: an epoch of run {spec.run} has the steps 1 to {stream.steps_per_epoch}")
    batch = stream.batch(epoch, step - 1)
    names = class_names(spec.dataset, data_root)
    views = [("student" if spec.teacher else "network", batch.images)]
    if spec.teacher:
        seen, view = batch.images, spec.teacher_view or spec.view
        if spec.teacher_resizes:
            own = load_splits(spec.dataset, view, data_root, torch.device("cpu")).train
            seen = Stream.of(spec, *own).batch(epoch, step - 1).images
        views.append(("teacher", upsample(seen, view.resolution_px)))
    sheet = _draw(spec, batch, views, names, min(images, len(batch.images)), f"epoch {epoch}, step {step}")
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG")
    return buffer.getvalue()


def _draw(
    spec: Spec, batch: MixedBatch, views: list[tuple[str, Tensor]], names: list[str], count: int, where: str
) -> Image.Image:
    cell_width = len(views) * TILE_PX + (len(views) + 1) * MARGIN_PX
    cell_height = TILE_PX + 3 * LINE_PX + MARGIN_PX
    rows = -(-count // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * cell_width, rows * cell_height + 2 * LINE_PX + MARGIN_PX), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    sizes = ", ".join(f"{name} {view.shape[-1]} px" for name, view in views)
    draw.text((MARGIN_PX, MARGIN_PX), f"{spec.suite}/{spec.run} seed {spec.seed}, {where}: {sizes}", "black", font)
    for index in range(count):
        left = index % COLUMNS * cell_width + MARGIN_PX
        top = index // COLUMNS * cell_height + 2 * LINE_PX
        for place, (_, view) in enumerate(views):
            sheet.paste(
                _picture(view[index], spec.dataset.info.normalisation), (left + place * (TILE_PX + MARGIN_PX), top)
            )
        for line, text in enumerate(_labels(batch, index, names)):
            draw.text((left, top + TILE_PX + line * LINE_PX), text, "black", font)
    return sheet


def _labels(batch: MixedBatch, index: int, names: list[str]) -> list[str]:
    a, b = names[int(batch.target_a[index])], names[int(batch.target_b[index])]
    lam = float(batch.lam)
    return [a] if lam == 1 else [f"{lam:.3f} {a}", f"{1 - lam:.3f} {b}"]


def _picture(image: Tensor, normalisation: Normalisation) -> Image.Image:
    """Undo the normalisation of `[3, S, S]` and enlarge it, every pixel visible."""
    mean, std = (torch.tensor(values)[:, None, None] for values in normalisation)
    pixels = image * std + mean
    array = (pixels.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return Image.fromarray(array).resize((TILE_PX, TILE_PX), Image.Resampling.NEAREST)
