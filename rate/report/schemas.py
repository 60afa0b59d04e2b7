"""JSON Schemas (draft 2020-12) of all files that `rate` writes."""

from __future__ import annotations

from rate.artifacts.records import ArtifactDocument, CheckpointDocument, PlanDocument
from rate.artifacts.schema_words import COUNT as _COUNT
from rate.artifacts.schema_words import METRIC as _METRIC
from rate.artifacts.schema_words import NUMBER as _NUMBER
from rate.artifacts.schema_words import RATIO as _RATIO
from rate.artifacts.schema_words import SHARE as _SHARE
from rate.artifacts.schema_words import STATUS
from rate.artifacts.schema_words import TEXT as _TEXT
from rate.artifacts.schema_words import array_of as _list
from rate.artifacts.schema_words import map_of as _map
from rate.artifacts.schema_words import object_with as _object
from rate.records import schema_of
from rate.report.compare.agreement import AgreementDocument
from rate.report.compare.compare import ComparisonDocument
from rate.report.gate.decide import GATE_SCHEMA_ID
from rate.report.tables.bench_csv import BenchDocument
from rate.runs.rows import SCHEMA
from rate.runs.run_schema import RULE, RUN
from rate.runs.summary import SUMMARY_SCHEMA_ID
from rate.studies.faithfulness import CURVES, FAITHFULNESS_SCHEMA_ID
from rate.studies.grid_schema import GRID
from rate.studies.precision import PRECISION_SCHEMA_ID
from rate.types import Json

_BESIDE_CHANCE = _object(_RATIO | {"chance": _SHARE})
_HEAD = _object(
    {
        "n": _COUNT,
        "errors": _COUNT,
        "undefined": _COUNT,
        "capped": _COUNT,
        "forwards_mean": _NUMBER,
        "rule": RULE,
        "accuracy": _object(_RATIO),
        "counts": _object({"rr": _COUNT, "rw": _COUNT, "wr": _COUNT, "ww": _COUNT}),
        "pt": _METRIC,
        "ir": _METRIC,
        "undefined_by": _map(_COUNT),
        "also": _list(_object({"evidence": _TEXT, "valid": _TEXT, "pt": _BESIDE_CHANCE, "ir": _BESIDE_CHANCE})),
        "sweep": _list(_object({"tau": {"type": "number"}, "pt": _SHARE, "ir": _SHARE})),
        "groups": _map(
            _object({"n": _COUNT, "accuracy": _object(_RATIO), "pt": _object(_RATIO), "ir": _object(_RATIO)})
        ),
    },
    optional={"failures": _list(_object({"reason": _TEXT, "count": _COUNT, "example": _TEXT, "message": _TEXT}))},
)
SUMMARY = _object(
    {
        "schema": {"const": SUMMARY_SCHEMA_ID},
        "status": STATUS,
        "throughput": _object(
            {"images_per_s": _NUMBER, "forwards_per_s": _NUMBER, "waiting_for_data": _SHARE, "batch_fill": _SHARE}
        ),
        "heads": _map(_HEAD),
    },
    title="summary.json",
)

PRECISION = _object(
    {
        "schema": {"const": PRECISION_SCHEMA_ID},
        "precision": _TEXT,
        "reference": _object({"backend": _TEXT, "precision": _TEXT}),
        "heads": _map(
            _object(
                {"head": _TEXT, "samples": _COUNT, "predictions": _COUNT, "verdicts": _COUNT, "max_abs_rma": _NUMBER}
            )
        ),
    },
    title="precision.json",
)

_MEAN = _object({"value": _NUMBER, "low": _NUMBER, "high": _NUMBER, "n": _COUNT})

FAITHFULNESS = _object(
    {
        "schema": {"const": FAITHFULNESS_SCHEMA_ID},
        "steps": _COUNT,
        "baseline": {"const": "channel-mean"},
        "score": {"const": "probability"},
        "heads": _map(
            _object(
                {"samples": _COUNT, "skipped": _COUNT, "pointing": _BESIDE_CHANCE}
                | dict.fromkeys((*CURVES, "deletion_below_random", "insertion_above_random", "randomized_model"), _MEAN)
            )
        ),
    },
    title="faithfulness.json",
)

_IDENTITY = _object(
    {"name": _TEXT, "folder": _TEXT, "head": _TEXT, "status": STATUS, "key": _TEXT, "weights": _TEXT, "n": _COUNT}
)
_CHECK = _object(
    {
        "name": _TEXT,
        "metric": {"enum": ["pt", "ir", "accuracy", "undefined", "capped", "errors", "forwards", "images_per_s"]},
        "bound": {"enum": ["min", "max", "max_drop", "max_drop_relative"]},
        "threshold": {"type": "number", "minimum": 0},
        "use": {"enum": ["interval", "value"]},
        "min_samples": {"type": "integer", "minimum": 1},
        "severity": {"enum": ["error", "warn"]},
        "slice_by": {"enum": ["class", "group", None]},
        "slice": {"type": ["string", "null"]},
        "state": {"enum": ["pass", "fail", "warn", "inconclusive", "error"]},
        "limit": _NUMBER,
        "value": _NUMBER,
        "low": _NUMBER,
        "high": _NUMBER,
        "numerator": {"type": ["integer", "null"], "minimum": 0},
        "denominator": _COUNT,
        "n": _COUNT,
        "candidate": _NUMBER,
        "baseline": _NUMBER,
        "resampled": {"enum": ["clusters", "samples", None]},
        "clusters": {"type": ["integer", "null"], "minimum": 1},
        "samples_needed": {"type": ["integer", "null"], "minimum": 1},
        "message": _TEXT,
    }
)

GATE = _object(
    {
        "schema": {"const": GATE_SCHEMA_ID},
        "verdict": {"enum": ["passed", "failed", "inconclusive"]},
        "exit_code": {"enum": [0, 1, 3]},
        "run": _IDENTITY,
        "baseline": {"anyOf": [_IDENTITY, {"type": "null"}]},
        "policy": _object({"source": _TEXT, "digest": {"type": "string", "pattern": "^[0-9a-f]{64}$"}}),
        "counts": _map(_COUNT),
        "notices": _list(_TEXT),
        "checks": _list(_CHECK),
    },
    title="rate gate --json",
)

_COLUMN_TYPES = {
    "string": "string",
    "float": "number",
    "bool": "boolean",
    "int32": "integer",
    "binary": "string",
}


def samples() -> Json:
    """Describe a row of samples/part-*.parquet as an object, with binary columns as strings."""
    properties = {
        column.name: {
            "type": [_COLUMN_TYPES[str(column.type)], "null"] if column.nullable else _COLUMN_TYPES[str(column.type)]
        }
        for column in SCHEMA
    }
    return _object(properties, title="samples/part-*.parquet, one row")


def all_schemas() -> dict[str, Json]:
    """Map the name of each file to its schema."""
    return {
        "artifact": schema_of(ArtifactDocument),
        "checkpoint": schema_of(CheckpointDocument),
        "plan": schema_of(PlanDocument),
        "run": RUN,
        "samples": samples(),
        "summary": SUMMARY,
        "precision": PRECISION,
        "faithfulness": FAITHFULNESS,
        "grid": GRID,
        "comparison": schema_of(ComparisonDocument),
        "gate": GATE,
        "agreement": schema_of(AgreementDocument),
        "bench": schema_of(BenchDocument),
    }
