"""Writing and locking: nothing is followed, left behind or waited for that should not be."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from pathlib import Path

import pytest

from crossres.base import CrossresError
from crossres.files import alone, is_locked, write_atomic


def test_no_link_leads_a_write_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / ".list.json.part").symlink_to(victim)
    write_atomic(tmp_path / "list.json", "new")
    assert (victim.read_text(), (tmp_path / "list.json").read_text()) == ("mine", "new")

    monkeypatch.setattr(secrets, "token_hex", lambda _: "guessed")
    (tmp_path / ".list.json.guessed.part").symlink_to(victim)
    with pytest.raises(CrossresError, match="could not be written"):
        write_atomic(tmp_path / "list.json", "newer")
    assert (victim.read_text(), (tmp_path / "list.json").read_text()) == ("mine", "new")


def test_what_a_killed_writer_left_is_removed_once_it_is_surely_dead(tmp_path: Path) -> None:
    old, young, other = (tmp_path / name for name in (".a[1].json.01.part", ".a[1].json.02.part", ".b.json.03.part"))
    for path in (old, young, other):
        path.write_text("a part")
    for path in (old, other):
        os.utime(path, (1, 1))
    write_atomic(tmp_path / "a[1].json", "{}")
    assert [path.exists() for path in (old, young, other)] == [False, True, True]


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    lock, waits = tmp_path / "folder/.lock", []
    assert not is_locked(lock)
    with alone(lock, lambda: waits.append(1)):
        assert is_locked(lock)
    assert not is_locked(lock)
    assert waits == []


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP])
def test_a_file_system_without_locks_is_no_reason_to_stop(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with alone(tmp_path / ".lock", pytest.fail):
        assert not is_locked(tmp_path / ".lock")
