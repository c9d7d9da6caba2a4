"""The reference of every key, and JSON Schemas for editors, made from the types."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crossres.base import Strict
from crossres.files import write_atomic
from crossres.suites.config import Config
from crossres.suites.methods import METHODS
from crossres.suites.spec import Augmentation, Budget, Dataset, Model, Optimisation, View
from crossres.suites.suite import Factor, Run, Suite

Schema = dict[str, Any]

INTRODUCTION = """\
# Every key

Made from the types by `crossres docs`; edit `src/crossres/config.py` and `src/crossres/spec.py` instead.

`config.yaml` says how to run; `--configfile mine.yaml` wins over its keys, and `--config key=value` over both. A suite
says what to run. `config.schema.json` and `suite.schema.json` let an editor complete and check them: the first line of
each YAML file names its schema. An unknown key stops the workflow before any job, and the nearest right one is named.
"""
IN_A_SUITE = """\
A suite file may also have `extends: FILE` (start from another suite beside it) and `presets`: partial runs by name,
which a run's `use: [names]` merges in order before its own keys. A run
that is `null` is left out.
"""


def write(folder: Path) -> list[Path]:
    """Write the reference and both schemas into a folder.

    Args:
        folder: Usually `config/`.

    Returns:
        The files.
    """
    contents = {
        "README.md": reference(),
        "config.schema.json": _pretty(Config.model_json_schema()),
        "suite.schema.json": _pretty(suite_schema()),
    }
    for name, content in contents.items():
        write_atomic(folder / name, content)
    return [folder / name for name in contents]


def _pretty(schema: Schema) -> str:
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def reference() -> str:
    """Return the Markdown reference: one table a document, one row a key."""
    parts = [INTRODUCTION, "## `config.yaml`\n", _table(Config), "### `budget`\n", _described(Budget)]
    parts += ["## A suite\n", _described(Suite), IN_A_SUITE]
    model: type[Strict]
    for title, model in (("dataset", Dataset), ("factors.NAME", Factor), ("runs.NAME", Run)):
        parts += [f"### `{title}`\n", _described(model)]
    for title, model in (("model", Model), ("view, teacher_view", View), ("augmentation", Augmentation)):
        parts += [f"### `{title}` of a run\n", _described(model)]
    for method in METHODS:
        name = method.model_fields["method"].default
        parts += [f"### `objective` of a run: `method: {name}`\n", _described(method)]
    return "\n".join([*parts, "### `optimisation` of a run\n", _described(Optimisation)])


def _described(model: type[Strict]) -> str:
    about = (model.__doc__ or "").strip().partition("\n\n")[0]
    return f"{' '.join(about.split())}\n\n{_table(model)}"


def _table(model: type[Strict]) -> str:
    schema = model.model_json_schema()
    rows = ["| key | values | when absent | what |", "|---|---|---|---|"]
    for name, found in schema["properties"].items():
        required = name in schema.get("required", [])
        absent = "required" if required else _default(found.get("default"))
        meaning = " ".join(found.get("description", "").split())
        cells = (f"`{name}`", _values(found, schema), absent, meaning)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _default(value: Any) -> str:
    if value is None:
        return "–"
    return "as below" if isinstance(value, dict) and value else f"`{json.dumps(value)}`"


def _values(schema: Schema, root: Schema) -> str:
    """Say in words what a key takes."""
    if "$ref" in schema:
        return "a mapping, below"
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return " or ".join(dict.fromkeys(_values(part, root) for part in schema[union]))
    kind = schema.get("type")
    if kind == "array":
        parts = schema.get("prefixItems")
        return f"{len(parts)} numbers" if parts else f"a list ({_values(schema['items'], root)})"
    if kind == "object":
        return "a mapping by name"
    if schema.get("format") == "path":
        return "a path"
    plain = {"integer": "whole number", "number": "number", "string": "text", "boolean": "`true`, `false`"}
    return plain.get(str(kind), "`null`") + _bounds(schema)


def _bounds(schema: Schema) -> str:
    signs = (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
    found = [f"{sign} {schema[key]:g}" for key, sign in signs if key in schema]
    return f" {', '.join(found)}" if found else ""


def suite_schema() -> Schema:
    """Return the JSON Schema of a suite's file, in which a run may be partial: presets and `extends` complete it."""
    schema = Suite.model_json_schema()
    for part in _mappings(schema):
        part.pop("required", None)
        part.pop("discriminator", None)
        if "oneOf" in part:  # a partial objective may fit several methods
            part["anyOf"] = part.pop("oneOf")
    run = schema["$defs"]["Run"]
    preset = {**run, "properties": run["properties"] | {"use": {"description": "Presets to start from."}}}
    preset["properties"]["use"] |= {"type": "array", "items": {"type": "string"}}
    schema["$defs"]["Run"] = {**preset, "type": ["object", "null"]}
    runs = {"type": "object", "additionalProperties": {"$ref": "#/$defs/Run"}}
    extends = {"type": "string", "description": "A suite beside this file to start from."}
    schema["properties"] |= {"extends": extends, "presets": {**runs, "description": "Partial runs by name."}}
    return schema | {"title": "A suite: workflow/suites/*.yaml"}


def _mappings(value: Any) -> Iterator[Schema]:
    if isinstance(value, dict):
        yield value
        for part in list(value.values()):
            yield from _mappings(part)
    elif isinstance(value, list):
        for part in value:
            yield from _mappings(part)
