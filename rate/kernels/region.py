"""Regions with a margin and a soft edge, so that the edge does not draw the outline of the object."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from rate.types import Float32, Region, SoftRegion


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
