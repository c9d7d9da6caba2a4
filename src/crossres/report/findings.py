"""What the report says of single runs: an early stop, unstable losses, what selection on test images adds."""

from __future__ import annotations

from typing import NamedTuple

from crossres.report.comparisons import Comparisons
from crossres.report.facts import Facts
from crossres.report.numbers import Number, listing

LONG_EPOCHS = 40
"""Epochs from which on the mean of a training's last ten is taken as its level at the end."""
LEVELS = ("above", "below", "level with")


class EarlyStop(NamedTuple):
    """A student that was stopped early, beside others at equal epochs."""

    run: str
    seed: int
    epoch: int
    planned_epochs: int
    patience_epochs: int | None
    rate_share: Number
    """Learning rate of its last epoch, in per cent of the peak."""
    best: Number
    best_epoch: int
    bests: dict[str, Number]
    """The best accuracies of the run and the others up to the same epoch."""
    others_best: str
    """Those of the others, in words."""
    at_equal_epochs: str
    """How far it is from the others by the best accuracies up to the same epoch, and as reported."""
    as_reported: str


class Findings:
    """What the report says of single runs."""

    loss_threshold = 5

    def __init__(self, facts: Facts, comparisons: Comparisons) -> None:
        self.facts = facts
        self.comparisons = comparisons

    @property
    def teachers_differ_otherwise(self) -> list[str]:
        """In what the teachers of `kd_32` and `kd_64_to_32` differ besides their view of the images."""
        old, new = (self.facts.spec(run).teacher for run in ("kd_32", "kd_64_to_32"))
        return self.comparisons.differ_in(str(old), str(new), except_for="own image")

    @property
    def early_stop(self) -> EarlyStop | None:
        """The early stop of the DKD student with the larger β, if it was stopped."""
        facts, run = self.facts, "dkd_beta8"
        if not facts.has(run, "kd_32") or not facts.record(run).stopped_early:
            return None
        stopped, others = facts.record(run), [other for other in ("kd_32", "dkd_beta2") if facts.has(other)]
        plan, end = stopped.spec.optimisation, len(stopped.history)
        best = {name: self._best_until(name, end) for name in (run, *others)}
        reported = {name: facts.accuracy(name) for name in best}
        return EarlyStop(
            run=run,
            seed=stopped.spec.seed,
            epoch=end,
            planned_epochs=plan.epochs,
            patience_epochs=plan.patience_epochs,
            rate_share=Number(100 * stopped.history[-1].learning_rate / plan.learning_rate, 0),
            best=best[run],
            best_epoch=stopped.best.epoch,
            bests=best,
            others_best=" and that of ".join(f"{facts.label(name)} was {best[name]}\u202f%" for name in others),
            at_equal_epochs=self._lag(run, others, best),
            as_reported=self._lag(run, others, reported),
        )

    def _best_until(self, run: str, epoch: int) -> Number:
        """Return the best test accuracy of a run's first epochs, up to and including one."""
        return Number(max(entry.test_accuracy_pct for entry in self.facts.record(run).history[:epoch]), 2)

    def _lag(self, run: str, others: list[str], accuracy: dict[str, Number]) -> str:
        gaps = {other: accuracy[run] - accuracy[other] for other in others}
        return listing(f"{gap.worded(*LEVELS)} {self.facts.label(other)}" for other, gap in gaps.items())

    @property
    def unstable_losses(self) -> dict[str, int]:
        """The teachers whose test loss exceeds the threshold, with the number of epochs in which it does.

        A loss that is not finite is null in the history, and exceeds it.
        """
        histories = {run: self.facts.record(run).history for run in self.facts.runs("teacher")}
        losses = {run: [epoch.test_loss for epoch in history] for run, history in histories.items()}
        above = {
            run: sum(loss is None or loss > self.loss_threshold for loss in found) for run, found in losses.items()
        }
        return {run: epochs for run, epochs in above.items() if epochs}

    @property
    def selected_on_test_by_gain(self) -> list[str]:
        """The runs whose epoch is selected on the test images, from the least gained by the selection to the most.

        Without the shortest ones, whose last ten epochs are most of the training.
        """
        chosen = [run for run, spec in self.facts.specs.items() if spec.optimisation.select == "best_on_test"]
        chosen = [run for run in chosen if len(self.facts.record(run).history) >= LONG_EPOCHS]
        return sorted(chosen, key=self.facts.selection_gain)
