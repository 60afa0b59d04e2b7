"""Regions with a margin and a soft edge, so that the edge does not draw the outline of the object."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated

import numpy as np

from rate.types import Bool, Float32, Int64, Region, SoftRegion, UInt8


def cut_of_swaps(region: Region, boxed: bool, margin: float, ramp: float) -> SoftRegion:
    """Return the region along which swaps cut a picture: a mask is grown, since its edge draws the object's outline.

    >>> region = np.eye(8, dtype=bool)
    >>> [int((cut_of_swaps(region, boxed, 0.125, 0) == 255).sum()) for boxed in (True, False)]
    [8, 22]

    Args:
        region: [h,w].
        boxed: whether it is of boxes, which stay as they are.
        margin: see `soften_region`, as a share of the side.
        ramp: likewise.
    """
    side = len(region)
    return region * np.uint8(255) if boxed else soften_region(region, margin * side, ramp * side)


def cuts_of_swaps(
    region: Region, ignored: Region | None, boxed: bool, margin: float, ramp: float
) -> tuple[SoftRegion, ...]:
    """Return what swaps show of the region and, where pixels are ignored, what they hide of the rest.

    A pixel is shown with the region, or with the rest, where it is that side's whether the ignored pixels are object or
    not. So an ignored pixel within the margin of the region is cut with it, as a pixel of the rest there is, and one
    beyond is shown with neither side.

    >>> region, ignored = np.array([[True, False, False, False]]), np.array([[False, False, True, False]])
    >>> [cut.tolist() for cut in cuts_of_swaps(region, ignored, boxed=False, margin=0, ramp=0)]
    [[[255, 0, 0, 0]], [[255, 0, 255, 0]]]

    Args:
        region: [h,w].
        ignored: pixels [h,w] of neither side; None = there are none.
        boxed: see `cut_of_swaps`.
        margin: likewise.
        ramp: likewise.
    """
    sides = (region,) if ignored is None else (region, region | ignored)
    return tuple(cut_of_swaps(side, boxed, margin, ramp) for side in sides)


def soften_region(region: Region, margin: float, ramp: float) -> SoftRegion:
    """Weight pixels by their distance to a region: 1 up to ``margin`` pixels, then a linear fall to 0 over ``ramp``.

    Distances are Euclidean, in pixels, between the centres of pixels. Where both lengths are 0 the region is unchanged.
    Weights are rounded to 255ths, as devices hold them.

    >>> soften_region(np.array([[True, False, False, False]]), margin=1, ramp=2)
    array([[255, 255, 128,   0]], dtype=uint8)
    """
    radius = int(np.ceil(margin + ramp))
    if radius <= 0 or not region.any():
        return region * np.uint8(255)
    weights = np.zeros(region.shape, np.uint8)
    near = tuple(_reached(np.asarray(region.any(axis=axis)), radius) for axis in (1, 0))
    weights[near] = _weights(margin, ramp, radius)[_squared_distance(region[near], radius)]
    return weights


def _reached(along: Annotated[Bool, "n"], radius: int) -> slice:
    """Return the part of an axis that is within ``radius`` pixels of a region, of which ``along`` marks the extent."""
    at = np.flatnonzero(along)
    return slice(max(int(at[0]) - radius, 0), int(at[-1]) + 1 + radius)


@lru_cache(maxsize=8)
def _weights(margin: float, ramp: float, radius: int) -> Annotated[UInt8, "d"]:
    """Compute the weight of every squared distance that `_squared_distance` returns."""
    distance = np.sqrt(np.arange(2 * _far(radius) + 1))
    weights = np.clip((margin + ramp - distance) / ramp, 0.0, 1.0) if ramp > 0 else distance <= margin
    return np.rint(255.0 * weights).astype(np.uint8)


def _far(radius: int) -> int:
    """Return a squared distance that stands for all beyond ``radius`` along both axes."""
    return 2 * (radius + 1) ** 2


SKETCH = 32
"""The side of a `sketch`."""

HIDDEN_STEPS = 8
"""Shares hidden are told apart in this many steps, so that chance orders pictures that are hidden alike."""


def sketch(region: Region) -> Annotated[Float32, "s s"]:
    """Compute the share of each of `SKETCH` x `SKETCH` blocks that lies in a region; a smaller one stays as it is.

    >>> sketch(np.array([[True, False], [False, False]]))
    array([[1., 0.],
           [0., 0.]], dtype=float32)
    """
    if len(region) <= SKETCH:
        return region.astype(np.float32)
    blocks = _blocks(len(region))
    lengths = blocks.sum(axis=1)
    return np.asarray(blocks @ region.astype(np.float32) @ blocks.T / np.outer(lengths, lengths))


@lru_cache(maxsize=8)
def _blocks(side: int) -> Annotated[Float32, "s h"]:
    """Return for each of `SKETCH` blocks 1 at its pixels of ``side``: sums by it are whole numbers, and exact."""
    edges = np.arange(SKETCH + 1) * side // SKETCH
    pixels = np.arange(side)
    return ((pixels >= edges[:-1, None]) & (pixels < edges[1:, None])).astype(np.float32)


def hidden_steps(others: Annotated[Float32, "f s s"], region: Annotated[Float32, "s s"]) -> Annotated[Int64, "f"]:
    """Compute how much of the regions of other pictures ``region`` hides, in steps from 0 to `HIDDEN_STEPS`.

    All arguments are made by `sketch`. A picture without a region has nothing that could be hidden: 0.

    >>> hidden_steps(np.eye(2, dtype=np.float32)[None], np.array([[1, 0], [0, 0]], np.float32))
    array([4])
    """
    sizes = others.sum(axis=(1, 2))
    inside = others.reshape(len(others), -1) @ region.ravel()
    shares = np.divide(inside, sizes, out=np.zeros_like(inside), where=sizes > 0)
    return np.asarray(np.floor(shares * HIDDEN_STEPS + 1e-4), np.int64)


def _squared_distance(region: Region, radius: int) -> Annotated[Int64, "h w"]:
    """Square the distance to the nearest pixel of the region; beyond ``radius`` pixels the value is merely larger.

    The minimum is taken over one axis after the other, which is exact, in the shortest integers that hold it.
    """
    kind = np.int16 if 2 * _far(radius) <= np.iinfo(np.int16).max else np.int32
    distance = np.where(region, kind(0), kind(_far(radius)))
    for axis in (1, 0):
        nearest = distance.copy()
        for step in range(1, min(radius, distance.shape[axis] - 1) + 1):
            cost = distance + kind(step * step)
            ahead = tuple(slice(step, None) if k == axis else slice(None) for k in (0, 1))
            behind = tuple(slice(None, -step) if k == axis else slice(None) for k in (0, 1))
            np.minimum(nearest[behind], cost[ahead], out=nearest[behind])
            np.minimum(nearest[ahead], cost[behind], out=nearest[ahead])
        distance = nearest
    return np.asarray(distance)
