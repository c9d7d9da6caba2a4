"""Verbs of the tools, which are run by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from crossres import files
from crossres.base import CrossresError
from crossres.options import Count, Data, Device, Integer, Runs, Seconds, SpecFile, SuiteName, Threads

ConfigFile = Annotated[Path, Parameter(name="--config", help="Configuration of the workflow.")]
SuiteOrConfig = Annotated[str | None, Parameter(help="Name or file of a suite; by default, that of the configuration.")]
CONFIG = Path("config/config.yaml")


def plan(
    *,
    suite: SuiteName = "paper",
    run: Runs = None,
    budget: str | None = None,
    teacher_logits: Literal["auto", "live", "stored"] = "auto",
    device: Device = "auto",
    machine: Literal["this", "thesis"] = "this",
    output: Path | None = None,
) -> None:
    """Estimate what a suite takes: hours, memory, disk, and what its runs share.

    Args:
        budget: A smaller version of the suite, as YAML, such as '{epochs: 20}'.
        teacher_logits: Where the teacher's logits come from, as in the configuration.
        machine: This machine, where `make bench` measured it, or the GPU of the thesis.
        output: Also write the plan to this file, as JSON.
    """
    import yaml

    from crossres.records import provenance
    from crossres.suites.config import Config, chosen_suite
    from crossres.suites.spec import Budget
    from crossres.tools import plan as planning
    from crossres.training.device import use_device

    files.check_root()
    loaded = chosen_suite(Config(suite=suite))
    try:
        cut = Budget.parse(yaml.safe_load(budget), "--budget") if budget else None
    except yaml.YAMLError as error:
        raise CrossresError(f"--budget: not valid YAML: {' '.join(str(error).split())}") from None
    chosen = {name: loaded.run(name) for name in run or loaded.runs}
    specs = [loaded.resolve(name, seed, cut) for name, seed in loaded.jobs() if name in chosen]
    if machine == "thesis":
        target, cuda = planning.thesis_machine(), True
    else:
        here = use_device(device, threads=1)
        target = planning.machine_of(provenance.device_name(here))
        cuda = here.type == "cuda" or loaded.device == "cuda"
    made = planning.make_plan(specs, teacher_logits, target, cuda)
    print(planning.show(made))
    if output:
        planning.write(made, output)


def status(suite: SuiteOrConfig = None, /, *, config: ConfigFile = CONFIG) -> None:
    """Show the progress of every run of a suite."""
    from crossres.suites.config import chosen_suite, file_config
    from crossres.tools import status as progress

    files.check_root()
    settings = file_config(config, suite)
    loaded = chosen_suite(settings)
    print(progress.show(progress.states(settings, loaded)))
    truncated = files.suite_dir(loaded.suite, truncated=True)
    if settings.budget is None and truncated.is_dir():
        print(f"{truncated} has results of a budget; --config FILE, with the key budget, tells their status")


def watch(
    suite: SuiteOrConfig = None,
    /,
    *,
    config: ConfigFile = CONFIG,
    run: Runs = None,
    field: str = "test_accuracy_pct",
    every: Seconds = 3.0,
    once: bool = False,
) -> None:
    """Draw the learning curves of a suite while it trains.

    Args:
        field: What to draw, such as test_loss or grad_norm.
        every: Seconds between pictures.
        once: Draw one picture and end, as it does when its output is piped.
    """
    from crossres.suites.config import chosen_suite, file_config
    from crossres.tools import watch as curves

    files.check_root()
    settings = file_config(config, suite)
    curves.watch(settings, chosen_suite(settings), run, field, once, every, sys.stdout)


def export(
    suite: SuiteName,
    /,
    *,
    run: str | None = None,
    seed: Integer | None = None,
    results: Path | None = None,
    data: Data = Path("data"),
    threads: Threads = 1,
    output: Path | None = None,
) -> None:
    """Write the best student as safetensors and ONNX, with a model card.

    Args:
        run: This run instead of the best student.
        seed: This seed instead of the best one.
        results: Folder of the suite's results; by default results/SUITE.
        output: Folder to write to; by default export/ in the results.
    """
    from crossres.suites.config import Config, chosen_suite
    from crossres.tools import export as exporting
    from crossres.tools.choice import choose
    from crossres.training.device import use_device

    files.check_root()
    loaded = chosen_suite(Config(suite=suite))
    use_device("cpu", threads)
    folder = results or files.suite_dir(loaded.suite)
    choice = choose(loaded, folder, run, seed, suite)
    spec = choice.record.spec
    named = run is not None or seed is not None
    target = output or files.export_dir(folder, *((spec.run, spec.seed) if named else ()))
    parity = exporting.export(choice, loaded, data, target)
    print(f"{target}: {spec.run} seed {spec.seed}, {choice.record.best.top1_pct:.2f} %. {choice.reason}")
    differ = f"differs by at most {parity.max_abs_difference:.1e} from PyTorch"
    print(f"model.onnx {differ}, {parity.top1_agreement_pct:.2f} % of {parity.images:,} predictions are the same")


def show_batch(
    *,
    spec: SpecFile,
    data: Data = Path("data"),
    epoch: Count = 1,
    step: Count = 1,
    images: Count = 16,
    output: Path | None = None,
) -> None:
    """Draw a training batch as the student and its teacher see it.

    Args:
        epoch: Epoch, from 1.
        step: Step in the epoch, from 1.
        images: Number of images to draw.
        output: PNG file to write; by default beside the spec.
    """
    from crossres.records.record import read_spec
    from crossres.tools.show_batch import contact_sheet
    from crossres.training.acquire import check

    resolved = read_spec(spec)
    check(resolved.dataset.name, data)
    sheet = contact_sheet(resolved, data, epoch, step, images)
    target = output or spec.with_name(f"batch_epoch{epoch}_step{step}.png")
    files.write_atomic(target, sheet)
    print(target)


def ship(suite: SuiteName, /, *, run: Runs = None, accept_sources: bool = False) -> None:
    """Copy computed records into paper/records/, where no rule can overwrite them.

    Args:
        accept_sources: Also copy records that an earlier version of the training code computed.
    """
    from crossres.suites.config import Config, chosen_suite
    from crossres.tools import ship as shipping

    files.check_root()
    for path in shipping.ship(chosen_suite(Config(suite=suite)), run, accept_sources, suite):
        print(path)


def docs(*, output_dir: Path | None = None) -> None:
    """Write every generated file: the reference of the keys, and the JSON Schemas that editors read.

    Args:
        output_dir: Folder to write to; by default config/.
    """
    from crossres.records.record import Record
    from crossres.tools import reference

    if output_dir is None:
        files.check_root()
        files.write_json(files.SHIPPED / "schema.json", Record.model_json_schema())
    for path in reference.write(output_dir or Path("config")):
        print(path)


def readme(*, file: Path = Path("README.md")) -> None:
    """Update the figures and verdicts in the README.

    Args:
        file: The README.
    """
    from crossres.claims.audit import audit
    from crossres.claims.claim import load_claims
    from crossres.records.record import read_record
    from crossres.records.summary import summarise
    from crossres.report.inputs import ReportInputs
    from crossres.suites.suite import load_suite
    from crossres.tools import readme as page

    files.check_root()
    suite = load_suite(files.suite_file("published"))
    records = [read_record(files.shipped_record(suite.suite, run, seed)) for run, seed in suite.jobs()]
    summary = summarise(records)
    found = audit(suite, records, summary, load_claims(files.CLAIMS))
    for path in page.write(file, ReportInputs(suite, records, summary, found)):
        print(path)
