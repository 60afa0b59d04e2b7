"""Run folders with known states, written as the store writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from rate.config import Measurement
from rate.runs.parts import write_part
from rate.runs.rows import SCHEMA, SKETCH
from rate.runs.run_schema import RUN_SCHEMA_ID

FLAT = np.full(SKETCH * SKETCH, 1 / SKETCH**2, np.float16).tobytes()
HALF = np.where(np.arange(SKETCH * SKETCH) % 2, 255, 0).astype(np.uint8).tobytes()


def row(sample: str, head: str, state: str, cluster: str | None = None) -> dict[str, Any]:
    """A stored row in one of `rate.paired.STATES`."""
    known = {"id": sample, "head": head, "label": "x", "group": None, "cluster": cluster}
    known |= {"settled": "fixed", "forwards": 0}
    if state == "error":
        return dict.fromkeys(SCHEMA.names) | known | {"error": "broken"}
    right = state in ("rr", "rw", "undefined_right")
    valid = None if state.startswith("undefined") else state[1] == "r"
    mass = 0.7 if valid else 0.3
    return known | {
        "forwards": 101,
        "prediction": "x" if right else "y",
        "probability": 0.5,
        "correct": right,
        "explained": "x",
        "effect": 1.0,
        "localization": (mass - 0.2) / 0.6,
        **{f"rma_{kind}": mass for kind in ("positive", "minmax", "raw")},
        "rma_se": 0.01,
        "ceiling": 0.8,
        "floor": 0.2,
        "area": 0.5,
        "valid": valid,
        "valid_midpoint": valid,
        "valid_absolute": valid,
        "undefined_reason": "no-evidence" if valid is None else None,
        "error": None,
        "evidence_sketch": FLAT,
        "region_sketch": HALF,
    }


def write_run(
    folder: Path,
    heads: Mapping[str, Sequence[str]],
    *,
    ids: Sequence[str] | None = None,
    clusters: Sequence[str | None] | None = None,
    status: str = "complete",
    measurement: Mapping[str, Any] | None = None,
    **identity: Any,
) -> Path:
    """A run whose heads have these states, one a sample; ids are s000, s001, ... unless given."""
    count = len(next(iter(heads.values())))
    names = ids or [f"s{k:03d}" for k in range(count)]
    of = clusters or [None] * count
    (folder / "samples").mkdir(parents=True)
    parts = []
    for some in (range(0, count, 2), range(1, count, 2)):
        rows = [row(names[k], head, heads[head][k], of[k]) for k in some for head in heads]
        parts += [write_part(folder, "0" * 64, pa.Table.from_pylist(rows, SCHEMA))] if rows else []
    asked = Measurement(masks=100)
    run = {
        "schema": RUN_SCHEMA_ID,
        "status": status,
        "key": "0" * 64,
        "measurement": asked.to_json() | dict(measurement or {}),
        "identity": {
            "schema": RUN_SCHEMA_ID,
            "weights": folder.name,
            "data": "d" * 64,
            "geometry": {"size": 224},
            "pixel_path": "pillow",
            "backend": "openvino",
            "precision": "f32",
        }
        | identity,
        "rule": asked.rule(),
        "heads": [{"name": head, "classes": 2} for head in heads],
        "samples": {"planned": count, "available": count},
        "sessions": [],
        "parts": parts,
    }
    (folder / "run.json").write_text(json.dumps(run))
    return folder
