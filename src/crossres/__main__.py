"""The command line: one verb a rule of the workflow.

Every verb also works by hand; heavy libraries are imported by the verbs that need them.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from crossres import __version__
from crossres.arguments import DEVICES, check_place, count, device, seconds
from crossres.base import CrossresError


def _import_thesis(args: argparse.Namespace) -> None:
    from crossres import files
    from crossres.records import thesis
    from crossres.records.record import write_record
    from crossres.suites.spec import load_suite

    for record in thesis.import_records(load_suite(files.suite_file("published")), args.source):
        path = files.shipped_record(record.spec.suite, record.spec.run, record.spec.seed)
        write_record(path, record)
        print(f"{path}  {record.best.top1_pct:.2f} % at epoch {record.best.epoch} of {len(record.history)}")


def _data(args: argparse.Namespace) -> None:
    from crossres.training.acquire import prepare

    print(f"{prepare(args.dataset, args.root, args.source)}: verified")


def _weights(args: argparse.Namespace) -> None:
    from crossres.training.models import fetch_weights

    fetch_weights(args.model, args.source, args.output)
    print(f"{args.output}: verified")


def _spec(args: argparse.Namespace) -> None:
    import json

    from crossres.files import write_json
    from crossres.suites.spec import Spec

    try:
        document = json.loads(args.resolved)
    except json.JSONDecodeError as error:
        raise CrossresError(f"--resolved: not valid JSON ({error})") from None
    write_json(args.output, Spec.parse(document, "--resolved").model_dump(mode="json"))


def _train(args: argparse.Namespace) -> None:
    from crossres.records.record import read_spec
    from crossres.training.acquire import check
    from crossres.training.device import choose
    from crossres.training.loop import Trainer
    from crossres.training.progress import ProgressBar

    spec = read_spec(args.spec)
    check(spec.dataset.name, args.data)
    _check_teacher(args.teacher)
    device = choose(args.device, args.threads)
    progress = ProgressBar(f"{spec.run} seed {spec.seed}", spec.optimisation.epochs)
    try:
        trainer = Trainer(spec, args.data, args.spec.parent, device, args.teacher, args.weights, args.cuda_graph)
        trainer.fit(progress)
    finally:
        progress.close()


def _logits(args: argparse.Namespace) -> None:
    from crossres.records.record import read_spec
    from crossres.training.acquire import check
    from crossres.training.device import choose
    from crossres.training.progress import ProgressBar
    from crossres.training.teacher import store_pass

    spec = read_spec(args.spec)
    if spec.teacher is None:
        raise CrossresError(f"{args.spec}: run {spec.run} has no teacher, so no logits to store; give a student's spec")
    check(spec.dataset.name, args.data)
    _check_teacher(args.teacher)
    device = choose(args.device, args.threads)
    progress = ProgressBar(f"logits of {spec.teacher} seed {spec.teacher_seed}", args.epochs)
    try:
        store_pass(spec, args.teacher, args.data, args.epochs, args.output, device, progress)
    finally:
        progress.close()


def _check_teacher(weights: Path | None) -> None:
    """Check what describes a teacher's weights, where it stands beside them."""
    from crossres.files import read_json
    from crossres.records.record import TrainingResult

    if weights is not None and (described := weights.with_name("training.json")).is_file():
        TrainingResult.parse(read_json(described), str(described))


def _plan(args: argparse.Namespace) -> None:
    import yaml

    from crossres.records import provenance
    from crossres.suites.config import Config, chosen_suite
    from crossres.suites.spec import Budget
    from crossres.tools import plan
    from crossres.training.device import choose

    suite = chosen_suite(Config(suite=args.suite))
    try:
        budget = Budget.parse(yaml.safe_load(args.budget), "--budget") if args.budget else None
    except yaml.YAMLError as error:
        raise CrossresError(f"--budget: not valid YAML: {' '.join(str(error).split())}") from None
    chosen = {name: suite.run(name) for name in args.run or suite.runs}
    specs = [suite.resolve(run, seed, budget) for run, seed in suite.jobs() if run in chosen]
    if args.machine == "thesis":
        machine, cuda = plan.thesis_machine(), True
    else:
        here = choose(args.device, threads=1)
        machine, cuda = plan.machine_of(provenance.device_name(here)), here.type == "cuda" or suite.device == "cuda"
    made = plan.make_plan(specs, args.teacher_logits, machine, cuda)
    print(plan.show(made))
    if args.output:
        plan.write(made, args.output)


