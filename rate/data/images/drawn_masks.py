"""Masks that annotations draw: polygons, and run lengths in COCO's format."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rate.types import Bool, Float64, Int64

MOST_CROSSINGS = 10_000_000
"""The largest number of crossings of edges with rows of pixels in one image, which takes some seconds and half a GB."""


def polygon_mask(corners: Float64, size: tuple[int, int]) -> Bool:
    """Mark [height,width] the pixels whose centre lies inside a polygon, by the even-odd rule; see `union_mask`."""
    return union_mask([corners], size)


def union_mask(polygons: Sequence[Float64], size: tuple[int, int]) -> Bool:
    """Mark [height,width] the pixels whose centre lies inside one of the polygons, each by the even-odd rule.

    Args:
        polygons: each [p,2] x and y in pixels, 0 = left or upper border of the image; the last point joins the first.
        size: width and height of the image, pixels.

    Raises:
        ValueError: the polygons have too many edges; the message continues "its polygons".
    """
    width, height = size
    if (count := sum(_count(corners, height) for corners in polygons)) > MOST_CROSSINGS:
        raise ValueError(f"cross {count:,} rows of pixels, the limit is {MOST_CROSSINGS:,}; simplify the outlines")
    steps = np.zeros((height, width + 1), np.int32)  # number of polygons entered minus polygons left, along a row
    for corners in polygons:
        rows, at = _crossings(corners, size)
        order = np.lexsort((at, rows))  # the crossings of a row alternate: in, out, in, out
        rows, at = rows[order], at[order]
        np.add.at(steps, (rows[0::2], at[0::2]), 1)
        np.add.at(steps, (rows[1::2], at[1::2]), -1)
    np.cumsum(steps, axis=1, out=steps)
    return np.asarray(steps[:, :width] > 0)


def _count(corners: Float64, height: int) -> int:
    ends = corners[:, 1].clip(0, height)
    return int(np.abs(np.roll(ends, -1) - ends).sum())


def _crossings(corners: Float64, size: tuple[int, int]) -> tuple[Int64, Int64]:
    """Locate the crossings of edges with the middles of rows: [m] rows, and [m] the first column whose centre is to the
    right.
    """
    width, height = size
    rows, columns = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        first, end = (int(np.ceil(y - 0.5).clip(0, height)) for y in (min(y0, y1), max(y0, y1)))
        if first < end:
            crossed = np.arange(first, end)
            at = x0 + (crossed + 0.5 - y0) * (x1 - x0) / (y1 - y0)
            rows.append(crossed)
            columns.append(np.ceil(at - 0.5).clip(0, width).astype(np.int64))
    return np.concatenate(rows), np.concatenate(columns)


def rle_mask(counts: str | Sequence[int], width: int, height: int) -> Bool:
    """Decode COCO's run lengths to [height,width]: down the columns, background first; ``counts`` as text is
    compressed.

    Raises:
        ValueError: the runs are malformed or do not fill the image; the message continues "its run lengths".
    """
    runs = _decompressed(counts) if isinstance(counts, str) else np.asarray(counts, np.int64)
    if ((runs < 0) | (runs > width * height)).any() or int(runs.sum()) != width * height:
        raise ValueError(f"do not fill an image of {width} x {height} pixels")
    values = np.zeros(len(runs), np.bool_)
    values[1::2] = True
    return np.repeat(values, runs).reshape(width, height).T


def _decompressed(text: str) -> Int64:
    """Decode little-endian groups of 5 bits plus a continuation bit, plus 48; from the fourth on, add the value two
    before.

    This is the format of `rleToString` in the COCO API.
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
