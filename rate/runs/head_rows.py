"""The rows of a head with the columns that the numbers of a run need: about fifty bytes for each row.

States and clusters are codes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rate.data.digests import fingerprint
from rate.runs.failures import Failure, FailureCounts
from rate.runs.shuffled import ranks
from rate.statistics.means import SwapMeans, swap_means
from rate.statistics.metrics import QUADRANTS, STATES, Counts, Ratio, membership, quadrant_codes, sample_ratio
from rate.statistics.validity import Verdicts, is_resolvable
from rate.types import Bool, Codes, Float64, Int64, SampleValues, UInt64

NO_CLUSTER = 0


def states(rows: pa.Table) -> Codes:
    """Compute codes [n] in `STATES` of rows, under the rule of their run."""
    correct, valid = _holds(rows["correct"]), _holds(rows["valid"])
    undefined = STATES.index("undefined_right") + ~correct
    judged = np.where(_holds(pc.is_valid(rows["undefined_reason"])), undefined, quadrant_codes(correct, valid))
    return np.where(_holds(pc.is_valid(rows["error"])), STATES.index("error"), judged).astype(np.int64)


def column_values(rows: pa.Table, name: str) -> SampleValues:
    """Return the values [n] of a column of numbers; NaN where there are none."""
    return np.asarray(rows[name].to_numpy(), np.float64)


def cluster_digests(names: Iterable[str | None]) -> UInt64:
    """Compute a digest [n] of each cluster's name; `NO_CLUSTER` for a sample without one."""
    return np.array([NO_CLUSTER if name is None else fingerprint(name) for name in names], np.uint64)


def cluster_codes(digests: UInt64) -> Codes | None:
    """Compute codes [n] in 0 .. k-1, a new one for every sample without a cluster; None if no sample has one."""
    if not digests.any():
        return None
    alone = digests == NO_CLUSTER
    names, codes = np.unique(digests, return_inverse=True)
    codes -= int(alone.any())
    codes[alone] = len(names) - 1 + np.arange(alone.sum())
    return codes.astype(np.int64)


def clusters_of(rows: pa.Table) -> Codes | None:
    """Compute the code [n] of each row's cluster; see `cluster_codes`."""
    return cluster_codes(cluster_digests(rows["cluster"].to_pylist()))


def slices(names: pa.ChunkedArray) -> Iterator[tuple[str, Int64]]:
    """Yield (name, its positions) of every name in order; rows without a name are in no slice."""
    order = np.asarray(pc.array_sort_indices(names))  # rows without a name come last
    start = 0
    for entry in pc.value_counts(names.take(order).drop_null()).to_pylist():
        yield entry["values"], order[start : start + entry["counts"]]
        start += entry["counts"]


def _holds(column: pa.ChunkedArray) -> Bool:
    return np.asarray(pc.fill_null(column, False).to_numpy(), np.bool_)


_SWAPS = ["share", "share_se", "kept_alone", "kept_without", "object_only", "background_only", "fills"]
_FLOATS = [*_SWAPS, "rma_positive", "rma_minmax", "rma_raw", "rma_se", "ceiling", "floor", "area"]
HEAD_ROW_COLUMNS = [
    "id",
    "head",
    "correct",
    "valid",
    "shuffled_valid",
    "undefined_reason",
    "settled",
    "error",
    "group",
    "cluster",
    "forwards",
    *_FLOATS,
]
"""The columns to read of a part. The rest of a row is ten times as large, and is not read."""

_TYPES: dict[str, Any] = {
    "rank": np.uint64,
    "state": np.int8,  # code in `STATES`
    "capped": np.bool_,
    "shuffled": np.int8,  # 1 = valid along another sample's region, 0 = not, -1 = without a verdict
    "reason": np.int16,  # number of an undefined reason, -1 = judged
    "group": np.int32,  # number of a group, -1 = none
    "cluster": np.uint64,  # digest of a cluster's name, 0 = none
    "forwards": np.int32,
} | dict.fromkeys(_FLOATS, np.float32)  # NaN = none