def _evaluate(args: argparse.Namespace) -> None:
    from crossres.files import read_json
    from crossres.records.record import TrainingResult, read_spec, write_record
    from crossres.training.acquire import check
    from crossres.training.device import choose
    from crossres.training.evaluate import evaluate
    from crossres.training.loop import discard_state

    spec = read_spec(args.spec)
    check(spec.dataset.name, args.data)
    device = choose(args.device, args.threads)
    path = args.spec.with_name("training.json")
    training = TrainingResult.parse(read_json(path), str(path))
    record = evaluate(spec, args.spec.parent, training, args.data, device)
    write_record(args.output, record)
    discard_state(args.spec.parent, training)
    print(f"{spec.run} seed {spec.seed}: {record.best.top1_pct:.2f} % on {len(record.predictions or [])} test images")


def _export(args: argparse.Namespace) -> None:
    from crossres import files
    from crossres.suites.config import Config, chosen_suite
    from crossres.tools.choice import choose
    from crossres.tools.export import export
    from crossres.training.device import choose as choose_device

    suite = chosen_suite(Config(suite=args.suite))
    choose_device("cpu", args.threads)
    results = args.results or files.suite_dir(suite.suite)
    choice = choose(suite, results, args.run, args.seed, args.suite)
    spec = choice.record.spec
    named = args.run is not None or args.seed is not None
    output = args.output or files.export_dir(results, *((spec.run, spec.seed) if named else ()))
    parity = export(choice, suite, args.data, output)
    print(f"{output}: {spec.run} seed {spec.seed}, {choice.record.best.top1_pct:.2f} %. {choice.reason}")
    differ = f"differs by at most {parity.max_abs_difference:.1e} from PyTorch"
    print(f"model.onnx {differ}, {parity.top1_agreement_pct:.2f} % of {parity.images:,} predictions are the same")


def _show_batch(args: argparse.Namespace) -> None:
    from crossres.files import write_atomic
    from crossres.records.record import read_spec
    from crossres.tools.show_batch import contact_sheet
    from crossres.training.acquire import check

    spec = read_spec(args.spec)
    check(spec.dataset.name, args.data)
    sheet = contact_sheet(spec, args.data, args.epoch, args.step, args.images)
    output = args.output or args.spec.with_name(f"batch_epoch{args.epoch}_step{args.step}.png")
    write_atomic(output, sheet)
    print(output)


def _schema(args: argparse.Namespace) -> None:
    from crossres.files import write_json
    from crossres.records.record import Record

    write_json(args.output, Record.model_json_schema())


def _ship(args: argparse.Namespace) -> None:
    from crossres.suites.config import Config, chosen_suite
    from crossres.tools.ship import ship

    for path in ship(chosen_suite(Config(suite=args.suite)), args.run, args.accept_sources, args.suite):
        print(path)


def _status(args: argparse.Namespace) -> None:
    from crossres import files
    from crossres.suites.config import chosen_suite, file_config
    from crossres.tools import status

    config = file_config(args.config, args.suite)
    suite = chosen_suite(config)
    print(status.show(status.states(config, suite)))
    truncated = files.suite_dir(suite.suite, truncated=True)
    if config.budget is None and truncated.is_dir():
        print(f"{truncated} has results of a budget; --config FILE, with the key budget, tells their status")


def _watch(args: argparse.Namespace) -> None:
    from crossres.suites.config import chosen_suite, file_config
    from crossres.tools.watch import watch

    config = file_config(args.config, args.suite)
    watch(config, chosen_suite(config), args.run, args.field, args.once, args.every, sys.stdout)


def _document(args: argparse.Namespace) -> None:
    from crossres.tools import reference as document

    for path in document.write(args.output_dir or Path("config")):
        print(path)


