"""Checks of a batch before a device gets it, since a device reads outside a table without an error."""

from __future__ import annotations

import numpy as np

from rate.errors import BackendError
from rate.kernels.separable import Perturbation
from rate.types import Rows


def check_rows(rows: Rows, perturbation: Perturbation, slots: int) -> None:
    """Refuse a batch that a runtime would misread.

    Raises:
        BackendError: no rows, an array of another shape or type than ``perturbation`` needs, a slot at or above
            ``slots``, or an offset beyond the table.
    """
    count, side = len(rows), perturbation.side
    for name, array, shape, dtype, below in (
        ("slot", rows.slot, (count,), np.int64, slots),
        ("grid", rows.grid, (count, side, side), np.float32, None),
        ("offset", rows.offset, (count, 2), np.int64, perturbation.offsets),
    ):
        if array.shape != shape or array.dtype != dtype or count == 0:
            raise BackendError(
                f"{name} must be {np.dtype(dtype)} {shape} with at least one row, got {array.dtype} {array.shape}: "
                "the batch is malformed"
            )
        if below is not None and not (array.min() >= 0 and array.max() < below):
            raise BackendError(
                f"{name} must lie from 0 to {below - 1}, got {array.min()} to {array.max()}: the batch is malformed"
            )


def check_slots(slots: int) -> None:
    """Refuse room for no image at all.

    Raises:
        BackendError: says so.
    """
    if slots < 1:
        raise BackendError(f"at least one resident image is needed, got {slots} slots")
