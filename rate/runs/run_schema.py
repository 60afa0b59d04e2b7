"""The JSON Schema of run.json, which every reader of a run holds it against."""

from __future__ import annotations

from rate.artifacts.schema_words import COUNT, NUMBER, STATUS, TEXT, array_of, map_of, object_with
from rate.types import Json

RUN_SCHEMA_ID = "rate.run/2"
PART_PATTERN = r"^part-[0-9a-f]+\.parquet$"
"""A name and no path: what run.json lists is read and, when it is listed no more, deleted."""

RULE = object_with(
    {
        "evidence": {"enum": ["positive", "minmax", "raw"]},
        "valid": {"enum": ["midpoint", "absolute"]},
        "tau": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        "saliency": TEXT,
        "masks": {"type": ["integer", "string"]},
        "explained": {"enum": ["label", "prediction"]},
        "score": {"enum": ["logit", "probability"]},
    },
    optional={"corrupt": TEXT},
)

_PART = object_with(
    {"name": {"type": "string", "pattern": PART_PATTERN}, "rows": COUNT},
    optional={"errors": COUNT},  # rows of samples that failed
)
RUN = object_with(
    {
        "schema": {"const": RUN_SCHEMA_ID},
        "status": STATUS,
        "key": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "measurement": map_of({}),
        "identity": object_with({"weights": TEXT}),
        "rule": RULE,
        "execution": map_of({}),
        "origin": map_of({}),
        "heads": array_of(object_with({"name": TEXT, "classes": COUNT})) | {"minItems": 1},
        "samples": object_with({"planned": COUNT, "available": COUNT}),
        "versions": map_of(TEXT),
        "machine": map_of(TEXT),
        "started": {"type": ["string", "null"]},  # null: run.json was lost and made again
        "finished": {"type": ["string", "null"]},
        "sessions": array_of(
            object_with({"forwards": COUNT, "used": COUNT, "rows": COUNT, "seconds": NUMBER, "samples": COUNT})
        ),
        "parts": array_of(
            object_with(
                {"name": {"type": "string", "pattern": PART_PATTERN}, "rows": COUNT}, optional={"errors": COUNT}
            )
        ),
    },
    title="run.json",
)

NEEDED: Json = RUN | {
    "required": ["status", "key", "measurement", "identity", "rule", "heads", "samples", "sessions", "parts"]
}
"""What no reader of a run can do without."""
