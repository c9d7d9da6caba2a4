"""The progress of a run: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from tqdm import tqdm

from crossres.records.record import Epoch

SECONDS_BETWEEN_LINES = 30
SECONDS_BETWEEN_REDRAWS = 0.1


class ProgressBar:
    """Reports the steps and epochs of one run on a stream, standard error by default; its name starts every line."""

    def __init__(self, name: str, epochs: int, stream: TextIO | None = None) -> None:
        self.name, self.epochs = name, epochs
        self.stream = stream or sys.stderr
        self.bar = tqdm(total=epochs, desc=name, unit="epoch", file=self.stream) if self.stream.isatty() else None
        self.last_line = time.monotonic()

    def note(self, text: str) -> None:
        """Print one line."""
        if self.bar is not None:
            self.bar.clear()
        print(f"{self.name}: {text}", file=self.stream, flush=True)

    def waiting(self) -> None:
        """Report that another process works on the same, such as an orphan of a killed workflow."""
        self.note("another process is working here; waiting for it")

    def resumed(self, epoch: int) -> None:
        """Report that the run resumes after an epoch of an earlier process."""
        self.note(f"resumed after epoch {epoch}")
        if self.bar is not None:
            self.bar.n = self.bar.initial = epoch

    def step(self, epoch: int, done: int, steps: int) -> None:
        """Report a step; a plain log has a line from time to time, and none for the last step of an epoch."""
        if self.bar is not None:
            now = time.monotonic()
            if now - self.last_line > SECONDS_BETWEEN_REDRAWS or done == steps:
                self.last_line = now
                self.bar.set_postfix_str(f"step {done}/{steps}", refresh=True)
        elif done < steps and time.monotonic() - self.last_line > SECONDS_BETWEEN_LINES:
            self.last_line = time.monotonic()
            self.note(f"epoch {epoch}/{self.epochs}, step {done}/{steps}")

    def epoch(self, entry: Epoch, images_per_s: float, epoch_s: float) -> None:
        """Report an epoch, by the accuracy on held-out training images where there are any.

        The remaining time follows from `epoch_s`, the mean of the epochs so far.
        """
        remaining = tqdm.format_interval((self.epochs - entry.epoch) * epoch_s)
        held_out = entry.validation_accuracy_pct
        accuracy = f"test {entry.test_accuracy_pct:.2f} %" if held_out is None else f"validation {held_out:.2f} %"
        figures = f"loss {entry.train_loss:.3f}, {accuracy}, {images_per_s:.0f} images/s"
        bad = f", {entry.nonfinite_steps} steps not finite" if entry.nonfinite_steps else ""
        bad += ", test loss not finite" if entry.test_loss is None else ""
        self.last_line = time.monotonic()
        if self.bar is not None:
            self.bar.n = entry.epoch
            self.bar.set_postfix_str(figures + bad)
        else:
            self.note(f"epoch {entry.epoch}/{self.epochs}, {figures}{bad}, {remaining} left")

    def stored(self, epoch: int, mebibytes: float) -> None:
        """Report a stored epoch of a teacher's pass."""
        self.last_line = time.monotonic()
        if self.bar is not None:
            self.bar.n = epoch
            self.bar.set_postfix_str(f"{epoch * mebibytes:.0f} MiB")
        else:
            self.note(f"epoch {epoch}/{self.epochs} stored")

    def close(self) -> None:
        """Finish the bar's line."""
        if self.bar is not None:
            self.bar.close()
