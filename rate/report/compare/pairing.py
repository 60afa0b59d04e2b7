"""Rows of two heads side by side: joined by id, as codes of states and of groups."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rate.errors import RunError
from rate.paired import STATES
from rate.report.heads import HeadRun
from rate.types import Bool, Int64


def in_common(first: HeadRun, second: HeadRun) -> tuple[pa.Table, pa.Table]:
    """Rows of both in the order of the first; those with an id that the other lacks are left out.

    Raises:
        RunError: there is no sample in common.
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
    """Codes [n] in `STATES` of the rows of one head, under the rule of their run."""
    wrong, invalid = ~_holds(rows["correct"]), ~_holds(rows["valid"])
    quadrant = 2 * wrong.astype(np.int64) + invalid
    undefined = STATES.index("undefined_right") + wrong
    judged = np.where(_holds(pc.is_null(rows["valid"])), undefined, quadrant)
    return np.where(_holds(pc.is_valid(rows["error"])), STATES.index("error"), judged).astype(np.int64)


def group_codes(column: pa.ChunkedArray) -> Int64 | None:
    """Codes [n] in 0 .. g-1, a new one for every sample without a group; None where no sample has one."""
    if column.null_count == len(column):
        return None
    codes = column.combine_chunks().dictionary_encode().indices
    alone = _holds(pc.is_null(column))
    found = np.asarray(pc.fill_null(codes, 0).to_numpy(zero_copy_only=False), np.int64)
    found[alone] = found[~alone].max() + 1 + np.arange(alone.sum())
    return found


def _holds(column: pa.ChunkedArray) -> Bool:
    return np.asarray(pc.fill_null(column, False).to_numpy(), np.bool_)
