"""JSON documents of untrusted origin: read within bounds, and compared with their schema."""

from __future__ import annotations

import json
import math
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rate.types import Json

MAX_DOCUMENT_BYTES = 256 << 20
"""The largest document that is read, bytes; a run of ten million samples lists its parts in less."""

MAX_DEPTH = 64
"""The deepest nesting that is read; documents of `rate` have fewer than ten levels."""

_DIGITS = 21
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")

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
    """Read the value of a JSON file whose texts can be written again and whose numbers are finite and fit 64 bits.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no regular file, too large, nested too deeply, or not JSON (NaN and infinities are not).
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # a pipe would block, and a device may be endless
        raise ValueError("it is no regular file")
    if status.st_size > MAX_DOCUMENT_BYTES:
        raise ValueError(f"it has {status.st_size:,} bytes, the limit is {MAX_DOCUMENT_BYTES:,}")
    text = path.read_text(encoding="utf-8")
    try:
        value = json.loads(text, parse_constant=_refused, parse_float=_finite, parse_int=_whole)
    except RecursionError as error:
        raise ValueError(f"it is nested more than {MAX_DEPTH} deep") from error
    _check_depth(value)
    if _SURROGATE.search(text):
        # half a surrogate pair is no text: UnicodeEncodeError is a ValueError
        json.dumps(value, ensure_ascii=False).encode()
    return value


def disagreement(value: object, schema: Json) -> str | None:
    """Describe the first mismatch between ``value`` and ``schema``, or return None; the used subset of JSON Schema
    counts.
    """
    return next(_disagreements(value, schema, ""), None)


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        inner = (one.values() if isinstance(one, dict) else one for one in level if isinstance(one, (dict, list)))
        level = [child for children in inner for child in children if isinstance(child, (dict, list))]
        if not level:
            return
    raise ValueError(f"it is nested more than {MAX_DEPTH} deep")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is larger than any number that can be used")
    return value


def _whole(text: str) -> int:
    if len(text) > _DIGITS or abs(int(text)) >= 1 << 64:
        raise ValueError(f"{text[:20]}... has {len(text)} digits, more than any number that can be used")
    return int(text)


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
