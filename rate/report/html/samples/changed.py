"""The samples that two heads judge differently, the failures of the second one first."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from rate.report.compare.pairing import STATE_COLUMNS, joined
from rate.report.heads import HeadRun
from rate.report.html.samples.selection import ShownSample, saved_maps, shown_samples
from rate.runs.summary.slice_sums import column_values, states
from rate.statistics.metrics import STATES
from rate.types import Int64, SampleValues

CHANGES = {
    "wrong": "Right in {first}, wrong in {second}",
    "invalid": "Right in both, on invalid evidence in {second} alone",
    "right": "Wrong in {first}, right in {second}",
    "valid": "Right in both, on valid evidence in {second} alone",
    "other": "Wrong in both, or without a verdict in one",
}
"""What can change between two heads, in order."""

_RIGHT = ("rr", "rw", "undefined_right")
_BY_VALUE = {"invalid": 1, "valid": -1}
"""Changes of the evidence alone, with the sign of what is compared with tau by which the largest change comes first."""


@dataclass(frozen=True, slots=True, eq=False)
class ChangedSample:
    """One sample under two heads."""

    pair: int  # 0 for the second head of the report with the first, and so on
    change: str
    first: ShownSample
    second: ShownSample


def change_of(before: str, after: str) -> str | None:
    """Name the change from one of `STATES` to another; None without one, and where a prediction is missing.

    >>> change_of("rr", "ww"), change_of("rr", "rw"), change_of("ww", "ww")
    ('wrong', 'invalid', None)
    """
    if before == after or "error" in (before, after):
        return None
    was, now = before in _RIGHT, after in _RIGHT
    if was != now:
        return "right" if now else "wrong"
    return {("rr", "rw"): "invalid", ("rw", "rr"): "valid"}.get((before, after), "other")


def totals(moves: Int64) -> dict[str, int]:
    """Count the samples of every change in a table [7,7] of moves."""
    counts = dict.fromkeys(CHANGES, 0)
    for i, before in enumerate(STATES):
        for j, after in enumerate(STATES):
            if (change := change_of(before, after)) is not None:
                counts[change] += int(moves[i, j])
    return counts


def select_changed(heads: Sequence[HeadRun], most: int) -> list[ChangedSample]:
    """Select at most ``most`` samples that the first head and another one judge differently.

    They are one of every pair and change in turn, those first whose prediction by the other head is the most probable,
    or whose evidence changed the most.

    Raises:
        RunError: the saved maps of a run cannot be read.
    """
    queues: dict[tuple[str, int], list[tuple[float, str]]] = {(change, k): [] for change in CHANGES for k in _of(heads)}
    for k in _of(heads) if most else ():
        for change, order, name in _changed(heads[0], heads[k + 1], most):
            queues[change, k].append((order, name))
    named = ([(k, change, name) for _, name in sorted(queue)] for (change, k), queue in queues.items())
    turns = (one for turn in itertools.zip_longest(*named) for one in turn if one is not None)
    chosen = list(itertools.islice(turns, most))
    first = _shown(0, heads[0], {name for _, _, name in chosen})
    others = {k: _shown(k + 1, heads[k + 1], {name for at, _, name in chosen if at == k}) for k in _of(heads)}
    return [ChangedSample(k, change, first[name], others[k][name]) for k, change, name in chosen]


def _of(heads: Sequence[HeadRun]) -> range:
    return range(len(heads) - 1)


def _shown(position: int, head: HeadRun, names: set[str]) -> dict[str, ShownSample]:
    if not names:
        return {}
    return {one.id: one for one in shown_samples(position, head, sorted(names), saved_maps(head))}


_CODES = np.array(
    [[-1 if (one := change_of(a, b)) is None else list(CHANGES).index(one) for b in STATES] for a in STATES], np.int64
)
"""The index in `CHANGES` of every pair of `STATES`."""


def _changed(first: HeadRun, second: HeadRun, most: int) -> list[tuple[str, float, str]]:
    """Return change, order and id of the ``most`` first samples of every change; parts are read one after another."""
    column = second.summary.rule.judged_column
    kept: dict[int, list[tuple[float, str]]] = {}
    for one, other in joined(first, second, [*STATE_COLUMNS, "probability", column]):
        codes = _CODES[states(one), states(other)]
        for code in np.unique(codes[codes >= 0]).tolist():
            at = np.flatnonzero(codes == code)
            order = _order(one, other, column, list(CHANGES)[code])[at]
            ranked = zip(order.tolist(), other["id"].take(at).to_pylist(), strict=True)
            kept[code] = heapq.nsmallest(most, [*kept.get(code, ()), *ranked])
    return [(list(CHANGES)[code], order, name) for code, own in kept.items() for order, name in own]


def _order(one: pa.Table, other: pa.Table, column: str, change: str) -> SampleValues:
    if change in _BY_VALUE:
        order = _BY_VALUE[change] * (column_values(other, column) - column_values(one, column))
    else:
        order = -column_values(other, "probability")
    return np.where(np.isnan(order), np.inf, order)
