"""The inputs of a graph that hides pixels, and checks of a batch before a device gets it.

A device reads outside a table without an error.
"""

from __future__ import annotations

import numpy as np

from rate.backends.base import Graph
from rate.backends.tokens import check_patches
from rate.errors import BackendError
from rate.kernels.separable import Perturbation
from rate.types import GRID, OUTSIDE, Float32, Int64, Picture, Rows, SoftRegion, UInt8

ROW_INPUTS = ("slot", "fill", "side", "grid", "offset")
"""The inputs that change with every batch; their values are the fields of `Rows`."""

PICTURES = ("pixels", "zero", "scale")
"""The inputs that hold the pictures of the slots: the fields of `Picture`."""

INPUTS = (*PICTURES, "region", *ROW_INPUTS, "table", "a", "b")
"""All inputs in order; `rate.export.graph.perturbed` states their shapes and meaning."""


class HostImages:
    """The pictures and regions of the slots in the memory of the host."""

    def __init__(self, slots: int, size: int) -> None:
        """Make ``slots`` slots for images of ``size`` x ``size`` pixels; without a scale they are the mean colour."""
        self.levels: UInt8 = np.zeros((slots, 3, size, size), np.uint8)
        self.zero: Float32 = np.zeros((slots, 3), np.float32)
        self.scale: Float32 = np.zeros((slots, 3), np.float32)
        self.region: UInt8 = np.zeros((slots, size, size), np.uint8)

    def put(self, slot: int, picture: Picture, region: SoftRegion | None) -> None:
        """Copy a picture and its region; see `Backend.put`."""
        self.levels[slot], self.zero[slot], self.scale[slot] = picture.levels, picture.zero, picture.scale
        self.region[slot] = 0 if region is None else region

    @property
    def feeds(self) -> dict[str, np.ndarray]:
        """Map `PICTURES` and the region to their values."""
        return dict(zip((*PICTURES, "region"), (self.levels, self.zero, self.scale, self.region), strict=True))

    @property
    def pixels(self) -> Float32:
        """What a model sees of each slot, [i,3,h,w]."""
        return np.asarray((self.levels - self.zero[:, :, None, None]) * self.scale[:, :, None, None])


class HostBackend:
    """The part of a `Backend` that keeps images, regions and the table of masks in the memory of the host."""

    def __init__(self, graph: Graph) -> None:
        self._graph, self._heads, self._tokens = graph, graph.heads, graph.patches is not None

    def bind(self, perturbation: Perturbation, slots: int) -> None:
        """See `Backend`."""
        check_fits(self._graph, perturbation, slots)
        self._perturbation, self._slots = perturbation, slots
        self._images = HostImages(slots, perturbation.size)
        self._resident = self._images.feeds
        if self._tokens:
            del self._resident["region"]
        else:
            self._resident |= perturbation_feeds(perturbation)

    def put(self, slot: int, picture: Picture, region: SoftRegion | None = None) -> None:
        """See `Backend`."""
        self._images.put(slot, picture, region)


def row_feeds(rows: Rows) -> dict[str, np.ndarray]:
    """Map every one of `ROW_INPUTS` to its value."""
    return {name: getattr(rows, name) for name in ROW_INPUTS}


def perturbation_feeds(perturbation: Perturbation) -> dict[str, np.ndarray]:
    """Map the inputs of a family of masks to their values."""
    return {
        "table": np.ascontiguousarray(perturbation.table),
        "a": np.array(perturbation.a, np.float32),
        "b": np.array(perturbation.b, np.float32),
    }


def clean_rows(perturbation: Perturbation, slot: Int64) -> Rows:
    """Make rows that show the whole image of each of the slots [b]."""
    count = len(slot)
    grid = np.repeat(perturbation.clean[None], count, axis=0)
    return Rows(slot, grid, np.zeros((count, 2), np.int64), slot.copy(), np.full(count, GRID, np.int64))


def check_rows(rows: Rows, perturbation: Perturbation, slots: int) -> None:
    """Refuse a batch that a runtime would misread.

    Raises:
        BackendError: no rows, an array of another shape or type than ``perturbation`` needs, a slot or fill at or
            above ``slots``, an unknown side, or an offset beyond the table.
    """
    count, side = len(rows), perturbation.side
    for name, array, shape, dtype, below in (
        ("slot", rows.slot, (count,), np.int64, slots),
        ("fill", rows.fill, (count,), np.int64, slots),
        ("side", rows.side, (count,), np.int64, OUTSIDE + 1),
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


def check_fits(graph: Graph, perturbation: Perturbation, slots: int) -> None:
    """Refuse masks of another size than the graph's, and an allocation without slots.

    Raises:
        BackendError: the message names both sizes.
    """
    if perturbation.size != graph.size:
        raise BackendError(f"{graph.path} takes {graph.size} pixels, the masks are made for {perturbation.size}")
    check_patches(graph, perturbation)
    check_slots(slots)


def check_slots(slots: int) -> None:
    """Refuse room for no image at all.

    Raises:
        BackendError: says so.
    """
    if slots < 1:
        raise BackendError(f"at least one resident image is needed, got {slots} slots")
