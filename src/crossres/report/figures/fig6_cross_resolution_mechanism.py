"""Diagram of cross-resolution distillation: what each network sees, and where the losses meet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from crossres.report.drawing import style
from crossres.report.types import Axes, Facts, Figure, RunData
from crossres.suites.names import model_name

RUNS = ("kd_64_to_32",)
SECTION = "method"
ORDER = 1
Pair = tuple[float, float]
TEACHER, STUDENT, GRADIENT = "#5a5a5a", "#009E73", "#D55E00"
WIDTH, HEIGHT = 100.0, 38.6
"""Size of the drawing in its own units; its aspect ratio is the figure's."""
TOP, MIDDLE, BOTTOM = 31.8, 16.8, 3.4
"""Heights of the teacher's row, the student's and the labels'."""


def caption(facts: Facts) -> str:
    return (
        f"One training step of {facts.label('kd_64_to_32')}. The batch is augmented, normalised and mixed once, at the "
        "student's resolution; only the copy for the frozen teacher is upsampled. Solid arrows show the forward pass. "
        "Dashed arrows show the gradient, which reaches the student alone. The shaded part is kept at inference."
    )


def reference(facts: Facts) -> str:
    return "[fig:fig6_cross_resolution_mechanism] shows what each network sees."


def draw(data: RunData) -> Figure:
    spec = data.spec(RUNS[0])
    teacher = model_name(data.spec(spec.teacher)) if spec.teacher in data.runs else str(spec.teacher)
    figure, (axes,) = style.panels(style.FULL_IN, style.FULL_IN * HEIGHT / WIDTH, pads_in=(0, 0))
    axes.set_axis_off()
    own, seen = spec.view.resolution_px, (spec.teacher_view or spec.view).resolution_px
    _draw_images(axes, own, seen)
    _draw_networks(axes, (own, seen), model_name(spec), teacher)
    _draw_losses(axes, spec.objective)
    _draw_forward(axes)
    _draw_gradient(axes)
    axes.set(xlim=(0, WIDTH), ylim=(0, HEIGHT), aspect="equal")
    return figure


def _draw_images(axes: Axes, own: int, seen: int) -> None:
    """Draw the stored image, its mixed version, and the upsampled copy, each pixel as large as any other."""
    from scipy.ndimage import zoom

    side = 6.0
    large = min(side * seen / own, 2 * side)
    mixed = _picture(own, mixed=True)
    upsampled = zoom(mixed, (seen / own, seen / own, 1), order=1, mode="nearest", grid_mode=True)
    _image(axes, _picture(own, mixed=False), (4.6, MIDDLE), side, f"image\n{own} × {own} px")
    _box(axes, (16.2, MIDDLE), (10.6, 9.0), "augment,\nnormalise,\nmix")
    _image(axes, mixed, (28.4, MIDDLE), side, f"mixed image\n{own} × {own} px")
    _image(axes, upsampled, (28.4, TOP), large, "")
    text: dict[str, Any] = {"ha": "right", "va": "center"}
    axes.text(27.6 - large / 2, TOP, f"copy for\nthe teacher\n{seen} × {seen} px", **text)
    axes.text(29.3, (MIDDLE + TOP - 1.1) / 2, "bilinear\nupsampling", **{**text, "ha": "left"})


def _draw_networks(axes: Axes, sides: tuple[int, int], student: str, teacher: str) -> None:
    from matplotlib.patches import FancyBboxPatch

    own, seen = sides
    kept = FancyBboxPatch((36.6, MIDDLE - 5.0), 32.2, 10.0, boxstyle="round,pad=0,rounding_size=1.5", lw=0)
    kept.set(facecolor=STUDENT, alpha=0.14, zorder=0)
    axes.add_patch(kept)
    axes.text(37.6, MIDDLE - 6.6, "kept at inference", color=style.text_colour(STUDENT), va="center")
    _box(axes, (46, TOP), (17, 8.2), f"teacher, frozen\n{teacher}\n{seen} px", colour=TEACHER, fill="#ededed")
    _box(axes, (46, MIDDLE), (17, 8.2), f"student\n{student}\n{own} px", colour=STUDENT)
    _box(axes, (63, TOP), (9.4, 6.2), "teacher\nlogits", colour=TEACHER)
    _box(axes, (63, MIDDLE), (9.4, 6.2), "student\nlogits", colour=STUDENT)


def _draw_losses(axes: Axes, objective: Any) -> None:
    """Draw the losses with their weights, as far as the objective has them."""
    temperature, kd = getattr(objective, "temperature", None), getattr(objective, "kd_weight", None)
    divergence = "distillation loss" if kd is None else "distillation loss\n$T^2\\,$KL(teacher ‖ student)"
    heat = "" if temperature is None else f"\n$T$ = {temperature:g}"
    _box(axes, (82, TOP - 2.5), (20, 9.6), divergence + heat)
    smoothing = f"\nlabel smoothing {objective.label_smoothing:g}" if objective.label_smoothing else ""
    _box(axes, (82, BOTTOM + 2), (20, 7.4), f"cross entropy\nwith labels $a$, $b$, $λ${smoothing}")
    weight = "" if kd is None else f"{kd:g} "
    total = f"{weight}{objective.title} + {objective.ce_weight:g} CE"
    _box(axes, (91.2, MIDDLE), (15.6, 6.2), f"total loss\n{total}")


