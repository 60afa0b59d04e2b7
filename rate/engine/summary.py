"""Rows to the numbers of a run: accuracy, PT and IR with intervals, beside chance and shuffled regions."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rate.engine.files import write_json
from rate.engine.rows import SKETCH
from rate.engine.store import Work, read_rows, read_run
from rate.metrics import Counts, Ratio, Verdicts, accuracy, ir, pt, quadrants, sweep, verdict_noise
from rate.types import Float64, Json

SUMMARY_SCHEMA_ID = "rate.summary/1"

SHUFFLES = 8
"""Other samples' regions that each map is held against."""

SHUFFLED_SAMPLES = 4096
"""Samples that take part in the shuffled baseline; it is an average, more would not move it."""


@dataclass(frozen=True, slots=True)
class Metric:
    """PT or IR with what it has to be read beside."""

    ratio: Ratio
    chance: float | None  # were every map uniform, under the same rule
    shuffled: float | None  # were every map held against other samples' regions
    noise: float | None  # standard deviation from the sampling of masks alone

    def to_json(self) -> Json:
        """As in a summary."""
        return ratio_json(self.ratio) | {"chance": self.chance, "shuffled": self.shuffled, "noise": self.noise}


@dataclass(frozen=True, slots=True)
class HeadSummary:
    """The numbers of one head."""

    rule: Json  # what was measured and when a rationale counts as valid
    rows: int
    counts: Counts
    undefined_by: dict[str, int]
    forwards_mean: float | None
    pt: Metric
    ir: Metric
    also: tuple[Json, ...]  # the same rows under the other rules
    sweep: tuple[Json, ...]  # PT and IR as functions of tau
    groups: dict[str, Json]

    @property
    def accuracy(self) -> Ratio:
        """Correct predictions among all predictions."""
        return accuracy(self.counts)

    def to_json(self) -> Json:
        """As in a summary."""
        c = self.counts
        return {
            "n": self.rows,
            "errors": c.errors,
            "undefined": c.undefined,
            "capped": c.capped,
            "forwards_mean": self.forwards_mean,
            "rule": self.rule,
            "accuracy": ratio_json(self.accuracy),
            "counts": {"rr": c.rr, "rw": c.rw, "wr": c.wr, "ww": c.ww},
            "pt": self.pt.to_json(),
            "ir": self.ir.to_json(),
            "undefined_by": self.undefined_by,
            "also": list(self.also),
            "sweep": list(self.sweep),
            "groups": self.groups,
        }


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run found."""

    run: Path
    status: str
    throughput: Json
    heads: dict[str, HeadSummary]

    @property
    def errors(self) -> int:
        """Samples without a prediction."""
        return max((head.counts.errors for head in self.heads.values()), default=0)

    @property
    def samples(self) -> int:
        """Samples with a row."""
        return max((head.rows for head in self.heads.values()), default=0)

    def to_json(self) -> Json:
        """summary.json."""
        return {
            "schema": SUMMARY_SCHEMA_ID,
            "status": self.status,
            "throughput": self.throughput,
            "heads": {name: head.to_json() for name, head in self.heads.items()},
        }


def load_summary(folder: Path) -> Summary:
    """The summary of a run folder, computed from its listed parts; a run that is not complete has one too.

    Raises:
        RunError: not a run folder, or a damaged one.
    """
    return summarize(folder, read_run(folder))


def write_summary(folder: Path, summary: Summary) -> None:
    """Write summary.json."""
    write_json(folder / "summary.json", summary.to_json())


def summarize(folder: Path, run: Json) -> Summary:
    """Compute the summary of the listed parts."""
    table = read_rows(folder, run)
    names = [head["name"] for head in run["heads"]]
    heads = {name: _head(table.filter(pc.equal(table["head"], name)), run["rule"]) for name in names}
    return Summary(folder, run["status"], _throughput(run["sessions"]), heads)


def ratio_json(ratio: Ratio) -> Json:
    """A share with its interval and both its numbers."""
    low, high = ratio.interval or (None, None)
    return {
        "value": ratio.value,
        "low": low,
        "high": high,
        "numerator": ratio.numerator,
        "denominator": ratio.denominator,
    }


def _head(rows: pa.Table, rule: Json) -> HeadSummary:
    predicted = rows.filter(pc.is_null(rows["error"]))
    judged = predicted.filter(pc.is_null(predicted["undefined_reason"]))
    counts = counts_of(rows)
    verdicts = _verdicts(judged, rule["evidence"])
    trust, reliability = _beside(judged, verdicts, rule, counts)
    return HeadSummary(
        rule=rule,
        rows=len(rows),
        counts=counts,
        undefined_by=dict(sorted(Counter(predicted["undefined_reason"].drop_null().to_pylist()).items())),
        forwards_mean=pc.mean(predicted["forwards"]).as_py(),
        pt=trust,
        ir=reliability,
        also=() if rule["masks"] == "auto" else tuple(_also(judged, rule)),
        sweep=() if rule["masks"] == "auto" else _swept(verdicts, rule["valid"]),
        groups={
            name: _group(rows.filter(pc.equal(rows["group"], name)))
            for name in sorted(set(rows["group"].drop_null().to_pylist()))
        },
    )


def _swept(verdicts: Verdicts, rule: str) -> tuple[Json, ...]:
    """PT and IR over the thresholds. Stopping early for one threshold would bias the others."""
    return tuple({"tau": tau, "pt": trust, "ir": reliability} for tau, trust, reliability in sweep(verdicts, rule))


def counts_of(rows: pa.Table) -> Counts:
    """Counts from the stored verdicts under the run's own rule."""
    predicted = rows.filter(pc.is_null(rows["error"]))
    judged = predicted.filter(pc.is_null(predicted["undefined_reason"]))
    undefined = predicted.filter(pc.is_valid(predicted["undefined_reason"]))["correct"]
    right = pc.sum(undefined).as_py() or 0
    capped = pc.sum(pc.equal(judged["settled"], "capped")).as_py() or 0
    return quadrants(_bools(judged["correct"]), _bools(judged["valid"])) + Counts(
        undefined_right=right,
        undefined_wrong=len(undefined) - right,
        errors=len(rows) - len(predicted),
        capped=capped,
    )


