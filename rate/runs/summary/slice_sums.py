"""Counts and sums over the rows of a head, as a whole or by slice, which do not depend on the order of the rows.

What is held is of the slices and clusters, not of the rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rate.data.digests import fingerprint
from rate.statistics.means import LEAST, SampleMean, SwapMeans, mean_of_units, swap_values, units
from rate.statistics.metrics import QUADRANTS, STATES, Counts, Ratio, membership, quadrant_codes, share_by_cluster
from rate.statistics.moments import Moments
from rate.types import Bool, Codes, Int64, SampleValues

SWAPS = ["object_only", "background_only", "kept_alone", "kept_without", "fills"]
OF_SLICES = ["correct", "valid", "undefined_reason", "settled", "error", "cluster", "forwards", *SWAPS]
"""The columns of a row that the sums read, beside its slice."""


_COUNTS = (*STATES[:-1], "errors")
"""The fields of `Counts` in the order of the states."""


def states(rows: pa.Table) -> Codes:
    """Compute codes [n] in `STATES` of rows, under the rule of their run."""
    correct, valid = holds(rows["correct"]), holds(rows["valid"])
    undefined = STATES.index("undefined_right") + ~correct
    judged = np.where(holds(pc.is_valid(rows["undefined_reason"])), undefined, quadrant_codes(correct, valid))
    return np.where(holds(pc.is_valid(rows["error"])), STATES.index("error"), judged).astype(np.int64)


def holds(column: pa.ChunkedArray) -> Bool:
    """Return flags [n]; null is False."""
    return np.asarray(pc.fill_null(column, False).to_numpy(), np.bool_)


def column_values(rows: pa.Table, name: str) -> SampleValues:
    """Return the values [n] of a column of numbers; NaN where there are none."""
    return np.asarray(rows[name].to_numpy(), np.float64)


def clusters_of(rows: pa.Table) -> Codes:
    """Compute a digest [n] of each row's cluster; a sample without one is a cluster of its own."""
    names = zip(rows["id"].to_pylist(), rows["cluster"].to_pylist(), strict=True)
    digests = (fingerprint(f"\0{identifier}" if name is None else name) for identifier, name in names)
    return np.fromiter(digests, np.uint64, len(rows)).view(np.int64)


