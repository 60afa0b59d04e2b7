"""Rows in chosen states and the run.json above them, for the tests of what reads runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from rate.config import Measurement
from rate.records import schema_id, write
from rate.runs.part_list import PartLog
from rate.runs.parts import write_part
from rate.runs.rows import SCHEMA, SKETCH
from rate.runs.run_document import RunDocument
from rate.types import Json
from rate.version import NUMERICS

FLOOR, CEILING = 0.2, 0.8
MEASUREMENT = Measurement(masks=100)
FORWARDS = MEASUREMENT.masks + 1
SWAP = Measurement(verdict="swap", fills=8)
IDENTITY = {
    "schema": schema_id(RunDocument),
    "numerics": NUMERICS,
    "weights": "w" * 64,
    "data": "d" * 64,
    "geometry": {"size": 224, "resize": 224, "mean": [0.5] * 3, "std": [0.25] * 3},
    "pixel_path": "pillow",
    "backend": "onnxruntime",
    "precision": "f32",
}
FLAT = np.full((SKETCH, SKETCH), 1 / SKETCH**2, np.float16).tobytes()
REGION = np.full((SKETCH, SKETCH), 127, np.uint8)
REGION[: SKETCH // 2] = 255


def row(sample: str, head: str, state: str, label: str = "a", *, mass: float | None = None, **fields: Any) -> Json:
    """A row in one of rr, rw, wr, ww, capped (an rr), undefined_right, undefined_wrong, error.

    The mass is 0.7 where the evidence is valid and 0.3 elsewhere; ``fields`` are columns.
    """
    known = {"id": sample, "head": head, "label": label, "settled": "fixed", "forwards": 0}
    if state == "error":
        return dict.fromkeys(SCHEMA.names) | known | {"error": "broken"} | fields
    correct = state in ("rr", "rw", "capped", "undefined_right")
    valid = None if state.startswith("undefined") else state in ("rr", "wr", "capped")
    share = mass if mass is not None else 0.7 if valid else 0.3
    values = {
        "prediction": label if correct else "other",
        "probability": 0.8,
        "correct": correct,
        "explained": label,
        "effect": 1.0,
        "localization": (share - FLOOR) / (CEILING - FLOOR),
        **{f"rma_{kind}": share for kind in ("positive", "minmax", "raw")},
        "rma_se": 0.01,
        "ceiling": CEILING,
        "floor": FLOOR,
        "area": 0.5,
        **dict.fromkeys(("valid", "valid_midpoint", "valid_absolute"), valid),
        "undefined_reason": "no-evidence" if valid is None else None,
        "forwards": FORWARDS,
        "settled": "capped" if state == "capped" else "fixed",
        "evidence_sketch": FLAT,
        "region_sketch": REGION.tobytes(),
    }
    return dict.fromkeys(SCHEMA.names) | known | values | fields


def swap_row(
    sample: str, head: str, state: str, label: str = "a", *, share: float | None = None, **fields: Any
) -> Json:
    """As `row`, of a run by swaps: 8 fills, of which 6 around the region and 2 in it keep the right prediction."""
    found = row(sample, head, state, label)
    if state == "error":
        return found | fields
    of_maps = [name for name in SCHEMA.names if name.startswith("rma_") or name.startswith("valid_")]
    region = share if share is not None else 0.7 if found["valid"] else 0.3
    alone, without = (0.75, 0.25) if found["correct"] else (0.25, 0.125)
    values = {
        "share": region,
        "share_se": 0.05,
        "phi_region": region,
        "phi_region_se": 0.05,
        "phi_rest": 1.0 - region,
        "phi_rest_se": 0.05,
        "kept_alone": 0.75,
        "kept_without": 0.25,
        "object_only": alone,
        "background_only": without,
        "fills": SWAP.fills,
        "forwards": 2 * SWAP.most_fills + 1,
    }
    unmeasured = dict.fromkeys([*of_maps, "localization", "ceiling", "floor", "evidence_sketch"])
    return found | unmeasured | values | fields


MADE = {"map": row, "swap": swap_row}
"""Makes a row of a run by maps, or by swaps."""


def run_json(heads: Sequence[str], count: int, verdict: str = "map", **changes: Any) -> Json:
    """The run.json of a complete run of ``count`` samples; ``changes`` are its keys."""
    measurement = {"map": MEASUREMENT, "swap": SWAP}[verdict]
    forwards = dict.fromkeys(("forwards", "used", "rows"), FORWARDS * count)
    return {
        "schema": schema_id(RunDocument),
        "status": "complete",
        "key": "0" * 64,
        "measurement": measurement.to_json(),
        "identity": dict(IDENTITY),
        "rule": measurement.rule(),
        "execution": {"max_errors": 0.1},
        "origin": dict.fromkeys(("artifact", "data", "split", "limit"), None) | {"shard": "1/1"},
        "versions": {},
        "machine": {},
        "started": "2026-01-01T00:00:00Z",
        "finished": "2026-01-01T00:00:02Z",
        "heads": [{"name": head, "classes": 2} for head in heads],
        "samples": {"planned": count, "available": count},
        "sessions": [{**forwards, "seconds": 2.0, "waiting_s": 0.0, "samples": count}],
        "rows": 0,
    } | changes


def write_parts(folder: Path, document: Json, parts: Iterable[list[Json]]) -> Path:
    """The folder of a run with this run.json, its rows in these parts."""
    (folder / "samples").mkdir(parents=True)
    tables = (pa.Table.from_pylist(rows, SCHEMA) for rows in parts if rows)
    listed = [write_part(folder, document["key"], table) for table in tables]
    PartLog(folder).replace(listed)
    write(folder / "run.json", document | {"rows": sum(part.rows for part in listed)})
    return folder
