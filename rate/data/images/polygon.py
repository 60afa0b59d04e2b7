"""The inside of a polygon as a mask."""

from __future__ import annotations

import numpy as np

from rate.types import Bool, Float64


def polygon_mask(corners: Float64, size: tuple[int, int]) -> Bool:
    """[height,width] True where the centre of a pixel lies inside, by the even-odd rule.

    Args:
        corners: [p,2] x and y in pixels, 0 = left or upper border of the image; the last joins the first.
        size: width and height of the image, pixels.
    """
    width, height = size
    crossings = np.zeros((height, width + 1), np.int64)
    centres = np.arange(height) + 0.5
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        rows = np.flatnonzero((centres >= min(y0, y1)) & (centres < max(y0, y1)))
        at = x0 + (centres[rows] - y0) * (x1 - x0) / (y1 - y0) if len(rows) else centres[rows]
        crossings[rows, np.ceil(at - 0.5).clip(0, width).astype(np.int64)] += 1
    return np.asarray(crossings.cumsum(axis=1)[:, :width] % 2 == 1)
