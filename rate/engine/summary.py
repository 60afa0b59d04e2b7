"""Rows to the numbers of a run: accuracy, PT and IR with intervals, beside chance and shuffled regions."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rate.engine.files import write_json
from rate.engine.parts import iter_parts
from rate.engine.rows import SCHEMA
from rate.engine.shuffled import SKETCHES, Ring, ranks, take_sketches
from rate.engine.store import Work, read_run
from rate.metrics import Counts, Ratio, Verdicts, accuracy, ir, pt, quadrants, sweep, verdict_noise
from rate.types import Float64, Json

SUMMARY_SCHEMA_ID = "rate.summary/1"

_NUMBERS = ["rma_positive", "rma_minmax", "rma_raw", "rma_se", "ceiling", "floor", "area", "forwards"]
_COLUMNS = ["id", "head", "correct", "valid", "undefined_reason", "settled", "error", "group", *_NUMBERS]
"""What the numbers of a run are made of. The rest of a row is ten times as large, and is left where it is."""


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
    rows = _rows(folder, run)
    rule = run["rule"]
    rings = {name: _ring(table, rule) for name, table in rows.items()}
    rows = {name: table.drop_columns("rank") for name, table in rows.items()}
    take_sketches({name: ring for name, ring in rings.items() if len(ring.rank)}, iter_parts(folder, run, SKETCHES))
    heads = {name: _head(table, rule, rings[name].counts()) for name, table in rows.items()}
    return Summary(folder, run["status"], _throughput(run["sessions"]), heads)


def _rows(folder: Path, run: Json) -> dict[str, pa.Table]:
    """Head -> its rows: `_COLUMNS` with a rank in place of the id, and errors without their text."""
    found: dict[str, list[pa.Table]] = {head["name"]: [] for head in run["heads"]}
    for table in itertools.chain([SCHEMA.empty_table().select(_COLUMNS)], iter_parts(folder, run, _COLUMNS)):
        rank = pa.array(ranks(table["id"].to_pylist()))
        small = table.set_column(table.schema.get_field_index("id"), "rank", rank).set_column(
            table.schema.get_field_index("error"), "error", pc.if_else(pc.is_valid(table["error"]), "", None)
        )
        for name, parts in found.items():
            parts.append(small.filter(pc.equal(small["head"], name)).drop_columns("head"))
    # In the order of the ranks: a sum of floats depends on its order, and the rows came in any.
    return {name: pa.concat_tables(parts).sort_by("rank") for name, parts in found.items()}


def _judged(rows: pa.Table) -> pa.Table:
    """The rows that have a verdict."""
    return rows.filter(pc.and_(pc.is_null(rows["error"]), pc.is_null(rows["undefined_reason"])))


def _ring(rows: pa.Table, rule: Json) -> Ring:
    judged = _judged(rows)
    verdicts = _verdicts(judged, rule["evidence"])
    rank = np.asarray(judged["rank"].to_numpy(), np.uint64)
    return Ring.of(rank, verdicts.correct, verdicts.threshold(rule["valid"], rule["tau"]))


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


def _head(rows: pa.Table, rule: Json, shuffled: Counts) -> HeadSummary:
    predicted = rows.filter(pc.is_null(rows["error"]))
    judged = _judged(rows)
    counts = counts_of(rows)
    verdicts = _verdicts(judged, rule["evidence"])
    trust, reliability = _beside(judged, verdicts, rule, counts, shuffled)
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


def _beside(
    judged: pa.Table, verdicts: Verdicts, rule: Json, counts: Counts, shuffled: Counts
) -> tuple[Metric, Metric]:
    """PT and IR with chance, shuffled and sampling noise."""
    valid, tau = rule["valid"], rule["tau"]
    chance = verdicts.counts(valid, tau, mass=_floats(judged["area"]))
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
