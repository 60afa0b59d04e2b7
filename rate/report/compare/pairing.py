"""The rows of two heads joined by id, part by part, and the sums over the samples that both have."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rate.errors import RunError
from rate.report.compare.document import StateChange
from rate.report.heads import HeadRun
from rate.runs.summary.slice_sums import Buckets, clusters_of, column_values, grown, states
from rate.statistics.intervals import Units
from rate.statistics.means import LEAST, SWAP_METRICS, swap_values, units
from rate.statistics.metrics import STATES, Ratio, share_by_cluster
from rate.statistics.moments import Moments, add_products
from rate.statistics.paired import Difference, JointTable, Tables, difference, difference_of_units
from rate.types import Codes, Int64

STATE_COLUMNS = ["correct", "valid", "undefined_reason", "error"]
_SWAPS = ["object_only", "background_only"]


class NoSampleInCommon(RunError):
    """Two heads have no sample in common."""


def joined(first: HeadRun, second: HeadRun, columns: list[str]) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Yield rows of the samples that both heads have, in the same order; a part of each run is held at a time.

    Raises:
        NoSampleInCommon: no sample is of both.
        RunError: a part is missing or damaged.
    """
    left, right = _Ranked(first, columns), _Ranked(second, columns)
    is_any = False
    while left.fill() and right.fill():
        last = min(left.rank[-1], right.rank[-1])
        one, other = left.upto(last), right.upto(last)
        position = pc.index_in(one["id"], value_set=other["id"].combine_chunks())
        if position.null_count < len(position):
            is_any = True
            yield one.filter(pc.is_valid(position)), other.take(position.drop_null())
    for rest in (left, right):  # to their ends, where each run is checked as a whole
        while rest.fill():
            rest.upto(rest.rank[-1])
    if not is_any:
        raise NoSampleInCommon(
            f"{first.name} ({first.slice.rows} samples, {first.status}) and {second.name} ({second.slice.rows} "
            f"samples, {second.status}) have no sample in common; run the `rate eval` of an unfinished one again to "
            "go on"
        )


class _Ranked:
    """The rows of a head that were read and not used yet, in order of rank."""

    def __init__(self, head: HeadRun, columns: list[str]) -> None:
        self._batches = head.batches(columns)
        self._rows, self.rank = pa.table({}), np.zeros(0, np.uint64)

    def fill(self) -> bool:
        """Read on if no row is left; False at the end."""
        while not len(self.rank) and (rows := next(self._batches, None)) is not None:
            self._rows, self.rank = rows, rows["rank"].to_numpy()
        return len(self.rank) > 0

    def upto(self, rank: np.uint64) -> pa.Table:
        """Take the rows up to a rank."""
        count = int(np.searchsorted(self.rank, rank, side="right"))
        taken, self._rows, self.rank = self._rows.slice(0, count), self._rows.slice(count), self.rank[count:]
        return taken


@dataclass(frozen=True, slots=True, eq=False)
class JointSlice:
    """The sums over samples that both heads have, by cluster."""

    clustered: bool
    by_cluster: Int64  # [k,7,7] joint tables of `STATES`
    means: dict[str, tuple[Moments, Moments, Int64]]  # of `SWAP_METRICS`: of both heads, and of the products

    @property
    def moves(self) -> JointTable:
        """The joint table of all samples."""
        return np.asarray(self.by_cluster.sum(axis=0))

    @property
    def tables(self) -> Tables:
        """One joint table, or one for each cluster."""
        return self.by_cluster if self.clustered else self.moves

    @property
    def paired(self) -> int:
        """The number of samples."""
        return int(self.by_cluster.sum())

    @property
    def units(self) -> Units:
        """The units of intervals and tests."""
        return Units(len(self.by_cluster) if self.clustered else None)

    def became(self, state: str, after: Collection[str]) -> Ratio:
        """Compute the share of the samples in a state of the first head that are in one of ``after`` in the second."""
        rows = self.by_cluster[:, STATES.index(state)]
        return share_by_cluster(rows[:, np.isin(STATES, list(after))].sum(axis=1), rows.sum(axis=1), self.clustered)

    def difference(self, metric: str) -> Difference:
        """Compute the difference of one of `METRICS`."""
        return difference(metric, self.tables)

    def mean_difference(self, metric: str) -> Difference:
        """Compute the difference of one of `SWAP_METRICS`.

        Samples whose region leaves nothing to swap, or that failed in one of the two, are left out.
        """
        first, second, product = self.means[metric]
        return difference_of_units(metric, first, second, product, self.clustered, LEAST[metric])


