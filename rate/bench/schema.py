"""JSON Schema (draft 2020-12) of what `rate bench --json` prints."""

from __future__ import annotations

from rate.artifacts.schema_words import COUNT, POSITIVE, TEXT, array_of, map_of, object_with
from rate.bench.result import BENCH_SCHEMA_ID

_SPREAD = object_with(dict.fromkeys(("median", "min", "max"), POSITIVE) | {"rounds": array_of(POSITIVE)})
_BENCH_ROW = object_with(
    dict.fromkeys(
        ("date", "machine", "versions", "artifact", "data", "backend", "precision", "masks", "quantity"), TEXT
    )
    | dict.fromkeys(("batch", "threads", "rounds"), COUNT)
    | dict.fromkeys(("median", "min", "max"), POSITIVE)
)
_CHANGE = object_with(
    {
        "name": TEXT,
        "state": {"enum": ["slower", "faster", "same", "unjudged", "new"]},
        "now": _BENCH_ROW,
        "before": {"anyOf": [_BENCH_ROW, {"type": "null"}]},
    }
)
_ENGINE = object_with(
    {"masks": {"type": ["integer", "string"]}, "images": COUNT}
    | dict.fromkeys(("engine_forwards_per_s", "engine_over_raw", "images_per_s"), _SPREAD)
)
_CONFIGURATION = object_with(
    {
        "backend": TEXT,
        "precision": TEXT,
        "batch": COUNT,
        "raw_forwards_per_s": _SPREAD,
        "engine": array_of(_ENGINE),
    }
)

BENCH = object_with(
    {
        "schema": {"const": BENCH_SCHEMA_ID},
        "date": TEXT,
        "machine": object_with(
            {"name": TEXT, "system": TEXT, "processor": TEXT, "cores": COUNT, "python": TEXT},
        ),
        "versions": map_of(TEXT),
        "artifact": object_with({"source": TEXT, "digest": TEXT}),
        "data": object_with({"key": TEXT, "images": TEXT}),
        "threads": COUNT,
        "rounds": COUNT,
        "configurations": array_of(_CONFIGURATION),
        "refused": array_of(object_with({"backend": TEXT, "precision": TEXT, "reason": TEXT})),
        "caveat": TEXT,
        "regression": {"type": ["boolean", "null"]},
        "against": {"anyOf": [object_with({"file": TEXT, "compared": array_of(_CHANGE)}), {"type": "null"}]},
    },
    title="rate bench --json",
)
