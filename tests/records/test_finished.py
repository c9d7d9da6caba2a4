"""Which runs are finished, by what their files say."""

from __future__ import annotations

from pathlib import Path

import pytest

from crossres.files import suite_file
from crossres.records.finished import TRAINED, RunFiles
from crossres.suites.suite import load_suite


@pytest.mark.parametrize("header", [b"[" * 100_000, b"[]", b'{"a": 1}', b'{"__metadata__": {"crossres": "x"}}', b""])
def test_weights_that_say_nothing_of_a_run_are_not_its_weights(header: bytes, tmp_path: Path) -> None:
    for name in TRAINED:
        (tmp_path / name).write_bytes(len(header).to_bytes(8, "little") + header)
    files = RunFiles(tmp_path, load_suite(suite_file("demo")).resolve("teacher_32", 1))
    assert files.trained_sha256 is None
    assert files.is_outdated