def has_clusters(rows: pa.Table) -> bool:
    """Tell whether any row has a cluster."""
    return bool(rows["cluster"].null_count < len(rows))


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Some rows of one head."""

    rows: pa.Table
    states: Codes  # [n]
    capped: Bool  # [n]
    cluster: Codes | None  # [n] digests; None if the run has no clusters

    @classmethod
    def of(cls, rows: pa.Table, clustered: bool) -> Batch:
        """Take rows with the columns `OF_SLICES`, ``id`` if there are clusters, and those of the slices."""
        codes = states(rows)
        capped = np.asarray(pc.equal(rows["settled"], "capped").to_numpy(), np.bool_) & (codes < len(QUADRANTS))
        return cls(rows, codes, capped, clusters_of(rows) if clustered else None)


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """The sums of some rows, by cluster; all rows are of one cluster where there are none."""

    clustered: bool
    states: Int64  # [k,7] number of rows in each state
    capped: Int64  # [k]
    forwards: int  # of rows that did not fail
    fills: int  # of rows with a region that leaves something to swap
    moments: dict[str, Moments]  # of `LEAST`

    @property
    def rows(self) -> int:
        """The number of rows."""
        return int(self.states.sum())

    @property
    def clusters(self) -> int | None:
        """The number of clusters; None if no sample has one."""
        return int(self.states.any(axis=1).sum()) if self.clustered else None

    @property
    def counts(self) -> Counts:
        """The number of rows in each state."""
        by_state = dict(zip(_COUNTS, map(int, self.states.sum(axis=0)), strict=True))
        return Counts(**by_state, capped=int(self.capped.sum()))

    @property
    def predictions(self) -> int:
        """The number of rows that did not fail."""
        return self.counts.predictions

    def ratio(self, metric: str) -> Ratio:
        """Compute one of `METRICS`."""
        counted, among = (self.states @ membership(metric)).T
        return share_by_cluster(counted, among, self.clustered)

    def share(self, what: str) -> Ratio:
        """Compute the share of the rows that are ``undefined``, ``capped`` or ``errors``."""
        columns = {"undefined": self.states[:, 4:6].sum(axis=1), "capped": self.capped, "errors": self.states[:, 6]}
        return share_by_cluster(columns[what], self.states.sum(axis=1), self.clustered)

    def mean(self, metric: str) -> SampleMean:
        """Compute one of the means of `LEAST`."""
        return mean_of_units(self.moments[metric], self.clustered, LEAST[metric])

    def swap_means(self) -> SwapMeans:
        """Compute what swaps leave of the predictions."""
        swapped = self.moments["object_only"].count
        return SwapMeans(**{name: self.mean(name) for name in LEAST}, fills=self.fills / swapped if swapped else None)


@dataclass(slots=True)
class Numbers:
    """Numbers keys in the order in which they first come."""

    known: dict[int, int] = field(default_factory=dict)

    def of(self, keys: Int64) -> Codes:
        """Return the number [n] of each key."""
        unique, inverse = np.unique(keys, return_inverse=True)
        numbers = [self.known.setdefault(key, len(self.known)) for key in unique.tolist()]
        return np.array(numbers, np.int64)[inverse]


@dataclass(slots=True)
class Buckets:
    """Numbers the pairs of a slice and a cluster as they come."""

    by: str | None  # column that names the slice; None = all rows are one slice without a name
    slices: dict[str | None, int] = field(default_factory=dict)
    _clusters: Numbers = field(default_factory=Numbers)
    _pairs: Numbers = field(default_factory=Numbers)

    def __len__(self) -> int:
        return len(self._pairs.known)

    def of(self, rows: pa.Table, cluster: Codes | None) -> tuple[Bool, Codes, Codes]:
        """Return which rows [n] have a slice, and the slice and the pair [m] of those."""
        if self.by is None:
            kept, own = np.ones(len(rows), np.bool_), np.zeros(len(rows), np.int64)
            self.slices.setdefault(None, 0)
        else:
            encoded = pc.dictionary_encode(rows[self.by]).combine_chunks()
            kept = np.asarray(encoded.indices.is_valid())
            known = [self.slices.setdefault(name, len(self.slices)) for name in encoded.dictionary.to_pylist()]
            own = np.array(known, np.int64)[np.asarray(encoded.indices.drop_null())]
        numbers = 0 if cluster is None else self._clusters.of(cluster[kept])
        return kept, own, self._pairs.of((own << 40) + numbers)

    def pairs(self) -> Iterator[tuple[str | None, Int64]]:
        """Yield every slice in order of name, with the numbers of its pairs."""
        of_slice = np.array([key >> 40 for key in self._pairs.known], np.int64)
        for name, number in sorted(self.slices.items(), key=lambda item: item[0] or ""):
            yield name, np.flatnonzero(of_slice == number)


class SliceSums:
    """The sums of a head by slice."""

    def __init__(self, by: str | None, clustered: bool, swaps: bool) -> None:
        """Begin with no rows; ``swaps``: whether the rows have the columns of a run by swaps."""
        self._buckets, self._clustered = Buckets(by), clustered
        self._states, self._capped = np.zeros((0, len(STATES)), np.int64), np.zeros(0, np.int64)
        self._moments = {name: Moments(np.zeros((0, 4), np.int64)) for name in LEAST} if swaps else {}
        self._forwards, self._fills = np.zeros(0, np.int64), np.zeros(0, np.int64)

    def add(self, batch: Batch) -> None:
        """Add some rows."""
        kept, _, pair = self._buckets.of(batch.rows, batch.cluster)
        self._make_room(len(self._buckets))
        codes = batch.states[kept]
        np.add.at(self._states, (pair, codes), 1)
        np.add.at(self._capped, pair, batch.capped[kept])
        forwards = np.asarray(batch.rows["forwards"].to_numpy(), np.int64)[kept] * (codes != STATES.index("error"))
        np.add.at(self._forwards, pair, forwards)
        if self._moments:
            columns = {name: column_values(batch.rows, name)[kept] for name in SWAPS}
            swapped = np.isfinite(columns["object_only"])
            np.add.at(self._fills, pair[swapped], columns["fills"][swapped].astype(np.int64))
            for name, least in LEAST.items():
                values = swap_values(name, columns.__getitem__)[swapped]
                self._moments[name].take(units(values, least), pair[swapped])

    def _make_room(self, count: int) -> None:
        if count > len(self._states):
            arrays = (self._states, self._capped, self._forwards, self._fills)
            self._states, self._capped, self._forwards, self._fills = (grown(array, 2 * count) for array in arrays)
            for one in self._moments.values():
                one.sums = grown(one.sums, 2 * count)

    def slices(self) -> Iterator[tuple[str, Slice]]:
        """Yield every slice in order of name; rows without a name are in none."""
        for name, own in self._buckets.pairs():
            yield name or "", self._slice(own)

    def whole(self) -> Slice:
        """Return the sums of all rows."""
        return self._slice(np.arange(len(self._buckets)))

    def _slice(self, own: Int64) -> Slice:
        forwards, fills = int(self._forwards[own].sum()), int(self._fills[own].sum())
        moments = {name: Moments(one.sums[own]) for name, one in self._moments.items()}
        return Slice(self._clustered, self._states[own], self._capped[own], forwards, fills, moments)


def grown(array: Int64, count: int) -> Int64:
    """Return an array with ``count`` rows, of which the new ones are 0."""
    return np.concatenate([array, np.zeros((count - len(array), *array.shape[1:]), array.dtype)])