def _summary(args: argparse.Namespace) -> None:
    from crossres.files import write_atomic
    from crossres.records.record import read_record
    from crossres.records.summary import summarise

    write_atomic(args.output, summarise(read_record(path) for path in args.records).to_csv(index=False))


def _table(args: argparse.Namespace) -> None:
    from crossres.records.summary import read_summary
    from crossres.report import catalog, tables

    catalog.check_name("tables", args.name)
    tables.write(args.name, read_summary(args.summary), args.output_dir)


def _figure(args: argparse.Namespace) -> None:
    from crossres.records.record import read_record
    from crossres.records.summary import read_summary
    from crossres.report import catalog, figures

    catalog.check_name("figures", args.name)
    records = [read_record(path) for path in args.records]
    stem = args.output_dir / args.name
    figures.render(args.name, read_summary(args.summary), records, stem.with_suffix(".pdf"), stem.with_suffix(".png"))


def _audit(args: argparse.Namespace) -> None:
    from crossres import files
    from crossres.claims.audit import audit
    from crossres.claims.document import load_claims
    from crossres.files import write_json
    from crossres.records.record import read_record
    from crossres.records.summary import read_summary
    from crossres.suites.spec import load_suite

    claims = load_claims(args.claims)
    suite = load_suite(args.suite)
    suites = [suite, *(load_suite(path) for path in sorted(files.SUITES.glob("*.yaml")))]
    claims.check_runs(run for one in suites for run in one.runs)
    found = audit(suite, [read_record(path) for path in args.records], read_summary(args.summary), claims)
    write_json(args.output, found.model_dump(mode="json"))


def _claims(args: argparse.Namespace) -> None:
    from crossres import files
    from crossres.claims.document import Audit, as_text, compare, load_claims, required
    from crossres.files import read_json
    from crossres.suites.config import Config, chosen_suite

    wanted = required(args.require)
    path = args.file or files.audit_file(files.suite_dir(chosen_suite(Config(suite=args.suite)).suite))
    if not args.file and not path.exists():
        mend = f"snakemake --cores 1 --config suite={args.suite} -- claims"
        raise CrossresError(f"{path}: no such file; to make it: {mend}")
    found = Audit.parse(read_json(path), str(path))
    print(as_text(found, wide=args.reasons))
    if args.recorded:
        wanted = load_claims(files.CLAIMS).recorded(found.suite) | wanted
    if differing := compare(found, wanted):
        raise CrossresError(f"{path}: " + "; ".join(differing))
    if wanted:
        print(f"{len(wanted)} of {len(wanted)} required verdicts are as required")


def _tex(args: argparse.Namespace) -> None:
    from crossres.files import write_atomic
    from crossres.records import provenance
    from crossres.report import rebuild, render
    from crossres.report.inputs import ReportInputs

    inputs = ReportInputs.read(args.suite, args.summary, args.records, args.claims)
    build = render.BuildInfo(
        commit=args.commit or provenance.commit(),
        sources_sha256=provenance.sources_digest(),
        suite_file=args.suite,
        given=rebuild.given_runs(inputs.suite, args.records),
    )
    folder = args.output.parent
    write_atomic(args.output, render.render_report(inputs, folder / "figures", folder / "tables", build))


def _pdf(args: argparse.Namespace) -> None:
    from crossres.files import read_text
    from crossres.report import render

    for warning in render.build_pdf(
        read_text(args.source), args.output, args.bibliography, args.source.parent / "figures"
    ):
        print(f"crossres: {warning}", file=sys.stderr)
    print(f"{args.output}: built")


def _pages(args: argparse.Namespace) -> None:
    from crossres.report import pages
    from crossres.report.inputs import ReportInputs

    pages.write(ReportInputs.read(args.suite, args.summary, args.records, args.claims), args.output_dir)


def _readme(args: argparse.Namespace) -> None:
    from crossres import files
    from crossres.claims.audit import audit
    from crossres.claims.document import load_claims
    from crossres.records.record import read_record
    from crossres.records.summary import summarise
    from crossres.report.inputs import ReportInputs
    from crossres.suites.spec import load_suite
    from crossres.tools import readme

    suite = load_suite(files.suite_file("published"))
    records = [read_record(files.shipped_record(suite.suite, run, seed)) for run, seed in suite.jobs()]
    summary = summarise(records)
    found = audit(suite, records, summary, load_claims(files.CLAIMS))
    for path in readme.write(args.file, ReportInputs(suite, records, summary, found)):
        print(path)


