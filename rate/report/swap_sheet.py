"""Swaps as one picture: the region of an image on other pictures, and below each of them that picture in the region."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from rate.types import SoftRegion, UInt8

GAP = 2
"""The pixels between two swaps; they are transparent."""


def swapped(view: UInt8, other: UInt8, region: SoftRegion) -> tuple[UInt8, UInt8]:
    """Compose two pictures [h,w,3]: ``view`` in the region with ``other`` around it, and ``other`` in the region.

    >>> view, other = np.full((1, 1, 3), 200, np.uint8), np.full((1, 1, 3), 100, np.uint8)
    >>> [int(one[0, 0, 0]) for one in swapped(view, other, np.full((1, 1), 0.75, np.float32))]
    [175, 125]
    """
    weight = region[..., None].astype(np.float64)
    inside = weight * view + (1.0 - weight) * other
    outside = (1.0 - weight) * view + weight * other
    return inside.round().astype(np.uint8), outside.round().astype(np.uint8)


def swap_sheet(view: UInt8, others: Sequence[UInt8], region: SoftRegion, side: int) -> Image.Image:
    """Draw the swaps of ``view`` [h,w,3] with each of the others: above, its region on them; below, them in its region.

    Each swap has ``side`` pixels; there is a gap between them.
    """
    step = side + GAP
    sheet = Image.new("RGBA", (step * len(others) - GAP, step * 2 - GAP))
    for column, other in enumerate(others):
        for row, drawn in enumerate(swapped(view, other, region)):
            small = Image.fromarray(drawn).resize((side, side), Image.Resampling.LANCZOS)
            sheet.paste(small, (column * step, row * step))
    return sheet


def beneath(drawn: Image.Image, sheet: Image.Image) -> Image.Image:
    """Put ``sheet`` below a picture, on white, with a gap."""
    whole = Image.new("RGB", (max(drawn.width, sheet.width), drawn.height + GAP + sheet.height), "white")
    whole.paste(drawn, (0, 0))
    whole.paste(sheet, (0, drawn.height + GAP), sheet)
    return whole
