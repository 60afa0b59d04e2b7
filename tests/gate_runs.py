"""Heads whose states are known beforehand: in memory for the decision, as a run folder for the commands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from rate.files import write_json
from rate.report.gate.decide import Decision, decide
from rate.report.gate.policy import read_policy
from rate.report.heads import HeadRun
from rate.runs.parts import write_part
from rate.runs.rows import SCHEMA, SKETCH
from rate.runs.run_schema import RUN_SCHEMA_ID
from rate.runs.summary import Summary
from rate.types import Json

RULE = {
    "evidence": "positive",
    "valid": "midpoint",
    "tau": 0.5,
    "saliency": "rise",
    "masks": 24,
    "explained": "label",
    "score": "logit",
}
EVIDENCE = np.full(SKETCH * SKETCH, 1 / SKETCH**2, np.float16).tobytes()
REGION = np.full(SKETCH * SKETCH, 127, np.uint8).tobytes()


def states(**counts: int) -> list[str]:
    """``states(rr=2, error=1)`` is ["rr", "rr", "error"]."""
    return [state for state, count in counts.items() for _ in range(count)]


def row(state: str, k: int, head: str = "ft", label: str = "a", **slices: str | None) -> Json:
    """A row in one of rr, rw, wr, ww, capped (an rr), undefined_right, undefined_wrong, error."""
    known = {"id": f"s{k:06d}", "head": head, "label": label, "settled": "fixed", **slices}
    if state == "error":
        return dict.fromkeys(SCHEMA.names) | known | {"error": "broken", "forwards": 0}
    correct = state[0] == "r" or state in ("undefined_right", "capped")
    valid = None if state.startswith("undefined") else state[-1] == "r" or state == "capped"
    mass = 0.8 if valid else 0.2
    return (
        dict.fromkeys(SCHEMA.names)
        | known
        | {
            "prediction": label if correct else "other",
            "probability": 0.9,
            "correct": correct,
            "explained": label,
            "localization": mass,
            "rma_positive": mass,
            "rma_minmax": mass,
            "rma_raw": mass,
            "rma_se": 0.01,
            "ceiling": 0.9,
            "floor": 0.1,
            "area": 0.3,
            "valid": valid,
            "valid_midpoint": valid,
            "valid_absolute": valid,
            "undefined_reason": "no-evidence" if valid is None else None,
            "forwards": 25,
            "settled": "capped" if state == "capped" else "fixed",
            "evidence_sketch": EVIDENCE,
            "region_sketch": REGION,
        }
    )


def run_json(heads: Sequence[str], count: int, **changes: Any) -> Json:
    return {
        "schema": RUN_SCHEMA_ID,
        "status": "complete",
        "key": "0" * 64,
        "measurement": {"masks": 24, "tau": 0.5},
        "identity": {"weights": "w" * 64, "data": "d" * 64},
        "rule": RULE,
        "execution": {"max_errors": 0.1},
        "heads": [{"name": head, "classes": 2} for head in heads],
        "samples": {"planned": count, "available": count},
        "sessions": [
            {
                "forwards": 25 * count,
                "used": 25 * count,
                "rows": 25 * count,
                "seconds": 2.0,
                "waiting_s": 0.0,
                "samples": count,
            }
        ],
        "parts": [],
    } | changes


def head_run(
    found: Sequence[str],
    *,
    labels: Sequence[str] | None = None,
    groups: Sequence[str | None] | None = None,
    clusters: Sequence[str | None] | None = None,
    name: str = "run",
    images_per_s: float | None = 10.0,
    start: int = 0,
    **changes: Any,
) -> HeadRun:
    """A head in memory with one row a state; ``changes`` are keys of run.json."""
    n = len(found)
    labels, groups, clusters = labels or ["a"] * n, groups or [None] * n, clusters or [None] * n
    rows = [row(s, start + k, label=labels[k], group=groups[k], cluster=clusters[k]) for k, s in enumerate(found)]
    run = run_json(["ft"], n, **changes)
    whole = Summary(Path(name), run["status"], {"images_per_s": images_per_s}, {})
    return HeadRun(Path(name), "ft", run, pa.Table.from_pylist(rows, SCHEMA), whole)


def write_run(
    folder: Path,
    heads: dict[str, Sequence[str]],
    *,
    labels: Sequence[str] | None = None,
    groups: Sequence[str | None] | None = None,
    clusters: Sequence[str | None] | None = None,
    **changes: Any,
) -> Path:
    """A run folder with the states of every head; ``changes`` are keys of run.json."""
    n = len(next(iter(heads.values())))
    labels, groups, clusters = labels or ["a"] * n, groups or [None] * n, clusters or [None] * n
    (folder / "samples").mkdir(parents=True)
    rows = [
        row(state, k, head, labels[k], group=groups[k], cluster=clusters[k])
        for head, found in heads.items()
        for k, state in enumerate(found)
    ]
    document = run_json(list(heads), n, **changes)
    parts = [write_part(folder, document["key"], pa.Table.from_pylist(rows, SCHEMA))]
    write_json(folder / "run.json", document | {"parts": parts})
    return folder


def decided(checks: Any, candidate: HeadRun, baseline: HeadRun | None = None, **options: Any) -> Decision:
    """The decision of a list of checks, or of one."""
    return decide(read_policy([checks] if isinstance(checks, dict) else checks), candidate, baseline, **options)
