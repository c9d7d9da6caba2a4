"""Files: where each is, and how it is written and read.

Paths are relative to the working directory, which is the root of the project unless the workflow runs elsewhere. With
Snakemake wildcards as names (`"{run}"`), they are patterns.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import yaml

from crossres.base import CrossresError

ROOT = Path(os.environ.get("CROSSRES_ROOT", ""))
"""The project's root, where its own files are; jobs of a workflow that runs elsewhere are told."""
RESULTS = Path("results")
SHIPPED = ROOT / "paper/records"
SUITES = ROOT / "workflow/suites"
TEMPLATES = ROOT / "paper"
CHECKPOINT = "checkpoint.json"
PREVIOUS_CHECKPOINT = "previous.json"
LOCK = ".lock"
BENCHMARKS = ROOT / "benchmarks/results"
CLAIMS = TEMPLATES / "claims.yaml"
BIBLIOGRAPHY = TEMPLATES / "references.bib"


def suite_file(suite: str) -> Path:
    """The definition of a suite."""
    return SUITES / f"{suite}.yaml"


def suite_dir(suite: str, truncated: bool = False) -> Path:
    """The folder of a suite's results. A truncated suite has its own, so that a trial overwrites nothing."""
    return RESULTS / (f"{suite}-truncated" if truncated else suite)


def audit_file(results: Path) -> Path:
    """The verdicts on the claims."""
    return results / "claims.json"


def run_dir(results: Path, run: str, seed: int | str) -> Path:
    """The folder of one run and seed."""
    return results / run / f"seed{seed}"


def record_file(results: Path, run: str, seed: int | str) -> Path:
    """The computed record of one run and seed."""
    return run_dir(results, run, seed) / "record.json"


def export_dir(results: Path, run: str | None = None, seed: int | None = None) -> Path:
    """The folder of an exported network: the best student, or a given run and seed."""
    return results / "export" if run is None else results / "export" / f"{run}-seed{seed}"


def logits_dir(teacher_dir: Path, key: str) -> Path:
    """The folder of a teacher's stored pass over one stream."""
    return teacher_dir / "logits" / key


def epoch_logits(folder: Path, epoch: int) -> Path:
    """One epoch of a stored pass."""
    return folder / f"epoch-{epoch:04d}.bin"


def shipped_record(suite: str, run: str, seed: int | str) -> Path:
    """A record that comes with the project; no rule outputs it."""
    return run_dir(SHIPPED / suite, run, seed).with_suffix(".json")


def data_dir(root: Path, dataset: str) -> Path:
    """The folder of a data set, which holds `cifar-100-python/` or the like."""
    return root / dataset


def data_manifest(root: Path, dataset: str) -> Path:
    """The list of a data set's files with their digests, written after they are verified."""
    return data_dir(root, dataset) / "manifest.json"


def data_sha256(manifest: Path) -> str:
    """Return the digest of a data set, as records name it: that of its files' digests."""
    return sha256(repr(sorted(read_json(manifest)["sha256"].items())).encode())


def check_root() -> None:
    """Check that the working directory is the repository's root.

    Raises:
        CrossresError: When it is another folder.
    """
    if not SUITES.is_dir():
        raise CrossresError(f"run this from the repository's root; {Path.cwd()} has no {SUITES}")


def sha256(content: bytes | Path) -> str:
    """Return the SHA-256 of bytes or of a file, in hexadecimal."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with open(content, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


RESTORE = "delete it and run its rule again"
"""The fix for a broken output of a rule."""


def write_atomic(path: Path, content: bytes | str | Callable[[IO[bytes]], None]) -> None:
    """Write a file, and make its folder; a reader sees the old content or the new one, never a part.

    Args:
        content: The content, or a function that writes it.

    Raises:
        CrossresError: When the file cannot be written; the old one is then untouched.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "xb") as file:  # which no link can lead elsewhere
            if callable(content):
                content(file)
            else:
                file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        sync(path.parent)
        _remove_leftovers(path)
    except (OSError, RuntimeError) as error:  # torch.save turns a full disk into a RuntimeError of a position
        with contextlib.suppress(OSError):  # the folder is read-only or does not exist
            part.unlink()
        why = next((e.strerror for e in (error, error.__context__) if isinstance(e, OSError)), None) or error
        raise CrossresError(f"{path}: could not be written ({why}); the old file is untouched") from error


