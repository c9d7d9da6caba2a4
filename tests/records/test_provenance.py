"""The commit, and the digest of the code that trained bits depend on."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from crossres.records.provenance import TRAINING_SOURCES, commit, sources_digest


def test_the_digest_of_the_sources_depends_on_paths_and_contents_and_not_on_line_ends(tmp_path: Path) -> None:
    for folder in TRAINING_SOURCES:
        (tmp_path / folder).mkdir(parents=True)
    path, other = (tmp_path / TRAINING_SOURCES[0] / name for name in ("loop.py", "step.py"))
    path.write_bytes(b"a = 1\nb = 2\n")
    digest = sources_digest(tmp_path)
    path.write_bytes(b"a = 1\r\nb = 2\r\n")
    assert sources_digest(tmp_path) == digest
    path.write_bytes(b"a = 1\nb = 3\n")
    assert sources_digest(tmp_path) != digest
    path.unlink()
    other.write_bytes(b"a = 1\nb = 2\n")
    assert sources_digest(tmp_path) != digest
    digest = sources_digest(tmp_path)
    (tmp_path / TRAINING_SOURCES[0] / "commands.py").write_text("help = 'changed'")
    assert sources_digest(tmp_path) == digest, "the help of a verb makes no record stale"
    (tmp_path / TRAINING_SOURCES[0] / "kernel.c").write_text("int x;")
    assert sources_digest(tmp_path) != digest


def test_the_commit_is_that_of_the_repository_that_has_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CROSSRES_COMMIT", raising=False)

    def git(*words: str) -> str:
        identity = ("-c", "user.name=x", "-c", "user.email=x@example.org")
        command = ["git", "-C", str(tmp_path), *identity, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    package = tmp_path / "unpacked/src/crossres"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    assert commit(package) is None
    git("init")
    git("commit", "--allow-empty", "--message=another project")
    assert commit(package) is None, "the project is no part of this repository"
    git("add", ".")
    git("commit", "--message=now it is")
    assert commit(package) == git("rev-parse", "HEAD")
    (package / "__init__.py").write_text("changed")
    assert commit(package) == git("rev-parse", "HEAD") + "+"