class PairSums:
    """The sums over the samples that two heads have, as a whole and by class and group."""

    def __init__(self, first: HeadRun, second: HeadRun, by_cluster: bool, changed: int | None) -> None:
        """Read both heads once; keep the ``changed`` first samples in order of id that changed, or all.

        Raises:
            RunError: they have no sample in common.
        """
        self.swaps = first.run.rule.verdict == "swap"
        self._clustered = by_cluster and first.sums.clustered
        self._sums = {by: _JointSums(by, self._clustered, self.swaps) for by in (None, "label", "group")}
        columns = list(dict.fromkeys(["label", "group", "cluster", *STATE_COLUMNS, *(_SWAPS if self.swaps else [])]))
        moved: list[tuple[str, int, int]] = []
        for one, other in joined(first, second, columns):
            codes = states(one), states(other)
            cluster = clusters_of(one) if self._clustered else None
            for sums in self._sums.values():
                sums.add(one, other, codes, cluster)
            at = np.flatnonzero(codes[0] != codes[1])
            moved += zip(one["id"].take(at).to_pylist(), codes[0][at].tolist(), codes[1][at].tolist(), strict=True)
            if changed is not None:
                moved = heapq.nsmallest(changed, moved)
        self.changed = tuple(StateChange(name, STATES[before], STATES[after]) for name, before, after in sorted(moved))

    @property
    def whole(self) -> JointSlice:
        """The sums over all samples."""
        return next(one for _, one in self._sums[None].slices())

    def slices(self, by: str | None) -> Iterator[tuple[str | None, JointSlice]]:
        """Yield every slice in order of name; None = all samples as one without a name."""
        return self._sums[by].slices()


class _JointSums:
    """The sums of a pair by slice."""

    def __init__(self, by: str | None, clustered: bool, swaps: bool) -> None:
        self._buckets, self._clustered = Buckets(by), clustered
        self._tables = np.zeros((0, len(STATES), len(STATES)), np.int64)
        self._means = {name: [np.zeros((0, 4), np.int64) for _ in range(3)] for name in SWAP_METRICS if swaps}

    def add(self, first: pa.Table, second: pa.Table, codes: tuple[Codes, Codes], cluster: Codes | None) -> None:
        """Add rows of the same samples with their states."""
        kept, _, pair = self._buckets.of(second, cluster)
        count = len(self._buckets)
        if count > len(self._tables):
            self._tables = grown(self._tables, 2 * count)
            self._means = {name: [grown(one, 2 * count) for one in sums] for name, sums in self._means.items()}
        np.add.at(self._tables, (pair, codes[0][kept], codes[1][kept]), 1)
        if not self._means:
            return
        columns = [{name: column_values(rows, name)[kept] for name in _SWAPS} for rows in (first, second)]
        swapped = np.isfinite(columns[0]["object_only"]) & np.isfinite(columns[1]["object_only"])
        for name, (one, other, product) in self._means.items():
            values = [units(swap_values(name, column.__getitem__)[swapped], LEAST[name]) for column in columns]
            for sums, ends in ((one, (0, 0)), (other, (1, 1)), (product, (0, 1))):
                add_products(sums, values[ends[0]], values[ends[1]], pair[swapped])

    def slices(self) -> Iterator[tuple[str | None, JointSlice]]:
        """Yield every slice in order of name."""
        for name, own in self._buckets.pairs():
            means = {
                metric: (Moments(one[own]), Moments(other[own]), product[own])
                for metric, (one, other, product) in self._means.items()
            }
            yield name, JointSlice(self._clustered, self._tables[own], means)
