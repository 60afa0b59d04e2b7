"""Pictures, swaps and maps as data URIs, as small as a page needs them."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable

import numpy as np
from PIL import Image

from rate.report.heatmap import colour
from rate.types import Float64

PICTURE_BYTES = 6_500
"""The size limit of a picture, bytes; its quality is reduced until it fits."""

_TRIES = ((224, 75), (224, 50), (224, 30), (160, 40), (112, 30))
"""Pairs (side in pixels, WebP quality), best first."""

SHEET_BYTES = 5_000
"""The size limit of the swaps of a card, bytes."""

_SHEET_TRIES = ((1.0, 60), (1.0, 40), (0.75, 40), (0.75, 25), (0.5, 25))
"""Pairs (share of the size, WebP quality), best first."""

LEVELS = 48
"""The number of colours of a map; finer steps are not visible on a picture."""


def picture_uri(picture: Image.Image) -> str:
    """Encode a square picture as WebP."""
    sides = ((min(side, picture.width), quality) for side, quality in _TRIES)
    return _webp_uri(picture, (((side, side), quality) for side, quality in sides), PICTURE_BYTES)


def sheet_uri(sheet: Image.Image) -> str:
    """Encode swaps as WebP."""
    tries = (((round(share * sheet.width), round(share * sheet.height)), quality) for share, quality in _SHEET_TRIES)
    return _webp_uri(sheet, tries, SHEET_BYTES)


def _webp_uri(picture: Image.Image, tries: Iterable[tuple[tuple[int, int], int]], limit: int) -> str:
    for size, quality in tries:
        small = picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        small.save(buffer, "WEBP", quality=quality, method=4)
        if buffer.tell() <= limit:
            break
    return _uri("image/webp", buffer)


def heat_uri(heat: Float64) -> str:
    """Encode a map [h,w] in [0, 1] as a PNG with colour and opacity: strong evidence covers the picture."""
    strength = np.linspace(0, 1, LEVELS)
    image = Image.fromarray((heat * (LEVELS - 1)).round().astype(np.uint8))
    image.putpalette(colour(strength[None])[0].round().astype(np.uint8).tobytes())
    opacity = (255 * (0.12 + 0.8 * strength)).round().astype(np.uint8)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True, transparency=opacity.tobytes())
    return _uri("image/png", buffer)


def _uri(kind: str, buffer: io.BytesIO) -> str:
    return f"data:{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
