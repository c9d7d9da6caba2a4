"""Generated files are current, and editors accept every file that the project accepts."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from benchmarks import page
from crossres import files
from crossres.base import CrossresError
from crossres.tools import readme
from crossres.tools.docs import generated_files

CONFIG = Path("config")
SUITES = sorted(files.SUITES.glob("*.yaml"))


def test_generated_files_are_current() -> None:
    diff: list[str] = []
    for path, text in generated_files().items():
        ours = path.read_text(encoding="utf-8") if path.is_file() else ""
        diff += difflib.unified_diff(ours.splitlines(), text.splitlines(), str(path), f"{path}, generated", lineterm="")
    assert not diff, "\n".join(["run: crossres docs", *diff])


def test_a_readme_without_its_marks_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readme, "README", tmp_path / "README.md")
    readme.README.write_text(f"text\n{readme.START}\n")
    with pytest.raises(CrossresError, match=r"README\.md: the line '<!-- end of results -->' is missing"):
        generated_files()


@pytest.mark.parametrize("path", sorted(files.BENCHMARKS.glob("*.json")), ids=lambda path: path.stem)
def test_the_benchmarks_page_is_what_was_measured(path: Path) -> None:
    document, written = json.loads(path.read_text()), Path("benchmarks/README.md").read_text()
    assert page.table(document) in written and document["command"] in written, "run: python -m benchmarks report"


def test_every_key_is_explained() -> None:
    rows = [line for line in (CONFIG / "README.md").read_text().splitlines() if line.startswith("| `")]
    assert rows and not [row for row in rows if row.split(" | ")[-1].strip(" |") == ""]


def validator(name: str) -> jsonschema.Draft202012Validator:
    schema = json.loads((CONFIG / f"{name}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def named_schema(path: Path) -> Path:
    """The schema that the editor's line of a YAML file names."""
    first = path.read_text().splitlines()[0]
    return (path.parent / first.removeprefix("# yaml-language-server: $schema=")).resolve()


@pytest.mark.parametrize("path", [CONFIG / "config.yaml", *SUITES], ids=str)
def test_a_file_names_its_schema_and_fits_it(path: Path) -> None:
    name = "config" if path.parent == CONFIG else "suite"
    assert named_schema(path) == (CONFIG / f"{name}.schema.json").resolve()
    validator(name).validate(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("config", {"sute": "demo"}),
        ("config", {"device": "gpu"}),
        ("suite", {"runs": {"a": {"optimisation": {"epoch": 1}}}}),
        ("suite", {"runs": {"a": {"objective": {"method": "kdd"}}}}),
        ("suite", {"presets": {"a": {"view": {"kind": "scaled"}}}}),
    ],
)
def test_a_mistake_is_seen_in_the_editor(name: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        validator(name).validate(wrong)
