"""The digest of the code that trained bits depend on."""

from __future__ import annotations

from pathlib import Path

from crossres.records.provenance import TRAINING_SOURCES, sources_digest


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
