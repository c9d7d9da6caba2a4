"""A suite's results as one zip for an archive such as Zenodo or WorkflowHub: a Workflow Run RO-Crate.

Profiles: https://w3id.org/ro/wfrun/process/0.5 and https://w3id.org/ro/wfrun/workflow/0.5, on RO-Crate 1.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

from rocrate.model.contextentity import ContextEntity
from rocrate.model.entity import Entity
from rocrate.rocrate import ROCrate

from crossres import __version__, files
from crossres.base import CrossresError
from crossres.records.record import Record, read_record
from crossres.suites.names import run_name
from crossres.suites.suite import Suite

WORKFLOW = (
    *("Snakefile", "workflow", "src", "envs", "docker", "config", "profiles", "paper", "pyproject.toml", "Makefile"),
    *("README.md", "CHANGELOG.md", "CITATION.cff", "LICENSE"),
)
"""What builds the results again. Of the records, only those of the suite go with it."""

PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
PRODUCTS = (
    "report.pdf",
    "report.tex",
    "references.bib",
    "numbers.tex",
    "claims.json",
    "summary.csv",
    "figures",
    "tables",
    "pages",
)


def deposit(suite: Suite, suite_path: Path, output: Path) -> list[Path]:
    """Write a suite's results, with the workflow and the provenance of every run, as one zip.

    Args:
        suite_path: The suite's file.
        output: The zip to write.

    Returns:
        The records in it.

    Raises:
        CrossresError: When a record or the report is missing, naming the command that makes it.
    """
    results = files.suite_dir(suite.suite)
    if not (results / "report.pdf").is_file():
        command = f"snakemake --cores 1 --config suite={suite_path}"
        raise CrossresError(f"{results / 'report.pdf'}: no such file; to build the results: {command}")
    records = [_record_file(suite, run, seed) for run, seed in suite.jobs()]
    crate = ROCrate(version="1.1")
    _describe(crate, suite)
    workflow = crate.add_workflow("Snakefile", "Snakefile", main=True, lang="snakemake", record_size=True)
    workflow["name"] = "crossres"
    for path in dict.fromkeys([*_workflow_files(), suite_path]):
        _add(crate, path)
    products = [_add(crate, path) for name in PRODUCTS for path in _files_of(results / name)]
    made = {path: _add(crate, path) for path in records}
    _add_runs(crate, made)
    crate.add_action(
        workflow,
        "#workflow-run",
        object=[_entity(crate, suite_path)],
        result=[*made.values(), *products],
        properties={"name": f"snakemake --cores 1 --config suite={suite.suite}", "endTime": _last_change(results)},
    )
    files.write_atomic(output, b"".join(crate.stream_zip()))
    return records


def _describe(crate: ROCrate, suite: Suite) -> None:
    citation = files.read_yaml(files.ROOT / "CITATION.cff")
    crate.name = suite.title
    crate.description = suite.notice or f"Suite {suite.suite} of {citation['title']}"
    crate.license = f"https://spdx.org/licenses/{citation['license']}"
    crate.datePublished = date.today()
    for identifier, name in PROFILES.items():
        properties = {"@type": "CreativeWork", "name": name, "version": identifier.rpartition("/")[2]}
        crate.root_dataset.append_to("conformsTo", crate.add(ContextEntity(crate, identifier, properties=properties)))


def _add_runs(crate: ROCrate, made: dict[Path, Entity]) -> None:
    """Add one action per run: what trained it, where, from which teacher, and its record as the result."""
    instruments = {
        verb: crate.add(
            ContextEntity(
                crate,
                f"#{verb}",
                properties={"@type": "SoftwareApplication", "name": f"crossres {verb}", "softwareVersion": __version__},
            )
        )
        for verb in ("train", "import-thesis")
    }
    records = {path: read_record(path) for path in made}
    by_run = {(record.name, record.spec.seed): made[path] for path, record in records.items()}
    for path, record in records.items():
        teacher = by_run.get((record.spec.teacher or "", record.spec.teacher_seed or 0))
        crate.add_action(
            instruments["train" if record.provenance.source is None else "import-thesis"],
            f"#{record.name}-seed{record.spec.seed}",
            object=[teacher] if teacher else None,
            result=[made[path]],
            properties={"name": f"{run_name(record.spec)}, seed {record.spec.seed}", "description": _how(record)},
        )


def _how(record: Record) -> str:
    """Describe where a run was computed, and which bits went in and came out, by their digests."""
    known = record.provenance.model_dump(exclude_none=True, exclude={"source", "earlier"})
    versions = known.pop("versions")
    return "; ".join(f"{name}: {value}" for name, value in (known | versions).items() if value)


def _record_file(suite: Suite, run: str, seed: int) -> Path:
    computed = files.record_file(files.suite_dir(suite.suite), run, seed)
    for path in (computed, files.shipped_record(suite.suite, run, seed)):
        if path.is_file():
            return path
    command = f"snakemake --cores 1 --config suite={suite.suite} -- {computed}"
    raise CrossresError(f"{computed}: no such record; to compute it: {command}")


def _workflow_files() -> Iterator[Path]:
    shipped = files.SHIPPED.relative_to(files.ROOT)
    for name in WORKFLOW:
        for path in _files_of(files.ROOT / name):
            if shipped not in path.relative_to(files.ROOT).parents or path.parent == files.SHIPPED:
                yield path


def _files_of(place: Path) -> list[Path]:
    """Return a file, or those under a folder without caches and images."""
    found = sorted(place.rglob("*")) if place.is_dir() else [place]
    return [path for path in found if path.is_file() and path.suffix not in (".pyc", ".sif", ".log")]


def _place(path: Path) -> str:
    """Return the place in the zip: that in the project, and for a suite of one's own its name."""
    root = files.ROOT.resolve()
    inside = path.resolve().relative_to(root) if path.resolve().is_relative_to(root) else Path(path.name)
    return (path if path.is_relative_to(files.RESULTS) else inside).as_posix()


def _entity(crate: ROCrate, path: Path) -> Entity:
    return crate.dereference(_place(path))


def _add(crate: ROCrate, path: Path) -> Entity:
    found = _entity(crate, path)
    return found or crate.add_file(str(path), _place(path), record_size=True)


def _last_change(results: Path) -> str:
    return date.fromtimestamp((results / "report.pdf").stat().st_mtime).isoformat()
