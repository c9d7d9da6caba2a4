"""The curves of a suite as they come, in the terminal, above the table of its runs."""

from __future__ import annotations

import os
import shutil
import string
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TextIO

from crossres import files
from crossres.base import CrossresError, nearest
from crossres.records.record import Epoch
from crossres.suites.config import Config, results_dir
from crossres.suites.suite import Suite
from crossres.tools.history import recorded_history, state_history
from crossres.tools.status import RunStatus, show, states

COLOURS = (39, 208, 35, 199, 220, 99, 45, 160, 118, 250)
"""Of the 256 of a terminal, apart on a dark and on a light background; a run's seeds share one."""
LETTERS = string.ascii_lowercase + string.ascii_uppercase
LEAST_PLOT = 12
"""Lines that the plot has at least."""
TICKS = 8
OVER = {"done", "shipped"}
UNDER_WAY = ("running", "resumable", "trained", "stale", "not started", "missing", "done", "shipped")
"""What is shown first where the table is longer than the terminal."""
FIELDS = {
    "test_accuracy_pct": "Test accuracy (%)",
    "validation_accuracy_pct": "Validation accuracy (%)",
    "test_loss": "Test loss (nats)",
    "train_loss": "Training loss",
    "learning_rate": "Learning rate",
    "grad_norm": "Norm of the gradients before clipping",
    "clipped_share": "Share of the steps whose gradients were clipped",
    "nonfinite_steps": "Steps whose loss or gradient was not finite",
}
"""What can be drawn of an epoch."""


class Curve(NamedTuple):
    """One run and seed's values by epoch."""

    run: str
    epochs: list[int]
    values: list[float]


class View(NamedTuple):
    """How a picture is to look."""

    width: int
    height: int | None
    """Lines that it may have; as many as it takes when None."""
    colour: bool


def watch(
    config: Config, suite: Suite, runs: Sequence[str] | None, field: str, once: bool, every_s: float, out: TextIO
) -> None:
    """Draw the curves of a suite: once, or again and again on a terminal until every run is done or Ctrl-C.

    Args:
        config: How it is run.
        suite: The suite.
        runs: Only these; all when None.
        field: A key of `FIELDS`.
        once: Draw once even on a terminal.
        every_s: Seconds between two pictures.
        out: Where to draw.

    Raises:
        CrossresError: When there is no such run or field.
    """
    if field not in FIELDS:
        raise CrossresError(f"--field {field}: no such figure of an epoch{nearest(field, FIELDS)}")
    for name in runs or ():
        suite.run(name)
    chosen = runs or suite.runs
    if once or not out.isatty():
        size = shutil.get_terminal_size((100, 30))
        found, text = _look(config, suite, chosen, field, View(size.columns, None, out.isatty() and _may_colour()))
        print(text, file=out)
        return
    text = ""
    try:
        with _own_screen(out):
            while True:
                size = shutil.get_terminal_size((100, 30))
                view = View(size.columns, size.lines - 1, _may_colour())
                found, text = _look(config, suite, chosen, field, view)
                lines = "".join(f"{line}\x1b[K\r\n" for line in text.splitlines())
                out.write(f"\x1b[H{lines}\x1b[J")
                out.flush()
                if all(state.kind in OVER for state in found):
                    break
                time.sleep(every_s)
    except KeyboardInterrupt:
        pass
    print(text, file=out)


def _look(config: Config, suite: Suite, chosen: Collection[str], field: str, view: View) -> tuple[list[RunStatus], str]:
    found = [state for state in states(config, suite) if state.run in chosen]
    drawn = curves(config, suite, found, field)
    begun = [state for state in found if state.epoch or state.kind == "trained"]
    unread = []
    if len(drawn) < len(begun):
        results = results_dir(config, suite)
        unread = [state for state in begun if not _history(config, suite, results, state)]
    return found, picture(found, drawn, field, view, unread)


def curves(config: Config, suite: Suite, found: Sequence[RunStatus], field: str) -> list[Curve]:
    """Return the curve of every run and seed that has finished an epoch, and has such a figure."""
    results, drawn = results_dir(config, suite), []
    for state in found:
        history = _history(config, suite, results, state)
        points = [(entry.epoch, value) for entry in history if (value := getattr(entry, field)) is not None]
        if points:
            epochs, values = zip(*points, strict=True)
            drawn.append(Curve(state.run, list(epochs), [float(value) for value in values]))
    return drawn