Verb = Callable[[str, Callable[[argparse.Namespace], None], str], argparse.ArgumentParser]
"""Adds a verb by its name, function and one line of help."""


def _computes(added: argparse.ArgumentParser) -> None:
    added.add_argument("--spec", type=Path, required=True, metavar="FILE", help="resolved spec of the run")
    added.add_argument("--data", type=Path, default=Path("data"), metavar="DIR", help="folder of the data sets")
    default = os.environ.get("CROSSRES_DEVICE", "auto")
    added.add_argument("--device", default=default, type=device, choices=DEVICES, help="where to compute")
    added.add_argument("--threads", type=count, default=1, metavar="N", help="CPU threads; they change trained bits")


def _reads_records(added: argparse.ArgumentParser) -> None:
    added.add_argument("--records", type=Path, nargs="+", required=True, metavar="FILE", help="records of the suite")


def _reads_summary(added: argparse.ArgumentParser) -> None:
    added.add_argument("--summary", type=Path, required=True, metavar="FILE", help="the suite's summary.csv")


def _add_inputs(verb: Verb) -> None:
    added = verb("import-thesis", _import_thesis, "turn the thesis's logs into the records of `published`")
    added.add_argument("--source", metavar="PATH", help="folder or archive with the logs; downloaded when not given")

    added = verb("data", _data, "fetch, adopt or generate a data set, and verify it")
    added.add_argument("dataset", choices=("cifar100", "cifar10", "shapes"))
    added.add_argument("--root", type=Path, default=Path("data"), metavar="DIR", help="folder of the data sets")
    added.add_argument("--source", metavar="PATH", help="folder or archive to adopt CIFAR from")

    added = verb("weights", _weights, "fetch or adopt a model's ImageNet weights, and verify them")
    added.add_argument("model", metavar="LIBRARY/NAME")
    added.add_argument("--source", type=Path, metavar="DIR", help="folder to adopt the file from")
    added.add_argument("--output", type=Path, required=True, metavar="FILE")

    added = verb("spec", _spec, "write the resolved spec of one run and seed")
    added.add_argument("--resolved", required=True, metavar="JSON", help="the spec, as the workflow resolved it")
    added.add_argument("--output", type=Path, required=True, metavar="FILE")


