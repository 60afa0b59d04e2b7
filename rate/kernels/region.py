"""Regions with a margin and a soft edge, so that the edge does not draw the outline of the object."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated

import numpy as np

from rate.types import Float32, Int64, Region, SoftRegion


def cut_of_swaps(region: Region, boxed: bool, margin: float, ramp: float) -> SoftRegion:
    """Return the region along which swaps cut a picture: a mask is grown, since its edge draws the object's outline.

    >>> region = np.eye(8, dtype=bool)
    >>> float(cut_of_swaps(region, True, 0.125, 0).sum()), float(cut_of_swaps(region, False, 0.125, 0).sum())
    (8.0, 22.0)

    Args:
        region: [h,w].
        boxed: whether it is of boxes, which stay as they are.
        margin: see `soften_region`, as a share of the side.
        ramp: likewise.
    """
    side = len(region)
    return region.astype(np.float32) if boxed else soften_region(region, margin * side, ramp * side)


def soften_region(region: Region, margin: float, ramp: float) -> SoftRegion:
    """Weight pixels by their distance to a region: 1 up to ``margin`` pixels, then a linear fall to 0 over ``ramp``.

    Distances are Euclidean, in pixels, between the centres of pixels. Where both lengths are 0 the region is unchanged.

    >>> soften_region(np.array([[True, False, False, False]]), margin=1, ramp=2)
    array([[1. , 1. , 0.5, 0. ]], dtype=float32)
    """
    radius = int(np.ceil(margin + ramp))
    if radius <= 0 or not region.any():
        return region.astype(np.float32)
    squared = _squared_distance(region, radius)
    distance = np.sqrt(squared)
    if ramp <= 0:
        return (distance <= margin).astype(np.float32)
    return np.clip((margin + ramp - distance) / ramp, 0.0, 1.0).astype(np.float32)


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


def _squared_distance(region: Region, radius: int) -> Annotated[Float32, "h w"]:
    """Square the distance to the nearest pixel of the region; beyond ``radius`` pixels the value is merely larger.

    The minimum is taken over one axis after the other, which is exact and costs little where the radius is small.
    """
    distance = np.where(region, np.float32(0), np.float32((radius + 1) ** 2 * 2))
    for axis in (0, 1):
        nearest = distance.copy()
        for step in range(1, radius + 1):
            cost = np.float32(step * step)
            ahead = tuple(slice(step, None) if k == axis else slice(None) for k in (0, 1))
            behind = tuple(slice(None, -step) if k == axis else slice(None) for k in (0, 1))
            if distance[ahead].size == 0:
                break
            np.minimum(nearest[behind], distance[ahead] + cost, out=nearest[behind])
            np.minimum(nearest[ahead], distance[behind] + cost, out=nearest[ahead])
        distance = nearest
    return distance
