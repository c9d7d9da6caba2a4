"""The curves of a suite in the terminal: read from what training leaves, without torch, and without touching it."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from crossres import files
from crossres.__main__ import main
from crossres.files import write_json
from crossres.records.record import Checkpoint, Epoch, TrainingResult
from crossres.suites.config import Config
from crossres.suites.spec import Budget, Spec
from crossres.suites.suite import Suite, load_suite
from crossres.tools.history import recorded_history, state_history
from crossres.tools.status import RunStatus
from crossres.tools.watch import Curve, View, curves, picture

ROOT = Path.cwd()


@pytest.fixture(scope="module")
def demo() -> Suite:
    return load_suite(files.suite_file("demo"))


class Left(NamedTuple):
    """A run, its folder as training left it, and what training returned."""

    spec: Spec
    folder: Path
    training: TrainingResult


@pytest.fixture(scope="module")
def left(demo: Suite, shapes_root: Path, tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Left:
    import torch

    from crossres.training.loop import Trainer
    from crossres.training.progress import ProgressBar

    spec = demo.resolve("teacher_32", 1, Budget(train_images=64, test_images=40, epochs=3))
    folder = files.run_dir(tmp_path_factory.mktemp("results"), "teacher_32", 1)
    training = Trainer(spec, shapes_root, folder, torch.device("cpu")).fit(ProgressBar("run", 3))
    return Left(spec, folder, training)


# -------------------------------------------------------------------------------------------------- reading the epochs


def test_the_state_of_a_training_is_read(left: Left) -> None:
    spec, folder, training = left
    assert len(training.history) == 3
    assert state_history(folder, spec) == training.history
    assert recorded_history(folder / "training.json") == training.history
    assert state_history(folder, spec.model_copy(update={"seed": 2})) == [], "a state of another spec"


def test_reading_touches_nothing(left: Left) -> None:
    spec, folder, _ = left
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")}
    state_history(folder, spec)
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")} == before


def copy_of(folder: Path, target: Path) -> Path:
    """Copy a run's folder, and return the copy's checkpoint."""
    for path in filter(Path.is_file, folder.rglob("*")):
        new = target / path.relative_to(folder)
        new.parent.mkdir(parents=True, exist_ok=True)
        new.write_bytes(path.read_bytes())
    return next(target.glob(f"state/*/{files.CHECKPOINT}"))


def test_a_checkpoint_that_is_half_written_or_gone_counts_as_missing(left: Left, tmp_path: Path) -> None:
    spec, folder, training = left
    checkpoint = copy_of(folder, tmp_path)
    content = checkpoint.read_bytes()
    for kept in (0, 100, len(content) // 2):
        checkpoint.write_bytes(content[:kept])
        assert state_history(tmp_path, spec) == []
    checkpoint.unlink()
    assert state_history(tmp_path, spec) == []
    checkpoint.write_bytes(content)
    assert state_history(tmp_path, spec) == training.history
    (tmp_path / "training.json").write_text('{"history": [')
    assert recorded_history(tmp_path / "training.json") == recorded_history(tmp_path / "no.json") == []


def test_a_running_suite_gives_the_curve_of_its_state(left: Left, demo: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, folder, training = left
    monkeypatch.setattr("crossres.tools.watch.results_dir", lambda config, suite: folder.parent.parent)
    config = Config(suite="demo", budget=spec.budget)
    for kind in ("running", "resumable", "trained"):
        (curve,) = curves(config, demo, [RunStatus("teacher_32", 1, kind)], "test_loss")
        assert curve == Curve("teacher_32", [1, 2, 3], [entry.test_loss for entry in training.history])
    assert curves(config, demo, [RunStatus("teacher_32", 1, "running")], "validation_accuracy_pct") == []


# --------------------------------------------------------------------------------------------------------- the picture


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
        (
            ["published", "--field", "test_los"],
            "--field test_los: no such figure of an epoch; did you mean 'test_loss'",
        ),
        (["published", "--run", "kd_23"], "suite published has no run 'kd_23'; did you mean 'kd_32'"),
        (["publishd"], "no suite 'publishd'; did you mean 'published'"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", *words]) == 1
    shown = capsys.readouterr()
    assert message in shown.err and shown.err.count("\n") == 1 and not shown.out


def test_where_nothing_is_there_yet_it_says_so() -> None:
    view = View(80, None, False)
    text = picture([RunStatus("kd_32", 1, "not started", 0, 8)], [], "test_accuracy_pct", view)
    assert text.startswith("Test accuracy (%): nothing to draw yet; no epoch is done\n\n")
    assert "kd_32" in text and "1 not started" in text
    text = picture([RunStatus("kd_32", 1, "running", 0, 8)], [], "test_accuracy_pct", view)
    assert "the first epoch is under way" in text


@pytest.mark.parametrize("height", [24, 40, 60])
def test_it_fits_the_terminal_and_shows_what_is_under_way(height: int) -> None:
    found = [RunStatus(f"run_{number:03}", 1, "done", 8, 8, 50.0) for number in range(100)]
    found[70] = RunStatus("run_070", 1, "running", 4, 8, 50.0, 40.0)
    drawn = [Curve(state.run, [1, 2, 3], [float(number), 20.0, 30.0]) for number, state in enumerate(found)]
    lines = picture(found, drawn, "test_accuracy_pct", View(80, height, True)).splitlines()
    plain = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines]
    assert len(lines) <= height
    assert max(len(line) for line in plain) <= 80
    assert any("run_070" in line and "running" in line for line in plain)
    assert re.match(r"and \d+ more, which `crossres status` lists", plain[-1])
    assert sum("┤" in line for line in plain) >= 3


def test_a_single_epoch_is_drawn() -> None:
    text = picture(
        [RunStatus("a_run", 1, "running", 1, 8)], [Curve("a_run", [1], [5.0])], "train_loss", View(60, None, False)
    )
    assert "Training loss by epoch" in text
    assert any("┤a" in line for line in text.splitlines())


def test_every_field_is_one_of_an_epoch() -> None:
    from crossres.tools.watch import FIELDS

    assert set(FIELDS) <= set(Epoch.model_fields)


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
    standing = Checkpoint(spec_sha256=spec.digest(), epoch=3, epochs=8, epoch_s=10.0, best_accuracy_pct=41.5)
    write_json(
        files.run_dir(tmp_path / "results/demo", "kd_32", 1) / "state/0123" / files.CHECKPOINT, standing.model_dump()
    )
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