def _add_runs(verb: Verb) -> None:
    added = verb("train", _train, "train one run, from its last state if there is one")
    _computes(added)
    added.add_argument("--teacher", type=Path, metavar="FILE", help="weights of the run's teacher")
    added.add_argument("--weights", type=Path, metavar="FILE", help="ImageNet weights to start from")
    graph = os.environ.get("CROSSRES_CUDA_GRAPH", "1") == "1"
    added.add_argument(
        "--cuda-graph", action=argparse.BooleanOptionalAction, default=graph, help="on CUDA, the step as one graph"
    )

    added = verb("logits", _logits, "store a teacher's logits for every batch of a student's stream")
    _computes(added)
    added.add_argument("--teacher", type=Path, required=True, metavar="FILE", help="weights of the teacher")
    added.add_argument("--epochs", type=count, required=True, metavar="N", help="epochs of the stream to store")
    added.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of the stored logits")

    added = verb("plan", _plan, "say what a suite takes before it is run: hours, memory, disk, and what runs share")
    added.add_argument("--suite", default="paper", metavar="NAME", help="a suite, or the path of a suite file")
    added.add_argument("--run", action="append", metavar="NAME", help="only this run; may be given several times")
    added.add_argument("--budget", metavar="YAML", help="a cut of the suite, as in the config")
    added.add_argument("--teacher-logits", default="auto", choices=("auto", "live", "stored"))
    default = os.environ.get("CROSSRES_DEVICE", "auto")
    added.add_argument("--device", default=default, type=device, choices=DEVICES, help="device to estimate for")
    machines = "the hours of this machine, where `make bench` measured it, or of the thesis's GPU"
    added.add_argument("--machine", default="this", choices=("this", "thesis"), help=machines)
    added.add_argument("--output", type=Path, metavar="FILE", help="also write the plan as JSON")

    added = verb("evaluate", _evaluate, "evaluate a trained run and write its record")
    _computes(added)
    added.add_argument("--output", type=Path, required=True, metavar="FILE")

    added = verb("export", _export, "write the best student as safetensors, ONNX and a model card")
    added.add_argument("suite", metavar="SUITE", help="a suite, or the path of a suite file")
    added.add_argument("--run", metavar="NAME", help="this run instead of the best student")
    added.add_argument("--seed", type=int, metavar="K", help="this seed instead of the best one")
    added.add_argument(
        "--results", type=Path, metavar="DIR", help="folder of the suite's results (default: results/SUITE)"
    )
    added.add_argument("--data", type=Path, default=Path("data"), metavar="DIR", help="folder of the data sets")
    added.add_argument("--threads", type=count, default=1, metavar="N", help="CPU threads")
    added.add_argument("--output", type=Path, metavar="DIR", help="where to write (default: export/ of the results)")

    added = verb("show-batch", _show_batch, "draw a training batch as the student and its teacher see it")
    added.add_argument("--spec", type=Path, required=True, metavar="FILE", help="resolved spec of the run")
    added.add_argument("--data", type=Path, default=Path("data"), metavar="DIR", help="folder of the data sets")
    added.add_argument("--epoch", type=count, default=1, metavar="N", help="epoch, from 1")
    added.add_argument("--step", type=count, default=1, metavar="N", help="step in the epoch, from 1")
    added.add_argument("--images", type=count, default=16, metavar="N", help="how many images to draw")
    added.add_argument("--output", type=Path, metavar="FILE", help="beside the spec when not given")


def _add_records(verb: Verb) -> None:
    added = verb("status", _status, "say of every run of a suite how far it is")
    added.add_argument("suite", nargs="?", metavar="SUITE", help="a suite; that of the configuration when not given")
    added.add_argument("--config", type=Path, default=Path("config/config.yaml"), metavar="FILE", help="how it is run")

    added = verb("watch", _watch, "draw the curves of a suite as they come, above its status")
    added.add_argument("suite", nargs="?", metavar="SUITE", help="a suite; that of the configuration when not given")
    added.add_argument("--config", type=Path, default=Path("config/config.yaml"), metavar="FILE", help="how it is run")
    added.add_argument("--run", action="append", metavar="NAME", help="only this run; may be given several times")
    added.add_argument("--field", default="test_accuracy_pct", metavar="NAME", help="such as test_loss or grad_norm")
    added.add_argument("--every", type=seconds, default=3.0, metavar="SECONDS", help="between pictures (default: 3)")
    added.add_argument("--once", action="store_true", help="draw once and end, as it does where it is piped")

    added = verb("ship", _ship, "copy computed records into paper/records/, where nothing can compute them again")
    added.add_argument("suite", metavar="SUITE", help="a suite, or the path of a suite file")
    added.add_argument("--run", action="append", metavar="NAME", help="only this run; may be given several times")
    added.add_argument("--accept-sources", action="store_true", help="also records of other training code than today's")

    added = verb("schema", _schema, "write the JSON Schema of a record")
    added.add_argument("--output", type=Path, required=True, metavar="FILE")

    added = verb("document", _document, "write the reference of every key, and the JSON Schemas that editors read")
    added.add_argument("--output-dir", type=Path, metavar="DIR", help="where to write (default: config)")


