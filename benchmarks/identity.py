"""Whether two versions of this project compute the same results, to the bit.

    python benchmarks/identity.py fingerprint TREE > before.json   # build `published` and `demo` in TREE, from nothing
    python benchmarks/identity.py compare before.json after.json   # name each output that differs

A refactoring changes nothing here. The script imports nothing of the project, so one copy of it measures both versions.
Compared are every output of `published`, and the weights and records of `demo`, whose other outputs hold times. Records
are compared without their cost, commit and digest of the sources. Texts, and the PDF, which is built again, are
compared without the places of modules, which captions name, and without the commit.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

SUITES = {"published": "1", "demo": "2"}
"""Suites that are built, with the cores that each gets."""
PLACE = re.compile(rb"src/(\\allowbreak\{\})?crossres/[\w/\\{}-]+\.py")
"""The file of a figure or table, as it stands in plain text and in LaTeX."""
COMMIT = re.compile(rb"\b[0-9a-f]{40}\b")
TEXTS = {".tex", ".csv", ".md", ".html", ".json"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True, dest="verb")
    fingerprint = verbs.add_parser("fingerprint", help="build both suites in a tree and print digests of the outputs")
    fingerprint.add_argument("tree", type=Path)
    fingerprint.add_argument("--suite", choices=SUITES, action="append", help="only this suite")
    compare = verbs.add_parser("compare", help="compare two outputs of fingerprint")
    compare.add_argument("before", type=Path)
    compare.add_argument("after", type=Path)
    arguments = parser.parse_args()
    if arguments.verb == "compare":
        return report(*(json.loads(path.read_text()) for path in (arguments.before, arguments.after)))
    tree = arguments.tree.resolve()
    found = {suite: build(tree, suite) for suite in arguments.suite or SUITES}
    print(json.dumps(found, indent=1))
    return 0


def build(tree: Path, suite: str) -> dict[str, str]:
    """Build a suite from nothing and return a digest of each of its outputs."""
    results = tree / "results" / suite
    shutil.rmtree(results, ignore_errors=True)
    command = ["snakemake", "--cores", SUITES[suite], "--quiet", "all", "--config", f"suite={suite}"]
    environment = os.environ | {"PATH": f"{tree}/.venv/bin:{os.environ['PATH']}"}
    environment.pop("PYTHONPATH", None)
    subprocess.run(command, cwd=tree, env=environment, check=True, stdout=sys.stderr)
    if suite == "demo":
        files = [*results.glob("*/seed*/*.safetensors"), *results.glob("*/seed*/record.json")]
    else:
        files = [path for path in results.rglob("*") if path.is_file() and path.suffix not in {".log", ".txt"}]
        rebuild_pdf(tree, results, environment)
    return {path.relative_to(results).as_posix(): digest(path) for path in sorted(files)}


def rebuild_pdf(tree: Path, results: Path, environment: dict[str, str]) -> None:
    """Build the PDF again from a source that names no module and no commit."""
    source = results / "report.tex"
    source.write_bytes(without_places(source.read_bytes()))
    command = ["python", "-m", "crossres", "pdf", "--source", str(source), "--output", str(results / "report.pdf")]
    command += ["--bibliography", "paper/references.bib"]
    subprocess.run(command, cwd=tree, env=environment, check=True, stdout=sys.stderr)


def digest(path: Path) -> str:
    """Return the SHA-256 of an output, without what may differ between two versions."""
    content = path.read_bytes()
    if path.name == "record.json":
        content = json.dumps(without_chance(json.loads(content)), sort_keys=True).encode()
    if path.suffix in TEXTS:
        content = without_places(content)
    return hashlib.sha256(content).hexdigest()


def without_places(text: bytes) -> bytes:
    """Return a text without the files of modules, and without the commit."""
    return COMMIT.sub(b"COMMIT", PLACE.sub(b"MODULE", text))


def without_chance(document: dict[str, Any]) -> dict[str, Any]:
    """Return a record without its cost and the version of the project."""
    document.pop("cost")
    for key in ("commit", "sources_sha256"):
        document["provenance"].pop(key, None)
    return document


def report(before: dict[str, Any], after: dict[str, Any]) -> int:
    """Print what differs between two builds and return the exit status."""
    differing = 0
    for suite in before:
        mine, theirs = before[suite], after.get(suite, {})
        for name in sorted(mine | theirs):
            if mine.get(name) != theirs.get(name):
                differing += 1
                what = "missing" if name not in theirs else "new" if name not in mine else "differs"
                print(f"{suite}/{name}: {what}")
        print(f"{suite}: {sum(mine.get(name) == theirs.get(name) for name in mine)} of {len(mine)} outputs are equal")
    return int(differing > 0)


if __name__ == "__main__":
    sys.exit(main())