@dataclass(frozen=True, eq=False)
class HeadRows:
    """The rows of one head in the order of their ranks, since a sum of floats depends on its order."""

    columns: dict[str, npt.NDArray[Any]]  # as in `_TYPES`, each [n]
    reasons: tuple[str, ...]
    groups: tuple[str, ...]
    failures: tuple[Failure, ...] = ()  # the commonest

    def __len__(self) -> int:
        return len(self.columns["rank"])

    @property
    def judged(self) -> Bool:
        """The flags [n] of the rows with a verdict."""
        return np.asarray(self.columns["state"] < len(QUADRANTS))

    @property
    def failed(self) -> Bool:
        """The flags [n] of the rows without a prediction."""
        return np.asarray(self.columns["state"] == STATES.index("error"))

    @property
    def resolvable(self) -> Bool:
        """The flags [n] of the rows whose region can be told from the rest; see `is_resolvable`."""
        return is_resolvable(*(self.columns[name].astype(np.float64) for name in ("area", "ceiling", "floor")))

    @cached_property
    def cluster(self) -> Codes | None:
        """The codes [n] of the clusters; None if no sample has one."""
        return cluster_codes(self.columns["cluster"])

    @property
    def rank(self) -> UInt64:
        """The positions [n] of the samples on the ring of the shuffled baseline."""
        return self.columns["rank"]

    @property
    def clusters(self) -> int | None:
        """The number of clusters; None if no sample has one."""
        return None if self.cluster is None else int(self.cluster.max()) + 1

    def counts(self, chosen: Bool | None = None) -> Counts:
        """Count the stored verdicts under the run's own rule, for all rows or the chosen ones."""
        rows = slice(None) if chosen is None else chosen
        return Counts.of(self.columns["state"][rows], int((self.judged & self.columns["capped"])[rows].sum()))

    def ratio(self, metric: str, chosen: Bool | None = None) -> Ratio:
        """Compute one of `METRICS` under the run's own rule, for all rows or the chosen ones."""
        rows = slice(None) if chosen is None else chosen
        return sample_ratio(metric, self.columns["state"][rows], None if self.cluster is None else self.cluster[rows])

    def shuffled_ratio(self, metric: str) -> Ratio:
        """Compute one of `METRICS` over the samples with a verdict along the region of another sample."""
        rows = self.columns["shuffled"] >= 0
        correct = membership("accuracy")[self.columns["state"][rows], 0]
        codes = quadrant_codes(correct, self.columns["shuffled"][rows] == 1)
        return sample_ratio(metric, codes, None if self.cluster is None else self.cluster[rows])

    def swap_means(self, chosen: Bool | None = None) -> SwapMeans:
        """Compute what swaps leave of the predictions, over all rows or the chosen ones."""
        rows = np.ones(len(self), np.bool_) if chosen is None else chosen
        return swap_means(lambda name: self.floats(name, rows), None if self.cluster is None else self.cluster[rows])

    def verdicts(self, kind: str, rows: Bool) -> Verdicts:
        """Return the verdicts of some rows by a kind of evidence, for any rule.

        The shares of swaps are absolute.
        """
        correct = membership("accuracy")[self.columns["state"][rows], 0]
        if kind == "share":
            mass = self.floats("share", rows)
            return Verdicts(correct, mass, np.ones_like(mass), np.zeros_like(mass))
        return Verdicts(
            correct=correct,
            mass=self.floats(f"rma_{kind}", rows),
            ceiling=self.floats("ceiling", rows),
            floor=self.floats("floor", rows),
        )

    def floats(self, name: str, rows: Bool) -> Float64:
        """Return a column of some rows."""
        return self.columns[name][rows].astype(np.float64)

    def undefined_by(self) -> dict[str, int]:
        """Count the rows for each undefined reason, in order of name."""
        codes = self.columns["reason"][~self.failed]
        numbers = np.bincount(codes[codes >= 0], minlength=len(self.reasons)).tolist()
        return {name: n for name, n in sorted(zip(self.reasons, numbers, strict=True)) if n}

    def by_group(self) -> Iterator[tuple[str, Bool]]:
        """Yield every group in order of name, with its rows."""
        for number, name in sorted(enumerate(self.groups), key=lambda pair: pair[1]):
            yield name, self.columns["group"] == number


def read_heads(names: Iterable[str], parts: Iterable[pa.Table]) -> dict[str, HeadRows]:
    """Map each head to its rows, from parts with the columns `HEAD_ROW_COLUMNS`."""
    gathered = {name: _Gathered() for name in names}
    for table in parts:
        for name, one in gathered.items():
            one.take(table.filter(pc.equal(table["head"], name)))
    return {name: one.finished() for name, one in gathered.items()}


@dataclass(slots=True)
class _Gathered:
    """Growing columns of a head as bytes, since thousands of small arrays would fragment the memory."""

    grown: dict[str, bytearray] = field(default_factory=lambda: {name: bytearray() for name in _TYPES})
    reasons: dict[str, int] = field(default_factory=dict)
    groups: dict[str, int] = field(default_factory=dict)
    failures: FailureCounts = field(default_factory=FailureCounts)

    def take(self, table: pa.Table) -> None:
        """Add the rows of a part."""
        made = {
            "rank": ranks(table["id"].to_pylist()),
            "state": states(table),
            "capped": pc.equal(table["settled"], "capped"),
            "shuffled": pc.fill_null(table["shuffled_valid"].cast(pa.int8()), -1),
            "reason": [_number(name, self.reasons) for name in table["undefined_reason"].to_pylist()],
            "group": [_number(name, self.groups) for name in table["group"].to_pylist()],
            "cluster": cluster_digests(table["cluster"].to_pylist()),
        }
        failed = table.filter(pc.is_valid(table["error"]))
        for identifier, error in zip(failed["id"].to_pylist(), failed["error"].to_pylist(), strict=True):
            self.failures.take(identifier, error)
        for name, kind in _TYPES.items():
            self.grown[name] += np.asarray(made[name] if name in made else table[name], kind).tobytes()

    def finished(self) -> HeadRows:
        """Make one array for each column in the order of the ranks, and release the bytes one after the other."""
        order = np.argsort(np.frombuffer(self.grown["rank"], np.uint64), kind="stable")
        columns = {name: np.frombuffer(self.grown.pop(name), kind)[order] for name, kind in _TYPES.items()}
        return HeadRows(columns, tuple(self.reasons), tuple(self.groups), self.failures.commonest())


def _number(name: str | None, known: dict[str, int]) -> int:
    return -1 if name is None else known.setdefault(name, len(known))
