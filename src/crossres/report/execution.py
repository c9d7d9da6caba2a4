"""How the runs were computed: with what, for how long, how far, and where their records come from."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from crossres.records.record import Provenance, Record
from crossres.records.summary import Role
from crossres.report.comparisons import SettingsTable
from crossres.report.facts import Facts
from crossres.report.numbers import listing
from crossres.suites.compare import plain

PROVENANCE: dict[str, Callable[[Provenance], str | None]] = {
    "Device": lambda made: made.device,
    "Precision": lambda made: made.precision,
    "Project commit": lambda made: _short(made.commit),
    "Training modules (SHA-256)": lambda made: _short(made.sources_sha256),
    "Data (SHA-256)": lambda made: _short(made.data_sha256),
    "Container image": lambda made: _short_image(made.image),
    "Versions": lambda made: ", ".join(f"{name} {version}" for name, version in made.versions.items()) or None,
}


class Execution:
    """How the runs of a suite were computed."""

    def __init__(self, facts: Facts, given: Collection[str] = (), sources_sha256: str | None = None) -> None:
        self.facts = facts
        self.given = given
        """Runs whose records were shipped rather than computed."""
        current = {None, sources_sha256}
        self.stale = [r for r in facts.records if sources_sha256 and r.provenance.sources_sha256 not in current]
        """Records of training modules that differ from today's."""
        self.truncated = [record for record in facts.records if record.spec.budget]
        self.reads_stored_logits = any(record.cost.stored_epochs for record in facts.records)
        """Whether a run read its teacher's logits from disk, so that their pass is in no run's training time."""

    @property
    def budgets(self) -> list[str]:
        """The cuts of a budget: `epochs 2`."""
        cuts = [cut for record in self.truncated for cut in _cuts(record).items()]
        return list(dict.fromkeys(f"{plain(key)} {plain(value)}" for key, value in cuts))

    def training_time(self, role: Role | None = None) -> str:
        """Return the training time of all records, or of one role's, in the unit that suits that of all."""
        facts = self.facts
        minutes = {run: sum(record.cost.train_minutes for record in facts.by_run[run]) for run in facts.runs()}
        whole, part = sum(minutes.values()), sum(minutes[run] for run in facts.runs(role))
        if whole >= 120:
            return f"{part / 60:,.1f}\u00a0hours"
        return f"{part:.1f}\u00a0minutes" if whole >= 2 else f"{60 * part:.1f}\u00a0seconds"

    @property
    def nonfinite_steps(self) -> int | None:
        """How many steps were not finite in all records, or None when that was not logged."""
        counts = [epoch.nonfinite_steps for record in self.facts.records for epoch in record.history]
        return None if all(count is None for count in counts) else sum(count or 0 for count in counts)

    @property
    def provenance(self) -> SettingsTable:
        """What the records were computed with."""
        made = [record.provenance for record in self.facts.records]
        return SettingsTable.of({name: [show(one) for one in made] for name, show in PROVENANCE.items()})

    @property
    def computed_with(self) -> str:
        """The same in a sentence for what all records share, and one for each thing in which they differ."""
        shared, varying = self.provenance
        sentences = ["; ".join(f"{name}: {text}" for name, text in shared) + "."] if shared else []
        for name, texts in varying:
            known = dict.fromkeys(text or "not recorded" for text in texts)
            sentences.append(f"{name}, differing between records: {listing(known)}.")
        return " ".join(sentences)

    @property
    def computed_here(self) -> str:
        """Which records were computed for this report, where some were given."""
        here = [self.facts.label(run) for run in self.facts.runs() if run not in self.given]
        if not here:
            return "They were computed earlier and are"
        return f"Those of {listing(here)} were computed for this report; the others are"


def _cuts(record: Record) -> dict[str, Any]:
    return record.spec.budget.model_dump(exclude_none=True) if record.spec.budget else {}


def _short(digest: str | None) -> str | None:
    return None if digest is None else digest[:12] + ("+" if digest.endswith("+") else "")


def _short_image(image: str | None) -> str | None:
    tag, _, digest = (image or "").partition("@sha256:")
    return f"{tag}@sha256:{_short(digest)}" if digest else image