def _draw_forward(axes: Axes) -> None:
    """Draw the forward pass: the upsampled copy leads to the teacher alone, the mixed image itself to the student."""
    for points in (
        [(7.9, MIDDLE), (10.7, MIDDLE)],
        [(21.7, MIDDLE), (25.1, MIDDLE)],
        [(31.7, MIDDLE), (37.3, MIDDLE)],
        [(28.4, MIDDLE + 3.3), (28.4, TOP - 6.3)],
        [(34.7, TOP), (37.3, TOP)],
        [(54.7, TOP), (58.1, TOP)],
        [(54.7, MIDDLE), (58.1, MIDDLE)],
        [(67.9, TOP), (71.8, TOP)],
        [(63, MIDDLE + 3.3), (63, TOP - 5), (71.8, TOP - 5)],
        [(63, MIDDLE - 3.3), (63, BOTTOM + 4), (71.8, BOTTOM + 4)],
        [(16.2, MIDDLE - 4.7), (16.2, BOTTOM), (71.8, BOTTOM)],
        [(89.5, TOP - 7.4), (89.5, MIDDLE + 3.3)],
        [(89.5, BOTTOM + 5.8), (89.5, MIDDLE - 3.3)],
    ):
        _arrow(axes, points, style.INK)
    axes.text(17.4, BOTTOM + 0.7, "labels $a$, $b$ and share $λ$", va="bottom")


def _draw_gradient(axes: Axes) -> None:
    """Draw the way back, from the total loss to the student."""
    _arrow(axes, [(83.2, MIDDLE), (67.9, MIDDLE)], GRADIENT, dashed=True)
    _arrow(axes, [(58.1, MIDDLE - 2.2), (54.7, MIDDLE - 2.2)], GRADIENT, dashed=True)
    colour = style.text_colour(GRADIENT)
    axes.text(76, MIDDLE + 0.8, "gradient", color=colour, ha="center", va="bottom")


def _box(axes: Axes, centre: Pair, size: Pair, text: str, colour: str = style.INK, fill: str = "white") -> None:
    from matplotlib.patches import FancyBboxPatch

    corner = (centre[0] - size[0] / 2, centre[1] - size[1] / 2)
    shape = FancyBboxPatch(corner, *size, boxstyle="round,pad=0,rounding_size=0.8", linewidth=0.9)
    shape.set(facecolor=fill, edgecolor=colour, zorder=2)
    axes.add_patch(shape)
    axes.text(*centre, text, ha="center", va="center", linespacing=1.25, zorder=3)


def _arrow(axes: Axes, points: Sequence[Pair], colour: str, dashed: bool = False) -> None:
    """Draw an arrow along straight pieces; the head of a dashed one is solid."""
    from matplotlib.patches import FancyArrowPatch

    axes.plot(*zip(*points, strict=True), color=colour, lw=0.9, ls=(0, (3.5, 1.6)) if dashed else "-", zorder=4)
    (x0, y0), (x1, y1) = points[-2:]
    near = 0.1 / max(abs(x1 - x0), abs(y1 - y0))
    start = (x1 - near * (x1 - x0), y1 - near * (y1 - y0))
    head = FancyArrowPatch(start, (x1, y1), arrowstyle="-|>", mutation_scale=7, shrinkA=0, shrinkB=0, zorder=4)
    head.set(color=colour, linewidth=0.9)
    axes.add_patch(head)


def _image(axes: Axes, pixels: np.ndarray, centre: Pair, side: float, text: str) -> None:
    x, y = centre[0] - side / 2, centre[1] - side / 2
    axes.imshow(pixels, extent=(x, x + side, y, y + side), interpolation="nearest", zorder=2)
    axes.text(centre[0], y - 0.7, text, ha="center", va="top", linespacing=1.15)


def _picture(side: int, mixed: bool) -> np.ndarray:
    """Return a drawn picture of so many pixels a side, with a box of another one pasted in if mixed (CutMix)."""
    across = (np.arange(side) + 0.5) / side
    x, y = np.meshgrid(across, across)
    sky = np.stack([0.62 + 0.3 * y, 0.78 + 0.12 * y, 0.93 + 0 * y], axis=-1)
    first = np.where((np.hypot(x - 0.45, y - 0.5) < 0.3)[..., None], (0.9, 0.62, 0.0), sky)
    second = np.where((abs(x - y) < 0.12)[..., None], (1.0, 1.0, 1.0), (0.0, 0.45, 0.7))
    pasted = (abs(x - 0.72) < 0.22) & (abs(y - 0.3) < 0.22)
    return np.where(pasted[..., None], second, first) if mixed else first