def _group(rows: pa.Table) -> Json:
    counts = counts_of(rows)
    return {
        "n": len(rows),
        "accuracy": ratio_json(accuracy(counts)),
        "pt": ratio_json(pt(counts)),
        "ir": ratio_json(ir(counts)),
    }


def _beside(judged: pa.Table, verdicts: Verdicts, rule: Json, counts: Counts) -> tuple[Metric, Metric]:
    """PT and IR with chance, shuffled and sampling noise."""
    valid, tau = rule["valid"], rule["tau"]
    chance = verdicts.counts(valid, tau, mass=_floats(judged["area"]))
    shuffled = _shuffled(judged, verdicts, valid, tau)
    noise: tuple[float | None, float | None] = (None, None)
    if rule["evidence"] == "positive" and len(judged) and judged["rma_se"].null_count == 0:
        noise = verdict_noise(verdicts, _floats(judged["rma_se"]), valid, tau)
    return (
        Metric(pt(counts), pt(chance).value, pt(shuffled).value, noise[0]),
        Metric(ir(counts), ir(chance).value, ir(shuffled).value, noise[1]),
    )


def _also(judged: pa.Table, rule: Json) -> Iterable[Json]:
    """The same forwards under the other evidences and rules. Sampling that ends where one rule is clear says nothing
    of the others: their relevance mass goes on changing with the number of masks."""
    for kind, valid in (("positive", "midpoint"), ("positive", "absolute"), ("minmax", "absolute")):
        if (kind, valid) == (rule["evidence"], rule["valid"]):
            continue
        usable = judged.filter(pc.is_valid(judged[f"rma_{kind}"]))
        verdicts = _verdicts(usable, kind)
        counts = verdicts.counts(valid, rule["tau"])
        chance = verdicts.counts(valid, rule["tau"], mass=_floats(usable["area"]))
        yield {
            "evidence": kind,
            "valid": valid,
            "pt": ratio_json(pt(counts)) | {"chance": pt(chance).value},
            "ir": ratio_json(ir(counts)) | {"chance": ir(chance).value},
        }


def _shuffled(judged: pa.Table, verdicts: Verdicts, rule: str, tau: float) -> Counts:
    """Each map against the regions of other samples, from the coarse sketches that every row carries.

    Partners are the next `SHUFFLES` samples on a ring ordered by a digest of the id: the same for any order of
    arrival. Every partner's own threshold applies, since it belongs to the region.
    """
    ids = judged["id"].to_pylist()
    ring = sorted(range(len(ids)), key=lambda i: hashlib.blake2b(ids[i].encode(), digest_size=8).digest())
    ring = ring[:SHUFFLED_SAMPLES]
    evidence = _sketches(judged["evidence_sketch"], ring, np.float16)
    regions = _sketches(judged["region_sketch"], ring, np.uint8) / 255.0
    threshold, correct = verdicts.threshold(rule, tau)[ring], verdicts.correct[ring]
    total = Counts()
    for shift in range(1, min(SHUFFLES, len(ring) - 1) + 1):
        mass = (evidence * np.roll(regions, -shift, axis=0)).sum(axis=1)
        total += quadrants(correct, mass >= np.roll(threshold, -shift))
    return total


def _sketches(column: pa.ChunkedArray, order: list[int], dtype: type) -> Float64:
    """[m,14*14] coarse maps in the given order."""
    values = column.to_pylist()
    joined = b"".join(values[i] for i in order)
    return np.frombuffer(joined, dtype).astype(np.float64).reshape(len(order), SKETCH * SKETCH)


def _verdicts(judged: pa.Table, kind: str) -> Verdicts:
    return Verdicts(
        correct=_bools(judged["correct"]),
        mass=_floats(judged[f"rma_{kind}"]),
        ceiling=_floats(judged["ceiling"]),
        floor=_floats(judged["floor"]),
    )


def _floats(column: pa.ChunkedArray) -> Float64:
    return np.asarray(column.to_numpy(), np.float64)


def _bools(column: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(column.to_numpy(), np.bool_)


def _throughput(sessions: list[Json]) -> Json:
    """Over all sessions: images and forwards a second, and two shares.

    ``waiting_for_data``: of the time; ``batch_fill``: of the rows computed, those that a verdict was taken from.
    """
    total = {name: sum(session.get(name, 0) for session in sessions) for name in Work.__slots__} if sessions else {}
    seconds, rows = total.get("seconds", 0), total.get("rows", 0)
    return {
        "images_per_s": total["samples"] / seconds if seconds else None,
        "forwards_per_s": total["forwards"] / seconds if seconds else None,
        "waiting_for_data": total["waiting_s"] / seconds if seconds else None,
        "batch_fill": total["used"] / rows if rows and total["used"] else None,
    }
