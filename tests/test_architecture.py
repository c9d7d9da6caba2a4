"""Imports never go up, and what must work without torch does."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

PACKAGE = Path("src/crossres")


def test_imports_keep_the_contracts() -> None:
    command = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([command, "--no-cache"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def everything_below(arrows: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return the arrows, and those that follow from them."""
    longer = arrows | {(a, d) for a, b in arrows for c, d in arrows if b == c}
    return arrows if longer == arrows else everything_below(longer)


def test_the_drawing_of_the_rooms_is_true() -> None:
    drawn = set(re.findall(r"^    (\w+) --> (\w+)$", Path("docs/architecture.md").read_text(), re.MULTILINE))
    rooms = {name for arrow in drawn for name in arrow}
    assert rooms == {path.parent.name for path in PACKAGE.glob("*/__init__.py")} | {"workflow"}
    graph = grimp.build_graph("crossres", exclude_type_checking_imports=True)
    found = graph.find_matching_direct_imports(import_expression="crossres.** -> crossres.**")
    pairs = {(link["importer"].split(".")[1], link["imported"].split(".")[1]) for link in found}
    imports = {(a, b) for a, b in pairs if a != b and {a, b} <= rooms}
    assert drawn <= imports
    assert everything_below(drawn) == everything_below(imports)


def test_the_command_line_starts_without_torch() -> None:
    code = "import sys, crossres.__main__, crossres.report.tex, crossres.suites.config; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"torch", "torchvision", "timm", "safetensors"} & set(loaded)


def pinned(lock: Path) -> dict[str, set[str]]:
    """Read a lock: the hashes of each pin, `name==version ; marker`."""
    found: dict[str, set[str]] = {}
    for line in lock.read_text().splitlines():
        if line and not line.startswith(("#", " ")):
            name = line.removesuffix("\\").strip()
            found[name] = set()
        elif line.strip().startswith("--hash="):
            found[name].add(line.removesuffix("\\").strip())
    return found


def test_the_report_s_lock_is_a_part_of_the_full_one() -> None:
    full, light = pinned(Path("envs/requirements.lock")), pinned(Path("envs/report.lock"))
    assert light and all(light.values())
    for pin, hashes in light.items():
        assert full.get(pin) == hashes, f"{pin}: run `make lock`"
    assert any(
        pin.startswith("pygments==") for pin in light
    )  # `snakemake --report` imports it, and does not ask for it
    heavy = ("torch", "timm", "nvidia", "cuda", "triton", "safetensors")
    assert not [pin for pin in light if pin.startswith(heavy)]


def test_no_module_is_longer_than_one_sitting() -> None:
    lengths = {str(path): len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}
    assert not {path: lines for path, lines in lengths.items() if lines > 450}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=str)
def test_functions_can_be_read_at_a_glance(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            assert lines <= 50, f"{path}:{node.lineno} {node.name} has {lines} lines"
