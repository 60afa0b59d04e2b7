"""The rows of two heads, joined by id, and the joint tables of their states."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from rate.errors import RunError
from rate.intervals import Units
from rate.paired import Tables, joint, joint_by_cluster
from rate.report.heads import HeadRun
from rate.runs.states import clusters_of
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
