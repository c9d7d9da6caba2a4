"""The base of every typed document, and errors that say what to do."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Probability = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class CrossresError(Exception):
    """A mistake the user can fix: one line that names the problem and the fix."""


SHOWN = 50
"""How many known words a message lists at most."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the closest known word, or the known words when none is close."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean '{close[0]}'?"
    if len(names) > SHOWN:
        return f"; of {len(names):,}, the nearest: {', '.join(difflib.get_close_matches(word, names, n=5, cutoff=0))}"
    return f"; known: {', '.join(names)}"


class Strict(BaseModel):
    """A frozen document in which an unknown key is an error and every float is finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)

    @classmethod
    def parse(cls, document: Any, where: str) -> Self:
        """Validate a document as read from YAML or JSON.

        Args:
            where: Name of the document in the message, usually its file.

        Raises:
            CrossresError: One line that names the first offending key and the fix.
        """
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            raise CrossresError(f"{where}: {_explain(cls, error)}") from None

    def differing(self, other: Strict) -> dict[str, tuple[Any, Any]]:
        """Return the dotted paths at which two documents differ, each with both values; an absent one is None."""
        ours, theirs = (dict(_leaves(document.model_dump(mode="json"))) for document in (self, other))
        return {key: (ours.get(key), theirs.get(key)) for key in ours | theirs if ours.get(key) != theirs.get(key)}

    def digest(self) -> str:
        """Return the SHA-256 of the canonical JSON of this document, in hexadecimal."""
        return hashlib.sha256(canonical_json(self.model_dump(mode="json")).encode()).hexdigest()


def _leaves(document: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in document.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def at_path(document: object, path: str) -> Any:
    """Return what a dotted path leads to in nested documents and mappings, or None."""
    for name in path.split("."):
        document = document.get(name) if isinstance(document, Mapping) else getattr(document, name, None)
    return document


def canonical_json(document: Any) -> str:
    """Serialise with sorted keys and no white space, so that equal documents have equal text."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


LIST_TYPES = ("list_type", "tuple_type")


def _explain(model: type[BaseModel], error: ValidationError) -> str:
    first = error.errors()[0]
    rest = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    key = ".".join(_written(model, first["loc"]))
    if first["type"] == "extra_forbidden":
        return f"{key}: unknown key{nearest(str(first['loc'][-1]), _siblings(model, first['loc'][:-1]))}{rest}"
    if first["type"] == "union_tag_invalid":
        tag, tags = first["ctx"]["tag"], re.findall("'([^']+)'", first["ctx"]["expected_tags"])
        return f"{key}.{first['ctx']['discriminator'][1:-1]}: '{tag}' is unknown{nearest(tag, tags)}{rest}"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] in ("model_type", "model_attributes_type"):
        message = f"should be a mapping, as in {{key: value}}, of {', '.join(_siblings(model, first['loc']))}"
    if (first["type"], first["loc"][-1:]) == ("string_type", ("[key]",)) or first["type"] == "invalid_key":
        message = "every key should be text; quote this one, since YAML reads on, off, yes and no as true and false"
    branches = [other["type"] for other in error.errors() if other["loc"][:1] == first["loc"][:1]]
    if first["type"] in (*LIST_TYPES, "literal_error") and not set(branches).isdisjoint(LIST_TYPES):
        one_word = f"{message}, or a list" if first["type"] == "literal_error" else "should be a list"
        message, rest = f"{one_word}, as in [{first['input']}]", ""
    whole = first["type"] == "value_error" and isinstance(first["input"], dict)  # which says nothing of what is wrong
    got = "" if first["type"] == "missing" or whole else f" (got {first['input']!r:.60})"
    return f"{key}: {message}{got}{rest}" if key else f"{message}{got}{rest}"


def _written(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Return a place as the user wrote it: without the branches of a union, and the tags that chose them."""
    kept: list[int | str] = []
    for part in location:
        models = _models_at(model, tuple(kept))
        is_tag = any(part in _tags(m) for m in models) and not any(part in m.model_fields for m in models)
        if "[" not in str(part) and not is_tag:
            kept.append(part)
    return list(map(str, kept))


def _siblings(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Return the keys that are allowed at a place, in their order."""
    return list(dict.fromkeys(name for m in _models_at(model, location) for name in m.model_fields))


def _models_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[type[BaseModel]]:
    """Return the documents that may stand at a place."""
    models: list[Any] = [model]
    for part in location:
        fields = [m.model_fields[part].annotation for m in models if _is_model(m) and part in m.model_fields]
        if fields:
            models = [found for annotation in fields for found in _models_in(annotation)]
            continue
        tagged = [m for m in models if _is_model(m) and part in _tags(m)]
        models = tagged or models
    return [m for m in models if _is_model(m)]


def _is_model(thing: Any) -> bool:
    return isinstance(thing, type) and issubclass(thing, BaseModel)


def _tags(model: type[BaseModel]) -> set[str]:
    return {str(field.default) for field in model.model_fields.values() if isinstance(field.default, str)}


def _models_in(annotation: Any) -> list[Any]:
    if _is_model(annotation):
        return [annotation]
    return [found for part in getattr(annotation, "__args__", ()) for found in _models_in(part)]
