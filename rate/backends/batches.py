"""Batches as a device wants them: well formed, and of one size, so that memory and plans for it are made once."""

from __future__ import annotations

import numpy as np

from rate.errors import BackendError
from rate.types import Rows


def check_rows(rows: Rows, side: int) -> None:
    """Refuse a batch whose arrays a runtime would misread.

    Raises:
        BackendError: an array of another shape or type than grids of ``side`` x ``side`` need.
    """
    count = len(rows)
    expected: dict[str, tuple[np.ndarray, tuple[int, ...], type[np.generic]]] = {
        "slot": (rows.slot, (count,), np.int64),
        "grid": (rows.grid, (count, side, side), np.float32),
        "offset": (rows.offset, (count, 2), np.int64),
    }
    for name, (array, shape, dtype) in expected.items():
        if array.shape != shape or array.dtype != dtype:
            raise BackendError(
                f"{name} must be {np.dtype(dtype)} {shape}, got {array.dtype} {array.shape}: the batch is malformed"
            )


class Padding:
    """Brings every batch to the size of the largest one so far, for what is made once for a size and costs.

    All batches of a run have one size but its first and, in f32, its last ones: two sizes are left.
    """

    def __init__(self) -> None:
        self._size = 0

    def fit(self, rows: Rows) -> Rows:
        """``rows``, repeated from the first one on where there are too few; the caller drops what is too much."""
        self._size = max(self._size, len(rows))
        if len(rows) == self._size:
            return rows
        at = np.resize(np.arange(len(rows)), self._size)
        return Rows(rows.slot[at], rows.grid[at], rows.offset[at])
