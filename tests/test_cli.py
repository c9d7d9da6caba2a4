"""The command line: help, one-line errors, exit statuses."""

from __future__ import annotations

import errno
import gzip
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from crossres import cli, files
from crossres.__main__ import main
from crossres.files import write_json
from crossres.records.record import read_record
from crossres.records.summary import NUMBER_COLUMNS, TEXT_COLUMNS, summarise
from crossres.suites.suite import load_suite

Failure = Callable[..., str]
VERBS = [verb.partition(".")[2].replace("_", "-") for verbs in cli.VERBS.values() for verb in verbs]


def test_help_describes_every_verb_at_once_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; from crossres.__main__ import main; main(sys.argv[1:]);"
        "print(sorted({'torch', 'pandas', 'matplotlib'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, "--help"], check=True, capture_output=True, text=True)
    for verb in VERBS:
        assert re.search(rf"^  {verb}  +[A-Z]", done.stdout, re.MULTILINE), verb
    assert done.stderr == "[]\n"


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_of_a_verb_is_described(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    shown = capsys.readouterr().out
    assert re.match(rf"Usage: crossres {verb}\b", shown)
    options = [line for line in shown.splitlines() if re.match(r"[ *]+--|[ *]+[A-Z]+  ", line)]
    assert options or verb == "docs"  # which takes none
    assert not [line for line in options if not re.search(r"  [A-Z]", line)]


@pytest.fixture
def failure(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a verb that fails, and return the one line that it prints."""

    def run(words: Sequence[str], status: int = 1) -> str:
        assert main(words) == status
        shown = capsys.readouterr().err
        assert shown.startswith("crossres: ") and shown.count("\n") == 1
        return shown.removeprefix("crossres: ")

    return run


HEADER = ",".join((*TEXT_COLUMNS, *NUMBER_COLUMNS))
PDF = ["--bibliography", "b", "--output", "x"]
SUMMARY = ["summary", "--records", str(Path("paper/records/published/teacher_32/seed42.json").absolute()), "--output"]
GIVEN = ["--suite", "s", "--records", "r"]
TABLE = ["table", "results_summary", "--output-dir", "{tmp}", "--summary"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "--spec", "no/spec.json"], "no/spec.json: no such file"),
        (["spec", "--resolved", "{", "--output", "x"], "--resolved: not valid JSON"),
        (["spec", "--resolved", "[" * 100_000, "--output", "x"], "--resolved: not valid JSON"),
        (["summary", "--records", "{tmp}/deep.json", "--output", "x"], "{tmp}/deep.json: not valid JSON"),
        (["import-thesis", "--source", "no/logs"], "no/logs: no such folder or archive"),
        (["data", "cifar100", "--root", "{tmp}", "--source", "no/archive"], "no/archive: no such folder or archive"),
        ([*TABLE, "no.csv"], "no.csv: no such file"),
        ([*TABLE, "Makefile"], "Makefile: not a summary"),
        (
            ["table", "results_sumary", *TABLE[2:], "no.csv"],
            "no table 'results_sumary'; did you mean 'results_summary'?",
        ),
        (["figure", "nosuch", *GIVEN, *TABLE[2:], "no.csv"], "no figure 'nosuch'; known: fig"),
        (["export", "published"], "its figures were not computed here, so there are no weights to export"),
        (["plan", "--budget", "{epochs: "], "--budget: not valid YAML: while parsing a flow node"),
        (["pdf", "--source", "no.tex", *PDF], "no.tex: No such file or directory"),
        (["status", "--config", "{tmp}"], "{tmp}: not a file"),
        (["train", "--spec", "{tmp}"], "{tmp}: Is a directory"),
        (["claims", "--file", "{tmp}"], "{tmp}: Is a directory"),
        (["claims", "--file", "{tmp}/no.json"], "{tmp}/no.json: no such file"),
        (["status", "--config", "{tmp}/binary"], "{tmp}/binary: not a text file in UTF-8"),
        (["pdf", "--source", "{tmp}/binary", *PDF], "{tmp}/binary: not a text file in UTF-8"),
        (["import-thesis", "--source", "{tmp}/binary"], "{tmp}/binary: not a whole tar archive"),
        (["import-thesis", "--source", "{tmp}/cut.tar.gz"], "{tmp}/cut.tar.gz: not a whole tar archive"),
        (["data", "shapes", "--root", "{file}/data"], "{file}/data/shapes: Not a directory"),
        ([*SUMMARY, "{file}/x"], "{file}/x: could not be written (File exists)"),
        ([*SUMMARY, "/proc/nope/x"], "/proc/nope/x: could not be written (No such file or directory)"),
    ],
)
def test_an_error_is_one_line_and_exit_1(words: list[str], message: str, tmp_path: Path, failure: Failure) -> None:
    (file := tmp_path / "file").touch()
    (tmp_path / "binary").write_bytes(b"\xf3\xff")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "cut.tar.gz").write_bytes(gzip.compress(bytes(10_240))[:20])

    def fill(word: str) -> str:
        return word.replace("{tmp}", str(tmp_path)).replace("{file}", str(file))

    assert fill(message) in failure([fill(word) for word in words])
    assert file.read_bytes() == b""


def test_a_full_folder_of_temporary_files_is_named(
    tmp_path: Path, failure: Failure, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")  # of a file that is open, whose name is not told

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(tempfile, "TemporaryDirectory", full)
    monkeypatch.setattr(shutil, "which", lambda name: name)
    (tmp_path / "a.tex").touch()
    assert failure(["pdf", "--source", f"{tmp_path}/a.tex", *PDF]) == f"{tmp_path}: No space left on device\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"{HEADER}\n", "(no row)"),
        (f"{HEADER}\n{'x,' * 10}x{',1' * 17}\n", "(seed holds text)"),
        ("run,accuracy\nkd_32,1\n", "(no column suite, thesis_id, role and "),
    ],
)
def test_what_is_no_summary_is_told(text: str, told: str, tmp_path: Path, failure: Failure) -> None:
    (file := tmp_path / "some.tar.gz").write_text(text)
    shown = failure(["table", "results_summary", "--summary", str(file), "--output-dir", str(tmp_path)])
    assert f"some.tar.gz: not a summary {told}" in shown
    assert list(tmp_path.iterdir()) == [file]


def test_a_row_that_a_summary_lacks_is_named(tmp_path: Path, failure: Failure) -> None:
    records = sorted(files.SHIPPED.glob("published/*/seed42.json"))
    loaded = [read_record(path) for path in records]
    table, summary, claims = summarise(loaded), tmp_path / "summary.csv", str(tmp_path / "claims.json")
    given = ["--summary", str(summary), "--records", *map(str, records)]
    suite = ["--suite", "workflow/suites/published.yaml"]
    table.to_csv(summary, index=False)
    assert main(["audit", *suite, *given, "--output", claims]) == 0
    table.iloc[1:].to_csv(summary, index=False)
    for words in (
        ["audit", *suite, "--output", claims],
        ["tex", *suite, "--claims", claims, "--output", "x"],
        ["pages", *suite, "--claims", claims, "--output-dir", "x"],
        ["figure", "fig3_accuracy_all", *suite, "--output-dir", "x"],
    ):
        told = f"{summary}: no row of {loaded[0].spec.run} seed 42, which has a record"
        assert failure([*words, *given]).startswith(told)


def write_spec(folder: Path, run: str = "kd_32") -> str:
    """Write the spec of a run of `demo`."""
    spec = load_suite(files.suite_file("demo")).resolve(run, 1)
    write_json(file := folder / run / "seed1/spec.json", spec.model_dump(mode="json"))
    return str(file)


NEEDS_DATA = {
    "train": [],
    "logits": ["--teacher", "t", "--epochs", "1", "--output", "o"],
    "evaluate": ["--output", "o"],
    "show-batch": [],
}


@pytest.mark.parametrize("verb", NEEDS_DATA)
@pytest.mark.parametrize(
    ("manifest", "told"),
    [
        (None, "no such file; to make it: crossres data shapes --root "),
        ([], "does not list the digests of shapes; to make it again: crossres data shapes --root "),
        ({}, "does not list the digests of shapes"),
        ({"sha256": {"train": "0"}}, "does not list the digests of shapes"),
    ],
    ids=str,
)
def test_data_that_was_not_made_ready(verb: str, manifest: Any, told: str, tmp_path: Path, failure: Failure) -> None:
    if manifest is not None:
        write_json(files.data_manifest(tmp_path, "shapes"), manifest)
    shown = failure([verb, "--spec", write_spec(tmp_path), "--data", str(tmp_path), *NEEDS_DATA[verb]])
    assert shown.startswith(f"{files.data_manifest(tmp_path, 'shapes')}: {told}")


@pytest.mark.parametrize("verb", ["train", "logits"])
def test_what_describes_a_teacher_is_checked(verb: str, shapes_root: Path, tmp_path: Path, failure: Failure) -> None:
    write_json(tmp_path / "training.json", [])
    words = ["--spec", write_spec(tmp_path), "--data", str(shapes_root), "--teacher", f"{tmp_path}/weights.safetensors"]
    assert failure([verb, *words, *NEEDS_DATA[verb][2:]]).startswith(f"{tmp_path}/training.json: ")


def test_a_teacher_s_own_spec_has_no_logits(shapes_root: Path, tmp_path: Path, failure: Failure) -> None:
    spec = write_spec(tmp_path, "teacher_32")
    shown = failure(["logits", "--spec", spec, "--data", str(shapes_root), *NEEDS_DATA["logits"]])
    assert "run teacher_32 has no teacher, so no logits to store" in shown


LOGITS = ["logits", "--spec", "s", "--teacher", "t", "--output", "o", "--epochs"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "--spec", "s", "--threads", "0"], 'Invalid value "0" for --threads. Must be >= 1.'),
        (["export", "demo", "--threads", "-1"], 'Invalid value "-1" for --threads. Must be >= 1.'),
        (["export", "demo", "--seed", "1.5"], "Invalid value for --seed: '1.5' is not a whole number"),
        ([*LOGITS, "two"], "Invalid value for --epochs: 'two' is not a whole number"),
        (["watch", "demo", "--every", "0"], 'Invalid value "0.0" for --every. Must be > 0.'),
        (["watch", "demo", "--every", "nan"], 'Invalid value "nan" for --every.'),
        (["plan", "--device", "gpu"], 'Invalid value "gpu" for --device. Choose from: "auto", "cuda", "cpu".'),
        (["data", "cifar"], 'Invalid value "cifar" for DATASET. Choose from: "cifar100"'),
        (["train", "--data", "d"], "train needs --spec; see: crossres train --help"),
        (["trian"], "no verb 'trian'; did you mean 'train'?"),
        (["train", "--spec", "s", "--devcie", "cpu"], "Unknown option: --devcie. Did you mean --device?"),
        (["status", "demo", "paper"], "status: too many arguments: paper"),
    ],
)
def test_a_usage_error_is_one_line_and_exit_2(words: list[str], message: str, failure: Failure) -> None:
    assert failure(words, status=2).startswith(message)


@pytest.mark.parametrize(("name", "value"), [("CROSSRES_DEVICE", "gpu"), ("CROSSRES_CUDA_GRAPH", "maybe")])
def test_an_environment_variable_is_checked(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, failure: Failure
) -> None:
    monkeypatch.setenv(name, value)
    assert name in failure(["train", "--spec", "s"], status=2)


@pytest.mark.parametrize(
    ("variable", "option", "captured"),
    [("1", [], True), ("0", [], False), ("0", ["--cuda-graph"], True), ("1", ["--no-cuda-graph"], False)],
)
def test_an_option_wins_over_its_environment_variable(
    variable: str, option: list[str], captured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROSSRES_CUDA_GRAPH", variable)
    monkeypatch.setenv("CROSSRES_DEVICE", "cpu")
    _, bound, _ = cli.build_app().parse_args(["train", "--spec", "s", *option])
    assert bound.arguments.get("cuda_graph", True) == captured
    assert bound.arguments["job"].device == "cpu"


@pytest.mark.parametrize(
    "words",
    [["plan", "--suite", "demo"], ["status"], ["watch"], ["claims"], ["docs"], ["export", "demo"]],
    ids=lambda words: words[0],
)
def test_what_reads_the_project_says_where_it_is_run(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Failure
) -> None:
    monkeypatch.chdir(tmp_path)
    assert failure(words) == f"run this from the repository's root; {tmp_path} has no workflow/suites\n"
    assert list(tmp_path.iterdir()) == []


def test_what_reads_only_files_runs_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*SUMMARY, "summary.csv"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["summary.csv"]


def test_a_reader_that_has_had_enough_ends_it_quietly() -> None:
    code = "import sys; from crossres.__main__ import main; sys.exit(main(['status', 'controls']))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as verb:
        assert verb.stdout and verb.stderr
        verb.stdout.close()
        assert (verb.stderr.read(), verb.wait()) == (b"", 128 + signal.SIGPIPE)


@pytest.mark.parametrize(
    ("words", "function", "goes_on"),
    [
        (["plan"], "tools.plan.make_plan", False),
        (["train", "--spec", "s"], "training.commands.read_spec", True),
        ([*LOGITS, "1"], "training.commands.read_spec", True),
    ],
)
def test_only_what_can_go_on_says_so(
    words: list[str], function: str, goes_on: bool, monkeypatch: pytest.MonkeyPatch, failure: Failure
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"crossres.{function}", interrupted)
    shown = failure(words, status=130)
    assert shown.startswith("interrupted")
    assert ("go on from the last epoch" in shown) == goes_on


@pytest.mark.parametrize(
    ("words", "package"), [(["plan", "--suite", "demo"], "torch"), (["watch", "published"], "plotext")]
)
def test_a_package_that_is_missing_is_named(words: list[str], package: str) -> None:
    """As in the lighter environment that only builds the report."""
    code = f"import sys; sys.modules[{package!r}] = None; from crossres.__main__ import main; sys.exit(main({words}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines() == [f"crossres: {words[0]} needs {package}, which .venv has: make setup"]
    assert done.returncode == 1
