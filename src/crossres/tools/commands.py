"""Verbs of the tools, which are run by hand."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter, validators

from crossres import files
from crossres.base import CrossresError
from crossres.options import (
    Count,
    Data,
    Device,
    File,
    Flag,
    Folder,
    Integer,
    Name,
    Runs,
    Seconds,
    Spec,
    SuiteName,
    Threads,
)
from crossres.records import provenance
from crossres.records.record import read_spec
from crossres.suites.config import Config, chosen_suite, file_config, suite_path
from crossres.suites.spec import Budget
from crossres.suites.suite import Suite

CONFIG = Path("config/config.yaml")
ConfigFile = Annotated[File, Parameter(help="Configuration of the workflow.")]
Compared = Annotated[str, Parameter(metavar="RECORDS")]
Points = Annotated[float, Parameter(validator=validators.Number(gt=0, lte=100), metavar="POINTS")]
OtherSuite = Annotated[str | None, Parameter(help="Name or file of a suite; by default, that of the configuration.")]


def _suite(name: str) -> Suite:
    files.check_root()
    return chosen_suite(Config(suite=name))


def _configured(path: Path, suite: str | None) -> tuple[Config, Suite]:
    files.check_root()
    config = file_config(path, suite)
    return config, chosen_suite(config)


def plan(
    *,
    suite: SuiteName = "paper",
    run: Runs = None,
    budget: Annotated[str | None, Parameter(metavar="YAML")] = None,
    teacher_logits: Literal["auto", "live", "stored"] = "auto",
    device: Device = "auto",
    machine: Literal["this", "thesis"] = "this",
    power: Flag = False,
    output: File | None = None,
) -> None:
    """Estimate what a suite takes: hours, memory, disk, and what its runs share.

    Args:
        budget: Limits on the suite, as in the configuration, such as '{epochs: 20}'.
        teacher_logits: Where the teacher's logits come from, as in the configuration.
        machine: Machine to estimate for: this one, once measured with make bench, or that of the thesis.
        power: Print what the contrasts of the suite can find instead.
        output: File to write the plan to as JSON, besides printing it.
    """
    loaded = _suite(suite)
    if power:
        from crossres.claims.power import power_text

        print(power_text(loaded))
        return

    from crossres.tools import plan as planning
    from crossres.training.device import use_device

    cut = Budget.parse(files.parse_yaml(budget, "--budget"), "--budget") if budget else None
    runs = [name for name in run or loaded.runs if loaded.run(name)]  # run() names a wrong one
    specs = [loaded.resolve(name, seed, cut) for name, seed in loaded.jobs()]
    if machine == "thesis":
        target, cuda = planning.thesis_machine(), True
    else:
        here = use_device(device, threads=1)
        target = planning.machine_of(provenance.device_name(here))
        cuda = here.type == "cuda" or loaded.device == "cuda"
    made = planning.make_plan(specs, teacher_logits, target, cuda, runs)
    print(planning.plan_text(made))
    if output:
        files.write_json(output, asdict(made))


def status(suite: OtherSuite = None, /, *, config: ConfigFile = CONFIG) -> None:
    """Show the progress of every run of a suite."""
    from crossres.tools.status import status_table, suite_status

    settings, loaded = _configured(config, suite)
    print(status_table(suite_status(settings, loaded)))
    truncated = files.suite_dir(loaded.suite, truncated=True)
    if settings.budget is None and truncated.is_dir():
        print(f"{truncated} has results of a budget; --config FILE, with the key budget, shows their status")


def watch(
    suite: OtherSuite = None,
    /,
    *,
    config: ConfigFile = CONFIG,
    run: Runs = None,
    field: Name = "test_accuracy_pct",
    every: Seconds = 3.0,
    once: Flag = False,
) -> None:
    """Draw the learning curves of a suite while it trains.

    Args:
        field: Field of the history to draw, such as test_loss or grad_norm.
        every: Time between two pictures.
        once: Draw one picture and end; so it does when the output is piped.
    """
    from crossres.tools import watch as curves

    curves.watch(*_configured(config, suite), run, field, once, every, sys.stdout)


def export(
    suite: SuiteName,
    /,
    *,
    run: Name | None = None,
    seed: Integer | None = None,
    results: Folder | None = None,
    data: Data = Path("data"),
    threads: Threads = 1,
    output: Folder | None = None,
) -> None:
    """Write the best student as safetensors and ONNX, with a model card.

    Args:
        run: Run to export instead of the best student.
        seed: Seed to export instead of the best one.
        results: Folder of the suite's results; by default results/SUITE.
        output: Folder to write to; by default export/ in the results.
    """
    from crossres.tools import export as exporting
    from crossres.training.device import use_device

    loaded = _suite(suite)
    use_device("cpu", threads)
    folder = results or files.suite_dir(loaded.suite)
    chosen = exporting.best_run(loaded, folder, run, seed, suite)
    spec = chosen.record.spec
    named = run is not None or seed is not None
    target = output or files.export_dir(folder, *((spec.run, spec.seed) if named else ()))
    parity = exporting.export(chosen, loaded, data, target)
    print(f"{target}: {spec.run} seed {spec.seed}, {chosen.record.best.top1_pct:.2f} %. {chosen.reason}")
    differ = f"differs by at most {parity.max_abs_difference:.1e} from PyTorch"
    print(f"model.onnx {differ}, {parity.top1_agreement_pct:.2f} % of {parity.images:,} predictions are the same")


def show_batch(
    *,
    spec: Spec,
    data: Data = Path("data"),
    epoch: Count = 1,
    step: Count = 1,
    images: Count = 16,
    output: File | None = None,
) -> None:
    """Draw a training batch as the student and its teacher see it.

    Args:
        epoch: Epoch, from 1.
        step: Step in the epoch, from 1.
        images: Number of images to draw.
        output: PNG file to write; by default one beside the spec.
    """
    from crossres.tools.show_batch import contact_sheet
    from crossres.training.acquire import check

    resolved = read_spec(spec)
    check(resolved.dataset, data)
    sheet = contact_sheet(resolved, data, epoch, step, images)
    target = output or spec.with_name(f"batch_epoch{epoch}_step{step}.png")
    files.write_atomic(target, sheet)
    print(target)


def ship(
    suite: SuiteName,
    /,
    *,
    run: Runs = None,
    seed: Annotated[list[Integer] | None, Parameter(metavar="N")] = None,
    accept_sources: Flag = False,
) -> None:
    """Copy computed records into paper/records/, where no rule can overwrite them.

    Args:
        seed: Only this seed; repeatable.
        accept_sources: Also copy records that an earlier version of the training code computed.
    """
    from crossres.tools import ship as shipping

    for path in shipping.ship(_suite(suite), run, accept_sources, suite, seed):
        print(path)


def new(folder: Folder, /) -> None:
    """Write a folder for a paper of your own, which this workflow builds: suite, claims, figure, table, template.

    Args:
        folder: Folder to write, which must not hold anything yet.
    """
    import shutil

    files.check_root()
    if folder.exists() and any(folder.iterdir()):
        raise CrossresError(f"{folder}: is there already; name a new folder")
    shutil.copytree(
        files.ROOT / "workflow/new", folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
    )
    for path in folder.rglob("*"):
        if path.is_file():
            path.write_text(files.read_text(path).replace("PROJECT", str(files.ROOT.absolute())), encoding="utf-8")
    snakemake = Path(sys.executable).with_name("snakemake")
    print(f"{folder}: cd there and run: {snakemake} --cores 2")


def deposit(suite: SuiteName, /, *, output: File | None = None) -> None:
    """Write a suite's results as one zip for Zenodo or WorkflowHub, a Workflow Run RO-Crate.

    Args:
        output: File to write; by default deposit.zip in the suite's results.
    """
    from crossres.tools import deposit as depositing

    loaded = _suite(suite)
    target = output or files.suite_dir(loaded.suite) / "deposit.zip"
    records = depositing.deposit(loaded, suite_path(Config(suite=suite)), target)
    print(f"{target}: the workflow, {len(records)} records and the report, {target.stat().st_size / 1e6:.1f} MB")


def compare(
    first: Compared,
    second: Compared,
    /,
    *,
    run: Runs = None,
    margin: Points = 1.0,
    require: Literal["identical", "equivalent"] | None = None,
    json: File | None = None,
    html: File | None = None,
) -> None:
    """Say whether two sets of records show the same results: yours and the shipped ones, or two suites.

    Args:
        first: Suite, folder of records, or record, to compare with.
        second: The same, to be compared.
        margin: Difference in accuracy up to which runs are equivalent.
        require: Fail unless every run has this verdict, or identical, and the same spec.
        json: File to write the comparison to, besides printing it.
        html: File to write it to as a page.
    """
    from crossres.tools import comparison
    from crossres.tools.compare import compare as compare_records

    found = compare_records(first, second, margin, run)
    print(comparison.as_text(found))
    if json:
        files.write_json(json, found.model_dump(mode="json"))
    if html:
        files.write_atomic(html, comparison.as_html(found))
    if require and (failures := found.failures(require)):
        raise CrossresError(f"not {require}: {'; '.join(failures)}")


def docs() -> None:
    """Write every generated file: the reference of the keys, JSON Schemas, and the results in the README."""
    from crossres.tools.docs import generated_files

    files.check_root()
    for path, text in generated_files().items():
        files.write_atomic(path, text)
        print(path)
