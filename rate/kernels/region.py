"""A region made larger and softer, so that its seam does not draw the object's outline."""

from __future__ import annotations

import numpy as np

from rate.types import Bool, Float32


def grown(region: Bool, by: float, soft: float) -> Float32:
    """[h,w] in [0, 1]: 1 up to ``by`` pixels from ``region`` [h,w], falling linearly to 0 over ``soft`` more pixels.

    Distances are Euclidean, between the centres of pixels; 0 of both gives the region as it is.
    """
    reach = int(np.ceil(by + soft))
    if reach <= 0 or not region.any():
        return region.astype(np.float32)
    squared = _squared_distance(region, reach)
    distance = np.sqrt(squared)
    if soft <= 0:
        return (distance <= by).astype(np.float32)
    return np.clip((by + soft - distance) / soft, 0.0, 1.0).astype(np.float32)


def _squared_distance(region: Bool, reach: int) -> Float32:
    """[h,w] squared distance to the nearest pixel of the region; beyond ``reach`` pixels some larger number.

    The minimum over both axes is taken one axis after the other: exact, and as cheap as the reach is small.
    """
    far = np.float32((reach + 1) ** 2 * 2)
    found = np.where(region, np.float32(0), far)
    for axis in (0, 1):
        nearest = found.copy()
        for step in range(1, reach + 1):
            cost = np.float32(step * step)
            ahead = tuple(slice(step, None) if k == axis else slice(None) for k in (0, 1))
            behind = tuple(slice(None, -step) if k == axis else slice(None) for k in (0, 1))
            if found[ahead].size == 0:
                break
            np.minimum(nearest[behind], found[ahead] + cost, out=nearest[behind])
            np.minimum(nearest[ahead], found[behind] + cost, out=nearest[ahead])
        found = nearest
    return found
