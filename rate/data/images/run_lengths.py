"""Masks as run lengths in COCO's format."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rate.types import Bool, Int64


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
