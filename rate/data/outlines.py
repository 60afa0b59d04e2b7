"""Regions written as outlines or run lengths, as arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from rate.types import Bool, Int64


def polygon_mask(corners: Sequence[float], width: int, height: int) -> Bool:
    """[height,width] True where a pixel's centre lies inside the polygon, by the even-odd rule.

    The rule of boxes: pixel (0, 0) is [0, 1) x [0, 1), and a centre on a left or upper edge is inside, on a right or
    lower edge outside. Polygons that share an edge share no pixel.

    Args:
        corners: x0, y0, x1, y1, ... in pixels; the last corner is joined to the first; may leave the image.
    """
    points = np.asarray(corners, np.float64).reshape(-1, 2)
    crossings = np.zeros((height, width + 1), np.bool_)  # an odd number of edges crosses the row before this centre
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if y0 > y1:
            x0, y0, x1, y1 = x1, y1, x0, y0
        first, last = (math.ceil(min(max(y - 0.5, 0.0), height)) for y in (y0, y1))
        rows = np.arange(first, last)
        x = x0 + (rows + 0.5 - y0) * ((x1 - x0) / (y1 - y0)) if len(rows) else rows
        columns = np.ceil(np.clip(x - 0.5, 0.0, width)).astype(np.int64)
        crossings[rows, columns] ^= True
    return np.asarray(np.logical_xor.accumulate(crossings, axis=1)[:, :width])


def rle_mask(counts: str | Sequence[int], width: int, height: int) -> Bool:
    """[height,width] of COCO's run lengths: down the columns, background first; compressed when ``counts`` is a text.

    Raises:
        ValueError: the runs are malformed or do not fill the image; reads on from "its run lengths".
    """
    runs = _decompressed(counts) if isinstance(counts, str) else np.asarray(counts, np.int64)
    if ((runs < 0) | (runs > width * height)).any() or int(runs.sum()) != width * height:
        raise ValueError(f"do not fill an image of {width} x {height} pixels")
    values = np.zeros(len(runs), np.bool_)
    values[1::2] = True
    return np.repeat(values, runs).reshape(width, height).T


def _decompressed(text: str) -> Int64:
    """Little-endian groups of 5 bits, a sixth for "more follows", plus 48; from the fourth on, less the one two before.

    The form of `rleToString` in the COCO API.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError(f"are not compressed counts: {text[:40]!r}")
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError(f"break off: {text[-40:]!r}")
    if any(abs(run) >= 1 << 62 for run in runs):
        raise ValueError("hold a number beyond 64 bits")
    return np.asarray(runs, np.int64)
