"""What the findings say of single runs: an early stop, retention across teachers, unstable losses, selection."""

from __future__ import annotations

from typing import NamedTuple

from crossres.report.comparisons import Comparisons
from crossres.report.facts import Facts
from crossres.report.numbers import Number, listing

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
    others_best: str
    """The best accuracies of the others up to the same epoch."""
    at_equal_epochs: str
    """How far it is from the others by the best accuracies up to the same epoch, and as reported."""
    as_reported: str
    schedules_differ: bool


class RetentionRange(NamedTuple):
    """The students with the lowest and the highest retention."""

    low: str
    high: str
    teachers: int


class UnstableLoss(NamedTuple):
    """A teacher whose test loss exceeds a threshold."""

    run: str
    epochs_above: int
    epochs: int
    seed: int
    worst: Number
    worst_epoch: int
    last: Number
    students: list[str]
    others: list[tuple[str, Number]]
    """The other teachers, with the test loss of their last epoch."""


class Findings:
    """What the findings say of single runs."""

    loss_threshold = 5

    def __init__(self, facts: Facts, comparisons: Comparisons) -> None:
        self.facts = facts
        self.comparisons = comparisons

    @property
    def teachers_differ_otherwise(self) -> list[str]:
        """In what the teachers of `kd_32` and `kd_64_to_32` differ beside their view of the images."""
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
            others_best=" and that of ".join(f"{facts.label(name)} was {best[name]}\u202f%" for name in others),
            at_equal_epochs=self._lag(run, others, best),
            as_reported=self._lag(run, others, reported),
            schedules_differ=any(facts.spec(name).optimisation.epochs != plan.epochs for name in others),
        )

    def _best_until(self, run: str, epoch: int) -> Number:
        """Return the best test accuracy of a run's first epochs, up to and including one."""
        return Number(max(entry.test_accuracy_pct for entry in self.facts.record(run).history[:epoch]), 2)

    def _lag(self, run: str, others: list[str], accuracy: dict[str, Number]) -> str:
        gaps = {other: accuracy[run] - accuracy[other] for other in others}
        return listing(f"{gap.worded(*LEVELS)} {self.facts.label(other)}" for other, gap in gaps.items())

    @property
    def retention(self) -> RetentionRange | None:
        """The range of retention, where it is of several teachers."""
        teachers = [run for run in self.facts.runs("teacher") if self.facts.taught_by(run)]
        if len(teachers) < 2:
            return None
        low, *_, high = sorted(self.facts.runs("student"), key=lambda run: self.facts.value(run, "retention_pct"))
        return RetentionRange(low, high, len(teachers))

    @property
    def unstable_losses(self) -> list[UnstableLoss]:
        """The teachers whose test loss exceeds the threshold."""
        facts, teachers = self.facts, self.facts.runs("teacher")
        last = {run: Number(facts.record(run).history[-1].test_loss, 2) for run in teachers}
        found = []
        for run in teachers:
            history = facts.record(run).history
            above = sum(epoch.test_loss > self.loss_threshold for epoch in history)
            worst = max(history, key=lambda epoch: epoch.test_loss)
            peak, others = Number(worst.test_loss, 2), [(other, last[other]) for other in teachers if other != run]
            seen = (above, len(history), facts.spec(run).seed, peak, worst.epoch, last[run])
            found += [UnstableLoss(run, *seen, facts.taught_by(run), others)] if above else []
        return found

    @property
    def selection_gains(self) -> str:
        """How much choosing the epoch on the test images adds: `0.15 (v2) to 0.74 points (v4)`."""
        facts = self.facts
        chosen = [run for run, spec in facts.specs.items() if spec.optimisation.select == "best_on_test"]
        low, high = (choose(chosen, key=facts.selection_gain) for choose in (min, max))
        if low == high:
            return f"{facts.selection_gain(low)} points"
        return (
            f"{facts.selection_gain(low)} ({facts.label(low)}) to {facts.selection_gain(high)} points "
            f"({facts.label(high)})"
        )
