"""The curves of a suite in the terminal while it is trained, above the table of its runs."""

from __future__ import annotations

import os
import shutil
import string
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TextIO

from crossres.base import CrossresError, nearest
from crossres.suites.config import Config
from crossres.suites.suite import Suite
from crossres.tools.status import RunStatus, status_table, suite_status

COLOURS = (39, 208, 35, 199, 220, 99, 45, 160, 118, 250)
"""Of a terminal's 256, distinct on dark and on light backgrounds; the seeds of a run share one."""
LETTERS = string.ascii_lowercase + string.ascii_uppercase
MIN_PLOT_LINES = 12
TICKS = 8
FINISHED = {"done", "shipped"}
URGENCY = ("running", "resumable", "trained", "stale", "not started", "missing", *sorted(FINISHED))
"""Which rows are kept where the table is longer than the terminal."""
FIELDS = {
    "test_accuracy_pct": "Test accuracy (%)",
    "validation_accuracy_pct": "Validation accuracy (%)",
    "test_loss": "Test loss (nats)",
    "train_loss": "Training loss",
    "learning_rate": "Learning rate",
    "grad_norm": "Norm of the gradients before clipping",
    "clipped_share": "Share of steps with clipped gradients",
    "nonfinite_steps": "Steps with a non-finite loss or gradient",
}
"""The figures of an epoch that can be drawn."""


class Curve(NamedTuple):
    """The values of one run and seed by epoch."""

    run: str
    epochs: list[int]
    values: list[float]


class Canvas(NamedTuple):
    """What a picture may fill."""

    width: int
    height: int | None
    """In lines; unlimited when None."""
    colour: bool


def watch(
    config: Config, suite: Suite, runs: Sequence[str] | None, field: str, once: bool, every_s: float, out: TextIO
) -> None:
    """Draw the curves of a suite: once, or repeatedly on a terminal until every run is done or Ctrl-C is pressed.

    Raises:
        CrossresError: When there is no such run or field.
    """
    if field not in FIELDS:
        raise CrossresError(f"--field {field}: no such figure of an epoch{nearest(field, FIELDS)}")
    chosen = [name for name in runs or suite.runs if suite.run(name)]

    def look(spare_lines: int | None) -> tuple[list[RunStatus], str]:
        rows = [row for row in suite_status(config, suite) if row.run in chosen]
        size = shutil.get_terminal_size((100, 30))
        height = None if spare_lines is None else size.lines - spare_lines
        return rows, picture(rows, field, Canvas(size.columns, height, out.isatty() and _may_colour()))

    if once or not out.isatty():
        print(look(None)[1], file=out)
        return
    text = ""
    try:
        with _alternate_screen(out):
            while True:
                rows, text = look(spare_lines=1)
                lines = "".join(f"{line}\x1b[K\r\n" for line in text.splitlines())
                out.write(f"\x1b[H{lines}\x1b[J")
                out.flush()
                if all(row.kind in FINISHED for row in rows):
                    break
                time.sleep(every_s)
    except KeyboardInterrupt:
        pass
    print(text, file=out)


def picture(rows: Sequence[RunStatus], field: str, canvas: Canvas) -> str:
    """Return the plot of a field, the table below it, and a line for the rows that do not fit."""
    curves = [curve for row in rows if (curve := _curve(row, field)).epochs]
    names = list(dict.fromkeys(curve.run for curve in curves))
    marks = {name: _mark(number, canvas.colour) for number, name in enumerate(names)}
    shown = _most_urgent(rows, None if canvas.height is None else max(3, canvas.height - MIN_PLOT_LINES - 6))
    table = status_table(shown, marks)
    if len(shown) < len(rows):
        table += f"\nand {len(rows) - len(shown)} more, which `crossres status` lists"
    if not curves:
        return f"{FIELDS[field]}: {_why_empty(rows)}\n\n{table}"
    height = 20 if canvas.height is None else max(MIN_PLOT_LINES, canvas.height - table.count("\n") - 2)
    return f"{_plot(curves, names, field, canvas._replace(height=height))}\n\n{table}"


def _curve(row: RunStatus, field: str) -> Curve:
    points = [(entry.epoch, float(value)) for entry in row.history if (value := getattr(entry, field)) is not None]
    return Curve(row.run, [epoch for epoch, _ in points], [value for _, value in points])


def _why_empty(rows: Sequence[RunStatus]) -> str:
    if any(row.history for row in rows):
        return "no run has recorded it"
    running = any(row.kind == "running" for row in rows)
    return f"nothing to draw yet; {'the first epoch is running' if running else 'no epoch is finished'}"


def _most_urgent(rows: Sequence[RunStatus], limit: int | None) -> list[RunStatus]:
    """Return at most so many rows, in their order."""
    urgent = sorted(range(len(rows)), key=lambda number: URGENCY.index(rows[number].kind))[:limit]
    return [rows[number] for number in sorted(urgent)]


def _mark(number: int, colour: bool) -> str:
    """Return what identifies a run in the table and in the plot."""
    if not colour:
        return LETTERS[number % len(LETTERS)]
    return f"\x1b[38;5;{COLOURS[number % len(COLOURS)]}m━━\x1b[0m"


def _plot(curves: Sequence[Curve], names: list[str], field: str, canvas: Canvas) -> str:
    import plotext

    plotext.terminal.limit(False, False)
    figure = plotext.figure
    figure.clear()
    figure.theme("colorless")
    figure.plot_size(canvas.width, canvas.height)
    figure.title(f"{FIELDS[field]} by epoch")
    for curve in curves:
        number = names.index(curve.run)
        marker = "braille" if canvas.colour else _mark(number, colour=False)
        colour = COLOURS[number % len(COLOURS)]
        signal = figure.signal(curve.epochs, curve.values, marker=plotext.marker(marker, plotext.pixel(colour)))
        figure.draw(signal.lines())
    last = max(2, *(max(curve.epochs) for curve in curves))
    ruler = figure.ruler("x")
    ruler.lim(1, last)
    ruler.ticks(sorted({1 + round(step * (last - 1) / TICKS) for step in range(TICKS + 1)}))
    text: str = figure.build().string(not canvas.colour)
    return "\n".join(line.rstrip() for line in text.rstrip("\n").splitlines())


def _may_colour() -> bool:
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


@contextmanager
def _alternate_screen(out: TextIO) -> Iterator[None]:
    """Draw on the terminal's alternate screen, without cursor or wrapped lines; its content comes back afterwards."""
    out.write("\x1b[?1049h\x1b[?25l\x1b[?7l")
    try:
        yield
    finally:
        out.write("\x1b[?7h\x1b[?25h\x1b[?1049l")
        out.flush()
