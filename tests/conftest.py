"""What several test modules share: one thread, the generated set, and the real CIFAR-100 where it is at hand."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CIFAR100_CACHE = Path.home() / ".cache" / "crossres" / "cifar100"
CIFAR100_UNPACK = Path(__file__).resolve().parents[2] / "shared" / "data" / "cifar100" / "unpack.py"


@pytest.fixture(scope="session")
def one_thread() -> Iterator[None]:
    """Compute as the workflow does: on one thread."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def shapes_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data root that holds the generated set."""
    from crossres.training.acquire import prepare

    root = tmp_path_factory.mktemp("data")
    prepare("shapes", root, None)
    return root


def find_cifar100() -> Path | None:
    """Return a folder with CIFAR-100's official files, unpacked where need be; None where it is not at hand."""
    folder = Path(os.environ.get("CROSSRES_CIFAR100", CIFAR100_CACHE)) / "cifar-100-python"
    if not folder.exists() and CIFAR100_UNPACK.exists():
        unpacked = CIFAR100_CACHE.with_name(f"cifar100.{os.getpid()}")
        unpacked.mkdir(parents=True)
        subprocess.run([sys.executable, str(CIFAR100_UNPACK), str(unpacked)], check=True, capture_output=True)
        if not CIFAR100_CACHE.exists():
            unpacked.rename(CIFAR100_CACHE)
    return folder if folder.exists() else None


@pytest.fixture(scope="session")
def cifar100_folder() -> Path:
    """Return a folder with CIFAR-100's official files; without one, skip."""
    folder = find_cifar100()
    if folder is None:
        pytest.skip(f"no CIFAR-100 in {CIFAR100_CACHE} (CROSSRES_CIFAR100 names another place), no {CIFAR100_UNPACK}")
    return folder


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--some-must-run", action="store_true", help="fail where every test is skipped")
    parser.addoption("--kills", type=int, default=12, help="how often the workflow is killed at least")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Let a target that checked nothing fail; the reasons stand above."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if session.config.getoption("--some-must-run") and reporter and not reporter.stats.get("passed"):
        session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED


def pytest_configure() -> None:
    """Let Ctrl-C reach what the tests start: what a script sends to the background ignores it, by inheritance."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the long tests first, so that two workers end together."""
    items.sort(key=lambda item: item.get_closest_marker("workflow") is None)