LEFTOVER_S = 86_400.0


def _remove_leftovers(path: Path) -> None:
    """Remove what killed writers of a file left; what is less than a day old may still be written."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > LEFTOVER_S:
                left.unlink()


def sync(*paths: Path) -> None:
    """Make files, and the renames in folders, survive a power loss, where the file system can."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
        os.close(descriptor)


NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
"""What a file system without locks answers."""


@contextlib.contextmanager
def alone(lock: Path, waiting: Callable[[], object]) -> Iterator[None]:
    """Hold a lock, and make its folder; without a lock where the file system has none.

    Args:
        waiting: Called before waiting for a process that holds it.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with open(lock, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
        yield


def is_locked(lock: Path) -> bool:
    """Return whether a process holds a lock; False where the file system has none."""
    try:
        with open(lock) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno not in (errno.ENOENT, *NO_LOCKS):
            raise
    return False


def write_json(path: Path, document: Any) -> None:
    """Write a document as readable JSON, atomically."""
    write_atomic(path, dump_json(document) + "\n")


def dump_json(document: Any, indent: str = "") -> str:
    """Return readable JSON: mappings indented, lists of mappings with one per line, other lists on one line."""
    if isinstance(document, dict) and document and indent.count(" ") < 4:
        deeper = indent + "  "
        rows = (f"{deeper}{json.dumps(key)}: {dump_json(value, deeper)}" for key, value in document.items())
        return "{\n" + ",\n".join(rows) + f"\n{indent}}}"
    if isinstance(document, list) and document and isinstance(document[0], dict):
        rows = (f"{indent}  {json.dumps(row, ensure_ascii=False, allow_nan=False)}" for row in document)
        return "[\n" + ",\n".join(rows) + f"\n{indent}]"
    return json.dumps(document, ensure_ascii=False, allow_nan=False)


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        CrossresError: When it is missing or cut short.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise CrossresError(f"{path}: no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CrossresError(f"{path}: not valid JSON ({error}); {_fix(path)}") from None


def _fix(path: Path) -> str:
    if SHIPPED.absolute() in path.absolute().parents:
        return "no rule makes it: git restore it, or ship it again (crossres ship)"
    return RESTORE


MAX_YAML_NODES = 1_000_000


class _Loader(yaml.SafeLoader):
    """Refuses a repeated key, of which YAML would drop all but the last."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if (name := (key.tag, str(key.value))) in seen:
                line = key.start_mark.line + 1
                raise yaml.YAMLError(f"line {line}: the key '{key.value}' is there a second time")
            seen.add(name)
        return node


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        CrossresError: When the file is missing, is not YAML, is not a mapping, or has no end.
    """
    if not path.is_file():
        raise CrossresError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
    document = parse_yaml(read_text(path), str(path))
    if not isinstance(document, dict):
        raise CrossresError(f"{path}: expected a mapping of keys")
    return document


def parse_yaml(text: str, where: str) -> Any:
    """Return what a text in YAML stands for.

    Raises:
        CrossresError: Naming the place of the text, when it is not YAML, repeats a key, or has no end.
    """
    try:
        document = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, RecursionError) as error:
        raise CrossresError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from None
    pending = [document]
    for _ in range(MAX_YAML_NODES):  # a few aliases of aliases stand for billions of nodes
        if not pending:
            return document
        node = pending.pop()
        pending += node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    raise CrossresError(f"{where}: its aliases (*name) stand for more than {MAX_YAML_NODES:,} entries; write them out")


def read_text(path: Path) -> str:
    """Read a text file.

    Raises:
        CrossresError: When it is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CrossresError(f"{path}: not a text file in UTF-8 ({error})") from None
