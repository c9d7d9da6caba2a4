"""The bundle: from it alone, `published` is built on a machine without a network."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.workflow
OFFLINE = ("unshare", "--net", "--map-root-user")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "there"
    done = subprocess.run(
        ["make", "--silent", "bundle", f"FOLDER={folder}", "LOCK=report.lock"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.skipif(subprocess.run([*OFFLINE, "true"]).returncode != 0, reason="needs the right to `unshare --net`")
def test_published_is_built_without_a_network(bundle: Path) -> None:
    done = subprocess.run([*OFFLINE, bundle / "build"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (bundle / "crossres/results/published/report.tex").is_file()
    assert (bundle / "crossres/results/published/claims.json").is_file()


def test_a_damaged_file_stops_the_build(bundle: Path) -> None:
    wheel = min((bundle / "wheels").iterdir())
    wheel.write_bytes(wheel.read_bytes()[:-1])
    done = subprocess.run([bundle / "build"], capture_output=True, text=True)
    assert done.returncode != 0 and wheel.name in done.stdout + done.stderr


def test_a_folder_with_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    done = subprocess.run(["bash", "envs/bundle.sh", tmp_path, "report.lock"], capture_output=True, text=True)
    assert done.returncode == 1 and "is there already" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
