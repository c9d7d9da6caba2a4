"""Imports never go up, and what must work without torch does."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path("src/crossres")


def test_imports_keep_the_contracts() -> None:
    done = subprocess.run(["lint-imports", "--no-cache"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_command_line_starts_without_torch() -> None:
    code = "import sys, crossres.__main__, crossres.report.render, crossres.suites.config; print(*sys.modules)"
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


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=str)
def test_functions_can_be_read_at_a_glance(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            assert lines <= 50, f"{path}:{node.lineno} {node.name} has {lines} lines"
