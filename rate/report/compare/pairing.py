"""The rows of two heads, joined by id, as codes of states and of clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rate.errors import RunError
from rate.metrics import quadrant_codes
from rate.paired import MIN_CLUSTERS, STATES, joint, joint_by_cluster
from rate.report.heads import HeadRun
from rate.types import Bool, Int64


@dataclass(frozen=True, slots=True)
class Resampled:
    """The unit that the interval of a difference resamples."""

    clusters: int | None  # number of clusters; None if there are none, or clusters are ignored

    @property
    def units(self) -> Literal["clusters", "samples"]:
        """The unit: ``clusters`` if there are enough of them, else ``samples``."""
        return "clusters" if self.clusters is not None and self.clusters >= MIN_CLUSTERS else "samples"

    @property
    def too_few(self) -> str | None:
        """The reason why samples are resampled in spite of clusters; None if clusters are resampled or absent."""
        if self.clusters is None or self.units == "clusters":
            return None
        return f"{self.clusters} clusters, fewer than {MIN_CLUSTERS}"

    def __str__(self) -> str:
        if self.units == "clusters":
            return f"{self.clusters} clusters are resampled"
        return f"samples are resampled ({self.too_few or 'no clusters'})"


def in_common(first: HeadRun, second: HeadRun) -> tuple[pa.Table, pa.Table]:
    """Return the rows of both in the order of the first; rows with an id that the other lacks are left out.

    Raises:
        RunError: the two have no sample in common.
    """
    position = pc.index_in(first.rows["id"], value_set=second.rows["id"].combine_chunks())
    rows = first.rows.filter(pc.is_valid(position)), second.rows.take(position.drop_null())
    if not len(rows[0]):
        raise RunError(
            f"{first.name} ({len(first.rows)} samples, {first.status}) and {second.name} ({len(second.rows)} samples, "
            f"{second.status}) have no sample in common; run the `rate eval` of an unfinished one again to go on"
        )
    return rows


def states(rows: pa.Table) -> Int64:
    """Compute codes [n] in `STATES` of the rows of one head, under the rule of their run."""
    correct, valid = _holds(rows["correct"]), _holds(rows["valid"])
    undefined = STATES.index("undefined_right") + ~correct
    judged = np.where(_holds(pc.is_null(rows["valid"])), undefined, quadrant_codes(correct, valid))
    return np.where(_holds(pc.is_valid(rows["error"])), STATES.index("error"), judged).astype(np.int64)


def joint_tables(rows: pa.Table, first: Int64, second: Int64, *, by_cluster: bool = True) -> tuple[Int64, Resampled]:
    """Compute the joint table of two columns of states [n], or one for each cluster of ``rows``, and the unit of
    resampling.
    """
    codes = cluster_codes(rows["cluster"]) if by_cluster else None
    if codes is None:
        return joint(first, second), Resampled(None)
    tables = joint_by_cluster(first, second, codes)
    return tables, Resampled(len(tables))


def cluster_codes(column: pa.ChunkedArray) -> Int64 | None:
    """Compute codes [n] in 0 .. k-1, a new one for every sample without a cluster; None if no sample has one."""
    if column.null_count == len(column):
        return None
    codes = column.combine_chunks().dictionary_encode().indices
    alone = _holds(pc.is_null(column))
    numbers = np.asarray(pc.fill_null(codes, 0).to_numpy(zero_copy_only=False), np.int64)
    numbers[alone] = numbers[~alone].max() + 1 + np.arange(alone.sum())
    return numbers


def _holds(column: pa.ChunkedArray) -> Bool:
    return np.asarray(pc.fill_null(column, False).to_numpy(), np.bool_)
