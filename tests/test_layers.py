"""Layers import downwards only, and what must work without torch does."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path("src/crossres")
LAYERS = {
    "L0": {"schema", "losses", "spec", "paths", "records", "thesis", "catalog", "config", "device", "provenance"}
    | {"deployment", "sharing", "ship", "status", "targets", "document", "card", "choice", "history", "watch"}
    | {"arguments"},
    "L1": {"acquire", "augment", "data", "shapes", "models", "train", "evaluate", "preview", "progress"}
    | {"plan", "probe", "step", "teacher", "export", "cifar"},
    "L2": {"summary", "facts", "latex", "rebuild", "render", "figures", "tables"}
    | {"statistics", "measures", "claims", "audit", "evidence", "pages", "readme"},
}
MAY_IMPORT = {"L0": {"L0"}, "L1": {"L0", "L1"}, "L2": {"L0", "L2"}}
TORCH = {"torch", "torchvision", "timm", "safetensors"}
NO_LAYER = {PACKAGE / "__main__.py", PACKAGE / "__init__.py"}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path not in NO_LAYER)


def layer_of(module: str) -> str:
    return next(layer for layer, members in LAYERS.items() if module in members)


def top_level_imports(path: Path) -> set[str]:
    """Every module that importing this one imports: imports in functions and for type checking are left out."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module} if node.module != "crossres" else {f"crossres.{alias.name}" for alias in node.names}
    return found


def own_name(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_every_module_has_a_layer() -> None:
    assert {own_name(path) for path in MODULES} == set().union(*LAYERS.values())


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_go_downwards(path: Path) -> None:
    own = layer_of(own_name(path))
    for name in top_level_imports(path):
        if name.startswith("crossres."):
            assert layer_of(name.split(".")[1]) in MAY_IMPORT[own], f"{path} ({own}) imports {name}"
        elif own != "L1":
            assert name.split(".")[0] not in TORCH, f"{path} ({own}) imports {name}"


def test_the_report_side_works_without_torch() -> None:
    modules = ("render", "figures", "tables", "thesis", "config", "__main__")
    code = f"import sys; import {', '.join(f'crossres.{name}' for name in modules)}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not TORCH & set(loaded)


def test_only_the_verbs_that_compute_need_torch() -> None:
    """Every other verb runs from envs/report.lock."""
    heavy = set()
    for node in ast.parse((PACKAGE / "__main__.py").read_text()).body:
        if isinstance(node, ast.FunctionDef):
            imported = [inner for inner in ast.walk(node) if isinstance(inner, ast.ImportFrom)]
            names = {alias.name for inner in imported for alias in inner.names if inner.module == "crossres"}
            names |= {inner.module.split(".")[1] for inner in imported if (inner.module or "").startswith("crossres.")}
            heavy |= {node.name} if any(layer_of(name) == "L1" for name in names) else set()
    assert heavy == {"_data", "_weights", "_train", "_logits", "_plan", "_evaluate", "_export", "_show_batch"}


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
