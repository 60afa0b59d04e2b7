"""JSON documents of a folder that somebody else may have written: read within bounds, held against their schema."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rate.types import Json

MAX_DOCUMENT_BYTES = 256 << 20
"""Largest document that is read, bytes: a run of ten million samples lists its parts in less."""

_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}
_BOUNDS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "minimum": ("at least", lambda value, bound: value >= bound),
    "maximum": ("at most", lambda value, bound: value <= bound),
    "exclusiveMinimum": ("above", lambda value, bound: value > bound),
    "exclusiveMaximum": ("below", lambda value, bound: value < bound),
}
_LENGTHS = {"minLength": str, "minItems": list, "minProperties": dict}


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is too large, or not JSON (NaN and infinities are not).
    """
    size = path.stat().st_size
    if size > MAX_DOCUMENT_BYTES:
        raise ValueError(f"it has {size:,} bytes, the limit is {MAX_DOCUMENT_BYTES:,}")
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refused)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def disagreement(value: object, schema: Json) -> str | None:
    """The first thing in ``value`` that is not as ``schema`` says, or None: the words of JSON Schema that ours use."""
    return next(_disagreements(value, schema, ""), None)


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is not a number of JSON")


def _disagreements(value: Any, schema: Json, at: str) -> Iterator[str]:
    where = f"'{at}' " if at else "it "
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_TYPES[kind](value) for kind in kinds):
        yield f"{where}must be of type {' or '.join(kinds)}, got {_short(value)}"
        return
    choices = [schema["const"]] if "const" in schema else schema.get("enum")
    if choices is not None and value not in choices:
        yield f"{where}must be {' or '.join(map(repr, choices))}, got {_short(value)}"
    yield from (f"{where}{wrong}, got {_short(value)}" for wrong in _wrong_size(value, schema))
    if isinstance(value, dict):
        yield from _in_object(value, schema, at)
    if isinstance(value, list) and "items" in schema:
        for number, item in enumerate(value):
            yield from _disagreements(item, schema["items"], f"{at}[{number}]")


def _wrong_size(value: Any, schema: Json) -> Iterator[str]:
    if _TYPES["number"](value):
        for word, (said, holds) in _BOUNDS.items():
            if word in schema and not holds(value, schema[word]):
                yield f"must be {said} {schema[word]}"
    for word, kind in _LENGTHS.items():
        if isinstance(value, kind) and len(value) < schema.get(word, 0):
            yield f"must have {schema[word]} at least"
    if isinstance(value, list) and len(value) > schema.get("maxItems", len(value)):
        yield f"must have {schema['maxItems']} at most"
    if isinstance(value, list) and schema.get("uniqueItems") and len(set(map(repr, value))) < len(value):
        yield "must not repeat anything"
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        yield f"must match {schema['pattern']}"


def _in_object(value: Json, schema: Json, at: str) -> Iterator[str]:
    known, others = schema.get("properties", {}), schema.get("additionalProperties", {})
    for name in schema.get("required", []):
        if name not in value:
            yield f"'{at + '.' if at else ''}{name}' is missing"
    for name, inner in value.items():
        place = f"{at}.{name}" if at else name
        if name not in known and others is False:
            yield f"'{place}' is not known"
        else:
            yield from _disagreements(inner, known.get(name, others or {}), place)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
