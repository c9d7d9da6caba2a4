"""A suite's records and summary, as figures read them: by run, over its seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from crossres.base import CrossresError
from crossres.claims.finding import ContrastFinding
from crossres.records.record import Record
from crossres.report.drawing.style import LOOKS, SPARE_COLOURS, SPARE_DASHES, Look
from crossres.suites.grids import Grid
from crossres.suites.names import recipe_name, resolution_name, run_name
from crossres.suites.spec import Spec


class RunData:
    """The runs of a suite: their names, labels and looks, and their results over the seeds."""

    def __init__(
        self,
        summary: pd.DataFrame,
        records: Sequence[Record],
        contrasts: Sequence[ContrastFinding] = (),
        grids: Mapping[str, Grid] | None = None,
    ) -> None:
        self.summary = summary
        self.grids = grids or {}
        self.contrasts = contrasts
        self.records = records
        self.runs = sorted({record.name for record in records})
        self._by_seed = sorted(records, key=lambda record: record.spec.seed)

    def seeds(self, run: str) -> list[Record]:
        """Return the records of a run, by seed.

        Raises:
            CrossresError: When there is none.
        """
        if found := [record for record in self._by_seed if record.name == run]:
            return found
        raise CrossresError(f"figures: the suite has no record of run '{run}'; add the run or leave the figure out")

    def longest(self, run: str) -> Record:
        """Return the record of the seed that was trained for the most epochs."""
        return max(self.seeds(run), key=lambda record: len(record.history))

    def spec(self, run: str) -> Spec:
        return self.seeds(run)[0].spec

    def label(self, run: str) -> str:
        """Return a run's short name: `v3 · DKD β=8`, `teacher 64 px`, or its key if the thesis has none."""
        spec = self.spec(run)
        if spec.thesis_id is None or spec.teacher is None:
            return run_name(spec).replace("\u00a0", " ")
        words = [spec.objective.title]
        if spec.objective.variant:
            words.append(spec.objective.variant.replace(" ", ""))
        if "→" in resolution_name(spec):
            words.append(resolution_name(spec))
        if recipe_name(spec) != "strong":
            words.append(f"({recipe_name(spec)})")
        return f"{spec.thesis_id} · {' '.join(words)}"

    def look(self, run: str) -> Look:
        """Return a run's look, the same in all figures of the suite."""
        if run in LOOKS:
            return LOOKS[run]
        index = [other for other in self.runs if other not in LOOKS].index(run)
        return Look(SPARE_COLOURS[index % len(SPARE_COLOURS)], SPARE_DASHES[index % len(SPARE_DASHES)])

    def mean(self, run: str, column: str) -> float:
        """Return a column of the summary for a run, averaged over seeds."""
        return float(self.summary.loc[self.summary["run"] == run, column].mean())

    def curve(self, run: str, column: str) -> pd.DataFrame:
        """Return a field of a run's epochs, such as `test_loss`, over its seeds.

        Each row is an epoch: `epoch`, `mean`, `low` and `high` (least and greatest), and `seeds`, the number of seeds
        that have the field; early stopping may end some before others. An epoch without it, such as one with a loss
        that is not finite, is a gap: its values are NaN. Without any, there are no rows.
        """
        rows = [(epoch.epoch, getattr(epoch, column)) for record in self.seeds(run) for epoch in record.history]
        frame = pd.DataFrame(rows, columns=["epoch", "value"]).astype({"value": float})
        by_epoch = (frame if frame["value"].notna().any() else frame[:0]).groupby("epoch")["value"]
        return by_epoch.agg(mean="mean", low="min", high="max", seeds="count").reset_index()

    def last_epoch(self, runs: Sequence[str]) -> int:
        """Return the last epoch that any of the runs reached."""
        return max(self.longest(run).history[-1].epoch for run in runs)

    def stop_note(self, run: str) -> str | None:
        """Say where early stopping ended a run, or nothing if it did not."""
        seeds = self.seeds(run)
        stopped = [record for record in seeds if record.stopped_early]
        if not stopped:
            return None
        epochs = sorted({record.history[-1].epoch for record in stopped})
        where = f"{epochs[0]}" if len(epochs) == 1 else f"{epochs[0]}–{epochs[-1]}"
        note = f"stopped: epoch {where} of {stopped[0].spec.optimisation.epochs}"
        return note if len(stopped) == len(seeds) else f"{note} ({len(stopped)} of {len(seeds)} seeds)"