def _add_report(verb: Verb) -> None:
    added = verb("summary", _summary, "put the records of a suite into one table")
    _reads_records(added)
    added.add_argument("--output", type=Path, required=True, metavar="FILE")

    for name, function, text in (
        ("table", _table, "write one table as CSV, LaTeX and Markdown"),
        ("figure", _figure, "draw one figure as PDF and PNG"),
    ):
        added = verb(name, function, text)
        added.add_argument("name")
        _reads_summary(added)
        if name == "figure":
            _reads_records(added)
        added.add_argument("--output-dir", type=Path, required=True, metavar="DIR")

    added = verb("audit", _audit, "judge the claims of the thesis by a suite's records")
    _reads_summary(added)
    _reads_records(added)
    added.add_argument("--suite", type=Path, required=True, metavar="FILE", help="the suite's YAML file")
    added.add_argument("--claims", type=Path, default=Path("paper/claims.yaml"), metavar="FILE", help="the claims")
    added.add_argument("--output", type=Path, required=True, metavar="FILE")

    added = verb("claims", _claims, "print the verdicts of an audit, and hold them to what is required")
    added.add_argument("--suite", default="paper", metavar="NAME", help="suite whose audit to read (default: paper)")
    added.add_argument("--file", type=Path, metavar="FILE", help="another claims.json than that suite's")
    added.add_argument("--reasons", action="store_true", help="print the reason of each verdict, too")
    added.add_argument(
        "--require", action="append", default=[], metavar="ID=VERDICT", help="fail unless a claim has this verdict"
    )
    added.add_argument("--recorded", action="store_true", help="fail unless all verdicts are those on record")

    added = verb("tex", _tex, "fill the report's template; figures/ and tables/ stand beside the output")
    _reads_summary(added)
    _reads_records(added)
    added.add_argument("--suite", type=Path, required=True, metavar="FILE", help="the suite's YAML file")
    added.add_argument("--claims", type=Path, required=True, metavar="FILE", help="the suite's claims.json")
    added.add_argument("--commit", metavar="SHA", help="commit to name in the report; asked of git when not given")
    added.add_argument("--output", type=Path, required=True, metavar="FILE")

    added = verb("pdf", _pdf, "compile the report")
    added.add_argument("--source", type=Path, required=True, metavar="FILE", help="report.tex")
    added.add_argument("--bibliography", type=Path, required=True, metavar="FILE")
    added.add_argument("--output", type=Path, required=True, metavar="FILE")


def _add_shown(verb: Verb) -> None:
    added = verb("pages", _pages, "write what `snakemake --report` shows: tables, claims and records as HTML, captions")
    _reads_summary(added)
    _reads_records(added)
    added.add_argument("--suite", type=Path, required=True, metavar="FILE", help="the suite's YAML file")
    added.add_argument("--claims", type=Path, required=True, metavar="FILE", help="the suite's claims.json")
    added.add_argument("--output-dir", type=Path, required=True, metavar="DIR")

    added = verb("readme", _readme, "write the figures and the verdicts that the README shows")
    added.add_argument("--file", type=Path, default=Path("README.md"), metavar="FILE")


def _parser() -> argparse.ArgumentParser:
    about = "Cross-resolution knowledge distillation, verb by verb."
    parser = argparse.ArgumentParser(prog="crossres", description=about)
    parser.add_argument("--version", action="version", version=f"crossres {__version__}")
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")

    def verb(name: str, function: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=text, description=text)
        added.set_defaults(function=function, verb=name)
        return added

    _add_inputs(verb)
    _add_runs(verb)
    _add_records(verb)
    _add_report(verb)
    _add_shown(verb)
    return parser


def main(words: Sequence[str] | None = None) -> int:
    """Run one verb; return the exit status. A mistake the user can mend is one line on standard error."""
    args = _parser().parse_args(words)
    try:
        check_place(args)
        args.function(args)
        sys.stdout.flush()  # here, where it can still be told that the reader is gone
    except CrossresError as error:
        return _mistake(error)
    except BrokenPipeError:  # such as `| head`: the reader has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more as it ends
        return 128 + signal.SIGPIPE
    except OSError as error:
        return _mistake(f"{error.filename}: {error.strerror}" if error.filename else error)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "crossres":
            raise
        return _mistake(f"{args.verb} needs {error.name}, which .venv has: make setup")
    except KeyboardInterrupt:
        resumes = "; run the same command again to go on from the last epoch"
        print(f"crossres: interrupted{resumes if args.verb in ('train', 'logits') else ''}", file=sys.stderr)
        return 130
    return 0


def _mistake(what: object) -> int:
    print(f"crossres: {what}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
