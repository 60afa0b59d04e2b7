"""The rows of two heads, joined by id, the joint tables of their states, and the differences of their means."""

from __future__ import annotations

from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rate.errors import RunError
from rate.report.heads import HeadRun
from rate.runs.head_rows import clusters_of, column_values
from rate.statistics.intervals import Units
from rate.statistics.means import LEAST, SWAP_METRICS, swap_values
from rate.statistics.paired import Difference, Tables, joint, joint_by_cluster, mean_difference
from rate.types import Codes


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


def joint_tables(rows: pa.Table, first: Codes, second: Codes, *, by_cluster: bool = True) -> tuple[Tables, Units]:
    """Compute the joint table of two columns of states [n], or one for each cluster of ``rows``, and the units of
    intervals and tests.
    """
    codes = clusters_of(rows) if by_cluster else None
    if codes is None:
        return joint(first, second), Units(None)
    tables = joint_by_cluster(first, second, codes)
    return tables, Units(len(tables))


def mean_differences(first: pa.Table, second: pa.Table, cluster: Codes | None) -> dict[str, Difference]:
    """Compute the difference of every mean of two runs by swaps, from rows of the same samples and their clusters.

    Samples whose region leaves nothing to swap, or that failed in one of the two, are left out.
    """
    columns = [partial(column_values, rows) for rows in (first, second)]
    swapped = np.isfinite(columns[0]("object_only")) & np.isfinite(columns[1]("object_only"))
    own = None if cluster is None else cluster[swapped]
    differences = {}
    for metric in SWAP_METRICS:
        one, other = (swap_values(metric, column)[swapped] for column in columns)
        differences[metric] = mean_difference(metric, one, other, own, LEAST[metric])
    return differences
