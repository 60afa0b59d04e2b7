"""The state and the cluster of every row of a head, as codes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rate.data.digests import fingerprint
from rate.metrics import STATES, quadrant_codes
from rate.types import Bool, Codes, Int64, SampleValues, UInt64

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
