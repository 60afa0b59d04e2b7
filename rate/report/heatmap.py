"""Evidence as pictures: the model's view of an image beside the same view with its evidence, and swaps as a sheet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from rate.types import Bool, Float64, SoftRegion, UInt8

_RAMP = np.array([(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], np.float64)
"""Anchors of a dark-to-light ramp that is monotonic in grey and for colour-blind readers."""

_OUTLINE = (0, 255, 190)


def picture(view: UInt8, evidence: Float64, region: Bool, side: int = 448) -> Image.Image:
    """Draw two panels with the outline of the region: the model's view, and the same with its evidence.

    Args:
        view: [h,w,3] the model's input before its normalisation.
        evidence: [h,w] >= 0; its maximum is drawn at full intensity.
        region: [h,w]; an empty region draws no outline.
        side: the side of a panel, pixels.
    """
    peak = evidence.max()
    strength = evidence / peak if peak > 0 else np.zeros_like(evidence)
    opacity = 0.25 + 0.55 * strength[..., None]
    heat = ((1 - opacity) * view + opacity * colour(strength)).round().astype(np.uint8)
    panels = [
        np.asarray(Image.fromarray(panel).resize((side, side), Image.Resampling.BICUBIC)) for panel in (view, heat)
    ]
    drawn = np.stack(panels)
    drawn[:, _outline(region, side)] = _OUTLINE
    return Image.fromarray(np.concatenate(list(drawn), axis=1))


def colour(strength: Float64) -> Float64:
    """Map intensities [h,w] in [0, 1] to colours [h,w,3] in [0, 255]."""
    anchors = np.linspace(0, 1, len(_RAMP))
    return np.stack([np.interp(strength, anchors, _RAMP[:, channel]) for channel in range(3)], axis=-1)


def _outline(region: Bool, side: int) -> Bool:
    """Mark [side,side] the inner border of the region, two pixels wide."""
    nearest = np.arange(side) * len(region) // side
    large = region[np.ix_(nearest, nearest)]
    inner = np.pad(large, 2, constant_values=False)
    shifted = [inner[2 + dy : 2 + dy + side, 2 + dx : 2 + dx + side] for dy in (-2, 0, 2) for dx in (-2, 0, 2)]
    return np.asarray(large & ~np.logical_and.reduce(shifted))


GAP = 2
"""The pixels between two swaps; they are transparent."""


def swapped(view: UInt8, other: UInt8, region: SoftRegion, hidden: SoftRegion | None = None) -> tuple[UInt8, UInt8]:
    """Compose two pictures [h,w,3]: ``view`` in the region with ``other`` around it, and ``other`` in the region.

    ``hidden`` is where the second one shows ``other``, if that is more than the region.

    >>> view, other = np.full((1, 1, 3), 200, np.uint8), np.full((1, 1, 3), 100, np.uint8)
    >>> [int(one[0, 0, 0]) for one in swapped(view, other, np.full((1, 1), 204, np.uint8))]
    [180, 120]
    """
    shown, taken = (one[..., None] / 255.0 for one in (region, region if hidden is None else hidden))
    inside = shown * view + (1.0 - shown) * other
    outside = (1.0 - taken) * view + taken * other
    return inside.round().astype(np.uint8), outside.round().astype(np.uint8)


def swap_sheet(view: UInt8, others: Sequence[UInt8], cuts: Sequence[SoftRegion], side: int) -> Image.Image:
    """Draw the swaps of ``view`` [h,w,3] with each of the others: above, its region on them; below, them in its region.

    ``cuts`` are those of `rate.kernels.region.cuts_of_swaps`. Each swap has ``side`` pixels; there is a gap between
    them.
    """
    step = side + GAP
    sheet = Image.new("RGBA", (step * len(others) - GAP, step * 2 - GAP))
    for column, other in enumerate(others):
        for row, drawn in enumerate(swapped(view, other, *cuts)):
            small = Image.fromarray(drawn).resize((side, side), Image.Resampling.LANCZOS)
            sheet.paste(small, (column * step, row * step))
    return sheet


def beneath(drawn: Image.Image, sheet: Image.Image) -> Image.Image:
    """Put ``sheet`` below a picture, on white, with a gap."""
    whole = Image.new("RGB", (max(drawn.width, sheet.width), drawn.height + GAP + sheet.height), "white")
    whole.paste(drawn, (0, 0))
    whole.paste(sheet, (0, drawn.height + GAP), sheet)
    return whole
