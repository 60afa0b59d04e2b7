"""The rows and the saved maps that a run stores of verdicts."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from rate.data.digests import fingerprint
from rate.engine.verdicts.verdict import MapResult, Verdict
from rate.runs.rows import MAP, SCHEMA, SKETCH, block_means, blocks
from rate.statistics.metrics import quadrant_of
from rate.types import Float64, Json


def row_from_verdict(verdict: Verdict) -> Json:
    """Make the row of a predicted sample; the columns of the other instrument are null."""
    prediction = verdict.prediction
    return {
        **dict.fromkeys(SCHEMA.names),
        **{name: getattr(verdict.sample, name) for name in ("id", "label", "group", "cluster", "content", "version")},
        "head": prediction.head,
        "prediction": prediction.name,
        "probability": prediction.probability,
        "correct": prediction.correct,
        "explained": prediction.explained,
        "effect": prediction.effect,
        "area": verdict.area,
        "valid": verdict.valid,
        "undefined_reason": verdict.reason,
        "forwards": verdict.forwards,
        "settled": verdict.settled,
        "region_sketch": np.round(255 * block_means(verdict.region, SKETCH)).astype(np.uint8).tobytes(),
        **({} if verdict.map is None else _of_map(verdict.map)),
        **({} if verdict.swap is None else asdict(verdict.swap)),
    }


def _of_map(result: MapResult) -> Json:
    return {
        "localization": result.localization,
        **{f"rma_{kind}": mass for kind, mass in result.mass.items()},
        "rma_se": result.standard_error,
        "ceiling": result.bounds.ceiling,
        "floor": result.bounds.floor,
        "valid_midpoint": result.midpoint,
        "valid_absolute": result.absolute,
        "evidence_sketch": _shares(result.evidence).astype(np.float16).tobytes(),
    }


def map_from_verdict(verdict: Verdict) -> Json:
    """Make the saved map of a verdict."""
    side = min(MAP, len(verdict.saliency.evidence))
    coarse = block_means(verdict.saliency.evidence, side)
    peak = coarse.max()
    return {
        "id": verdict.sample.id,
        "head": verdict.prediction.head,
        "quadrant": quadrant(verdict),
        "rank": fingerprint(verdict.sample.id),
        "side": side,
        "map": (coarse / peak if peak > 0 else coarse).astype(np.float16).tobytes(),
    }


def quadrant(verdict: Verdict) -> str:
    """Return the quadrant of a verdict; see `quadrant_of`."""
    return quadrant_of(verdict.prediction.correct, verdict.valid)


def _shares(evidence: Float64) -> Float64:
    sums, _ = blocks(evidence, SKETCH)
    total = sums.sum()
    return sums / total if total > 0 else sums
