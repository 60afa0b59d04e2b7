"""Heads whose states are known beforehand: in memory for the decision, as a run folder for the commands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from run_rows import MADE, run_json, write_parts

from rate.records import record
from rate.report.gate.decide import Decision, decide
from rate.report.gate.policy import read_policy
from rate.report.heads import HeadRun
from rate.runs.order import in_order
from rate.runs.rows import SCHEMA
from rate.runs.run_document import RunDocument
from rate.runs.summary.document import Throughput
from rate.runs.summary.head_sums import read_sums
from rate.runs.summary.summarise import Summary
from rate.types import Json


def states(**counts: int) -> list[str]:
    """``states(rr=2, error=1)`` is ["rr", "rr", "error"]."""
    return [state for state, count in counts.items() for _ in range(count)]


def rows_of(
    head: str,
    states: Sequence[str],
    labels: Sequence[str] | None,
    groups: Sequence[str | None] | None,
    clusters: Sequence[str | None] | None,
    start: int = 0,
    verdict: str = "map",
) -> Iterator[Json]:
    """One row a state; ids are s000000, s000001, ... from ``start``."""
    n = len(states)
    for k, state in enumerate(states):
        group, cluster = (groups or [None] * n)[k], (clusters or [None] * n)[k]
        yield MADE[verdict](f"s{start + k:06d}", head, state, (labels or ["a"] * n)[k], group=group, cluster=cluster)


def head_run(
    found: Sequence[str],
    *,
    labels: Sequence[str] | None = None,
    groups: Sequence[str | None] | None = None,
    clusters: Sequence[str | None] | None = None,
    name: str = "run",
    images_per_s: float | None = 10.0,
    start: int = 0,
    verdict: str = "map",
    **changes: Any,
) -> HeadRun:
    """A head in memory with one row a state; ``changes`` are keys of run.json."""
    rows = list(rows_of("ft", found, labels, groups, clusters, start, verdict))
    run = record(RunDocument, run_json(["ft"], len(found), verdict, **changes))
    whole = Summary(Path(name), run.status, Throughput(images_per_s, None, None, None, None), {})
    return head_of(pa.Table.from_pylist(rows, SCHEMA), run, whole)


def head_of(rows: pa.Table, run: RunDocument, whole: Summary) -> HeadRun:
    """A head in memory with these rows."""
    ordered, rank = in_order(rows)
    table = ordered.append_column("rank", pa.array(rank))
    sums = read_sums(["ft"], run.rule, lambda: [table])
    return HeadRun(whole.run, "ft", run, sums["ft"], whole, lambda columns: iter([table]))


def write_run(
    folder: Path,
    heads: dict[str, Sequence[str]],
    *,
    labels: Sequence[str] | None = None,
    groups: Sequence[str | None] | None = None,
    clusters: Sequence[str | None] | None = None,
    verdict: str = "map",
    **changes: Any,
) -> Path:
    """A run folder with the states of every head; ``changes`` are keys of run.json."""
    rows = [
        one for head, found in heads.items() for one in rows_of(head, found, labels, groups, clusters, verdict=verdict)
    ]
    return write_parts(folder, run_json(list(heads), len(next(iter(heads.values()))), verdict, **changes), [rows])


def decided(checks: Any, candidate: HeadRun, baseline: HeadRun | None = None, **options: Any) -> Decision:
    """The decision of a list of checks, or of one."""
    return decide(read_policy([checks] if isinstance(checks, dict) else checks), candidate, baseline, **options)
