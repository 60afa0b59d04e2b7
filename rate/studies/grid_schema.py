"""The JSON Schema of grid.json."""

from __future__ import annotations

from rate.artifacts.schema_words import COUNT, SHARE, STATUS, TEXT, array_of, map_of, object_with
from rate.studies.corruption_grid import GRID_SCHEMA_ID, HEAD, METRICS

_MEAN = object_with({"runs": COUNT} | dict.fromkeys(METRICS, object_with({"value": SHARE, "runs": COUNT})))
_RUN = object_with(
    {
        "run": TEXT,
        "corruption": {"type": ["string", "null"]},
        "severity": {"type": "integer", "minimum": 0, "maximum": 5},
        "status": STATUS,
        "heads": map_of(object_with(HEAD)),
    }
)

GRID = object_with(
    {
        "schema": {"const": GRID_SCHEMA_ID},
        "status": {"enum": ["complete", "partial"]},
        "runs": array_of(_RUN),
        "heads": map_of(object_with({"mean": _MEAN, "by_severity": map_of(_MEAN), "by_corruption": map_of(_MEAN)})),
    },
    title="grid.json",
)
