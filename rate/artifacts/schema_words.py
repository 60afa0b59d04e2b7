"""The building blocks of the JSON Schemas."""

from __future__ import annotations

from rate.types import Json

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
SHARE: Json = {"type": ["number", "null"], "minimum": 0, "maximum": 1}
COUNT: Json = {"type": "integer", "minimum": 0}
TEXT: Json = {"type": "string"}
NUMBER: Json = {"type": ["number", "null"]}
POSITIVE: Json = {"type": "number", "exclusiveMinimum": 0}


def object_with(
    required: Json, optional: Json | None = None, title: str | None = None, name: str | None = None
) -> Json:
    """Describe an object with at least ``required``; later versions only add.

    A document has a title, and maybe a name.
    """
    made: Json = {
        "type": "object",
        "required": list(required),
        "properties": required | (optional or {}),
    }
    if title is None:
        return made
    return {"$schema": _DIALECT} | ({} if name is None else {"$id": name}) | {"title": title} | made


def map_of(values: Json) -> Json:
    """Describe an object with any keys."""
    return {"type": "object", "additionalProperties": values}


def array_of(items: Json) -> Json:
    """Describe a list."""
    return {"type": "array", "items": items}


RATIO = {"value": SHARE, "low": SHARE, "high": SHARE, "numerator": COUNT, "denominator": COUNT}
METRIC = object_with(RATIO | {"chance": SHARE, "shuffled": SHARE, "noise": NUMBER})
STATUS: Json = {"enum": ["running", "complete", "partial", "failed"]}