def _history(config: Config, suite: Suite, results: Path, state: RunStatus) -> list[Epoch]:
    folder = files.run_dir(results, state.run, state.seed)
    if state.kind in ("running", "resumable"):
        return state_history(folder, suite.resolve(state.run, state.seed, config.budget))
    record = folder / "record.json"
    if state.kind == "trained":
        record = folder / "training.json"
    elif state.kind == "shipped" or not record.is_file():
        record = files.shipped_record(suite.suite, state.run, state.seed)
    return recorded_history(record)


def picture(
    found: Sequence[RunStatus], drawn: Sequence[Curve], field: str, view: View, unread: Sequence[RunStatus] = ()
) -> str:
    """Return the plot, the table below it, and lines for what is not shown and what cannot be read."""
    names = list(dict.fromkeys(curve.run for curve in drawn))
    marks = {name: _mark(number, view.colour) for number, name in enumerate(names)}
    room = None if view.height is None else max(3, view.height - LEAST_PLOT - 6 - bool(unread))
    rows = _most_urgent(found, room)
    table = show(rows, marks)
    if len(rows) < len(found):
        table += f"\nand {len(found) - len(rows)} more, which `crossres status` lists"
    if unread:
        table += f"\ncannot be read: the epochs of {', '.join(f'{state.run} seed {state.seed}' for state in unread)}"
    if not drawn:
        running = any(state.kind == "running" for state in found)
        none = f"{FIELDS[field]}: nothing to draw yet; " + (
            "the first epoch is under way" if running else "no epoch is done"
        )
        if unread:
            none = f"{FIELDS[field]}: nothing that can be drawn"
        elif any(state.epoch for state in found):
            none = f"{FIELDS[field]}: no run has recorded it"
        return f"{none}\n\n{table}"
    height = 20 if view.height is None else max(LEAST_PLOT, view.height - table.count("\n") - 2)
    return f"{_plot(drawn, names, field, view._replace(height=height))}\n\n{table}"


def _most_urgent(found: Sequence[RunStatus], room: int | None) -> list[RunStatus]:
    if room is None or len(found) <= room:
        return list(found)
    urgent = sorted(range(len(found)), key=lambda number: UNDER_WAY.index(found[number].kind))[:room]
    return [found[number] for number in sorted(urgent)]


def _mark(number: int, colour: bool) -> str:
    """What a run's rows in the table have in common with its curves."""
    if not colour:
        return LETTERS[number % len(LETTERS)]
    return f"\x1b[38;5;{COLOURS[number % len(COLOURS)]}m━━\x1b[0m"


def _plot(drawn: Sequence[Curve], names: list[str], field: str, view: View) -> str:
    import plotext

    plotext.terminal.limit(False, False)
    figure = plotext.figure
    figure.clear()
    figure.theme("colorless")
    figure.plot_size(view.width, view.height)
    figure.title(f"{FIELDS[field]} by epoch")
    for curve in drawn:
        number = names.index(curve.run)
        marker = "braille" if view.colour else _mark(number, colour=False)
        colour = COLOURS[number % len(COLOURS)]
        signal = figure.signal(curve.epochs, curve.values, marker=plotext.marker(marker, plotext.pixel(colour)))
        figure.draw(signal.lines())
    last = max(max(curve.epochs) for curve in drawn)
    ruler = figure.ruler("x")
    ruler.lim(1, max(2, last))
    ruler.ticks(sorted({1 + round(step * (max(2, last) - 1) / TICKS) for step in range(TICKS + 1)}))
    text: str = figure.build().string(not view.colour)
    return "\n".join(line.rstrip() for line in text.rstrip("\n").splitlines())


def _may_colour() -> bool:
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


@contextmanager
def _own_screen(out: TextIO) -> Iterator[None]:
    """Draw on the terminal's other screen, without cursor or wrapped lines; what was there comes back afterwards."""
    out.write("\x1b[?1049h\x1b[?25l\x1b[?7l")
    try:
        yield
    finally:
        out.write("\x1b[?7h\x1b[?25h\x1b[?1049l")
        out.flush()
