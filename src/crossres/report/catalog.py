"""Which figures and tables exist, and which runs each needs, read without importing any of them.

A figure is one file under `figures/`, a table one under `tables/`. Its module-level `RUNS` names the runs it cannot do
without, and `PROBED`, if there is one, those that need a probe. A suite gets every figure and table whose runs it has.
"""

from __future__ import annotations

import ast
from pathlib import Path

from crossres.base import CrossresError, nearest
from crossres.suites.spec import Suite

PACKAGE = Path(__file__).parent
KINDS = ("figures", "tables")


def module_file(kind: str, name: str) -> Path:
    """The file that draws a figure or builds a table."""
    return PACKAGE / kind / f"{name}.py"


def names(kind: str, suite: Suite | None = None) -> list[str]:
    """Return the names of all figures or tables, or of those that a suite has the runs for."""
    files = sorted(path.stem for path in (PACKAGE / kind).glob("*.py") if not path.stem.startswith("_"))
    return [name for name in files if suite is None or _has_runs_for(suite, kind, name)]


def check_name(kind: str, name: str) -> None:
    """Check that there is such a figure or table.

    Raises:
        CrossresError: When there is none, naming the nearest.
    """
    if name not in (known := names(kind)):
        raise CrossresError(f"no {kind.removesuffix('s')} '{name}'{nearest(name, known)}")


def _has_runs_for(suite: Suite, kind: str, name: str) -> bool:
    probed = {run for run, entry in suite.runs.items() if entry.probe_images}
    needed, needed_with_probe = constant(kind, name, "RUNS"), constant(kind, name, "PROBED", default=())
    return set(needed) <= set(suite.runs) and set(needed_with_probe) <= probed


def constant(kind: str, name: str, variable: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
    """Return a literal module-level constant of a figure's or table's file.

    Args:
        kind: `figures` or `tables`.
        name: Name of the figure or table.
        variable: The constant.
        default: What to return where the file does not define it.

    Raises:
        LookupError: When the file does not define it, and there is no default.
    """
    for node in ast.parse(module_file(kind, name).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == variable for t in node.targets):
            return ast.literal_eval(node.value)
    if default is not None:
        return default
    raise LookupError(f"{kind}/{name}.py does not define {variable}")
