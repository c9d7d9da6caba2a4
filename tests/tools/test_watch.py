"""The curves of a suite in the terminal: read from what training leaves, without torch, and without touching it."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from crossres import files
from crossres.__main__ import main
from crossres.files import write_json
from crossres.records.record import Checkpoint, Epoch, TrainingResult
from crossres.suites.config import Config
from crossres.suites.spec import Budget, Spec
from crossres.suites.suite import Suite, load_suite
from crossres.tools.status import RunStatus, newest_checkpoint, suite_status
from crossres.tools.watch import FIELDS, Canvas, picture

ROOT = Path.cwd()
BUDGET = Budget(train_images=64, test_images=40, epochs=3)


@pytest.fixture(scope="module")
def demo() -> Suite:
    return load_suite(files.suite_file("demo"))


@pytest.fixture(scope="module")
def spec(demo: Suite) -> Spec:
    return demo.resolve("teacher_32", 1, BUDGET)


@pytest.fixture(scope="module")
def trained(spec: Spec, shapes_root: Path, tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """A project in which one run is trained and not yet evaluated."""
    import torch

    from crossres.training.loop import Trainer
    from crossres.training.progress import ProgressBar

    root = tmp_path_factory.mktemp("project")
    folder = root / files.run_dir(files.suite_dir("demo", truncated=True), "teacher_32", 1)
    Trainer(spec, shapes_root, folder, torch.device("cpu")).fit(ProgressBar("run", 3))
    return root


@pytest.fixture
def folder(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run's folder, in a copy of that project."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return files.run_dir(files.suite_dir("demo", truncated=True), "teacher_32", 1)


# -------------------------------------------------------------------------------------------------- reading the epochs


def test_the_history_is_read_from_result_and_checkpoint(folder: Path, demo: Suite, spec: Spec) -> None:
    config, path = Config(suite="demo", budget=BUDGET), folder / "training.json"
    history = TrainingResult.model_validate_json(path.read_text()).history
    assert len(history) == 3
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")}
    row = suite_status(config, demo)[0]
    assert (row.kind, row.history) == ("trained", history)
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")} == before
    path.write_text('{"history": [')
    row = suite_status(config, demo)[0]
    assert (row.kind, row.history) == ("trained", []) and "not valid JSON" in row.note
    path.unlink()
    row = suite_status(config, demo)[0]
    assert (row.kind, row.history) == ("resumable", history)
    assert newest_checkpoint(folder, spec.model_copy(update={"seed": 2}))[0] is None, "of another spec"


def test_a_checkpoint_that_is_half_written_or_gone_counts_as_missing(folder: Path, spec: Spec) -> None:
    (path,) = folder.glob(f"state/*/{files.CHECKPOINT}")
    content = path.read_bytes()
    for kept in (0, 100, len(content) // 2):
        path.write_bytes(content[:kept])
        assert newest_checkpoint(folder, spec)[0] is None
    path.unlink()
    assert newest_checkpoint(folder, spec)[0] is None
    path.write_bytes(content)
    assert newest_checkpoint(folder, spec)[0] is not None


# --------------------------------------------------------------------------------------------------------- the picture


def epochs(values: Sequence[float]) -> list[Epoch]:
    return [
        Epoch(epoch=number, learning_rate=0.1, train_loss=value, test_loss=1.0, test_accuracy_pct=value)
        for number, value in enumerate(values, 1)
    ]


def test_the_published_curves_are_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", "published"]) == 0
    shown = capsys.readouterr().out
    assert "Test accuracy (%) by epoch" in shown and "\x1b" not in shown
    plot, table = shown.split("\n\n", 1)
    assert set("abcdefg") <= set("".join(plot.splitlines()[1:]))
    assert re.search(r"^e +dkd_beta8 +42 +shipped +84/300", table, re.MULTILINE)
    best = max(float(found) for found in re.findall(r"^ *([\d.]+)┤", plot, re.MULTILINE))
    assert best == pytest.approx(84.4, abs=0.05)


def test_one_run_and_another_figure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", "published", "--once", "--run", "kd_32", "--field", "test_loss"]) == 0
    shown = capsys.readouterr().out
    assert "Test loss (nats) by epoch" in shown
    assert "kd_32 " in shown and "teacher_32" not in shown and "1 shipped" in shown
    assert main(["watch", "published", "--field", "validation_accuracy_pct"]) == 0
    assert "Validation accuracy (%): no run has recorded it" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["published", "--field", "test_los"], "no such figure of an epoch; did you mean 'test_loss'"),
        (["published", "--run", "kd_23"], "suite published has no run 'kd_23'; did you mean 'kd_32'"),
        (["publishd"], "no suite 'publishd'; did you mean 'published'"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", *words]) == 1
    shown = capsys.readouterr()
    assert message in shown.err and shown.err.count("\n") == 1 and not shown.out


@pytest.mark.parametrize(("kind", "why"), [("not started", "no epoch is finished"), ("running", "epoch is running")])
def test_where_nothing_is_there_yet_it_says_so(kind: Any, why: str) -> None:
    text = picture([RunStatus("kd_32", 1, kind, 0, 8)], "test_accuracy_pct", Canvas(80, None, False))
    assert re.match(rf"Test accuracy \(%\): nothing to draw yet; .*{why}\n\n", text)
    assert "kd_32" in text and f"1 {kind}" in text


@pytest.mark.parametrize("height", [24, 40, 60])
def test_it_fits_the_terminal_and_shows_what_is_under_way(height: int) -> None:
    rows = [
        RunStatus(f"run_{number:03}", 1, "done", 8, 8, 50.0, history=epochs([number, 20, 30])) for number in range(100)
    ]
    rows[70] = rows[70]._replace(kind="running", epoch=4, remaining_s=40.0)
    lines = picture(rows, "test_accuracy_pct", Canvas(80, height, True)).splitlines()
    plain = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines]
    assert len(lines) <= height
    assert max(len(line) for line in plain) <= 80
    assert any("run_070" in line and "running" in line for line in plain)
    assert re.match(r"and \d+ more, which `crossres status` lists", plain[-1])
    assert sum("┤" in line for line in plain) >= 3


@pytest.mark.parametrize("field", sorted(FIELDS))
def test_a_single_epoch_is_drawn(field: str) -> None:
    entry = epochs([5.0])[0].model_copy(update={field: 5.0})
    rows = [RunStatus("a_run", 1, "running", 1, 8, history=[entry])]
    text = picture(rows, field, Canvas(60, None, False))
    assert FIELDS[field] in text and any("┤a" in line for line in text.splitlines())
    assert field in Epoch.model_fields


# ---------------------------------------------------------------------------------------------------- on a terminal


def on_a_terminal(folder: Path, words: list[str], interrupt_after: bytes | None) -> tuple[int, bytes]:
    """Run `crossres watch` on a terminal of its own; press Ctrl-C once something is shown."""
    child, terminal = pty.fork()
    if child == 0:  # pragma: no cover
        os.chdir(folder)
        os.environ |= {"PYTHONPATH": str(ROOT / "src"), "TERM": "xterm-256color"}
        os.execv(sys.executable, [sys.executable, "-m", "crossres", "watch", *words])
    shown, until = b"", time.monotonic() + 60
    try:
        while time.monotonic() < until:
            if not select.select([terminal], [], [], 1)[0]:
                continue
            try:
                shown += os.read(terminal, 65536)
            except OSError:  # the other end is closed
                break
            if interrupt_after and interrupt_after in shown:
                os.write(terminal, b"\x03")
                interrupt_after = None
    finally:
        if time.monotonic() >= until:
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        os.close(terminal)
    return os.waitstatus_to_exitcode(status), shown


def test_ctrl_c_leaves_the_terminal_as_it_was(demo: Suite, tmp_path: Path) -> None:
    for name in ("config", "workflow"):
        (tmp_path / name).symlink_to(ROOT / name)
    spec = demo.resolve("kd_32", 1)
    checkpoint = Checkpoint(spec_sha256=spec.digest(), epoch=3, epochs=8, epoch_s=10.0, best_accuracy_pct=41.5)
    folder = files.run_dir(tmp_path / "results/demo", "kd_32", 1)
    write_json(folder / "state/0123" / files.CHECKPOINT, checkpoint.model_dump())
    code, shown = on_a_terminal(tmp_path, ["demo", "--every", "0.2"], interrupt_after=b"resumable")
    assert code == 0
    screen, after = shown.split(b"\x1b[?7h\x1b[?25h\x1b[?1049l")
    assert screen.startswith(b"\x1b[?1049h\x1b[?25l\x1b[?7l")
    assert b"41.50 %" in after and b"Traceback" not in shown


def test_it_ends_by_itself_where_every_run_is_done() -> None:
    code, shown = on_a_terminal(ROOT, ["published"], interrupt_after=None)
    assert code == 0
    assert b"\x1b[38;5;39m" in shown.split(b"\x1b[?1049l")[1], "the last picture stays, in colour"


def test_it_needs_no_torch() -> None:
    code = (
        "import sys\nfrom crossres.__main__ import main\nmain(['watch', 'published'])\n"
        "assert not {'torch', 'pandas', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
