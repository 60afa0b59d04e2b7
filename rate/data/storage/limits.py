"""How much of memory and time one image may take. An environment variable changes each, for every command.

RATE_MAX_BYTES        largest image file that is read, bytes
RATE_MAX_PIXELS       largest image that is decoded, or made by the resize, pixels
RATE_REMOTE_SECONDS   longest silence of a remote storage, seconds

Workers on other machines read the environment of their machine.
"""

from __future__ import annotations

import math
import os

from rate.errors import ConfigError

MAX_BYTES = 1 << 30
"""An uncompressed image at the pixel limit is about as large."""

MAX_PIXELS = 178_956_970
"""Where Pillow, too, refuses a decompression bomb."""

REMOTE_SECONDS = 60.0
"""A read of an image that takes longer, or a fetch of a shard that does not grow for so long, has failed."""

LINE_CHARS = 16 << 20
"""Longest line of a manifest: a million boxes. A CSV cell is shorter, as Python's reader limits it."""


def max_bytes() -> int:
    """Largest image file, bytes.

    Raises:
        ConfigError: RATE_MAX_BYTES is no positive whole number.
    """
    return int(_positive("RATE_MAX_BYTES", MAX_BYTES))


def max_pixels() -> int:
    """Largest image, pixels.

    Raises:
        ConfigError: RATE_MAX_PIXELS is no positive whole number.
    """
    return int(_positive("RATE_MAX_PIXELS", MAX_PIXELS))


def remote_seconds() -> float:
    """Longest silence of a remote storage, seconds.

    Raises:
        ConfigError: RATE_REMOTE_SECONDS is no positive number.
    """
    return _positive("RATE_REMOTE_SECONDS", REMOTE_SECONDS, float)


def _positive(name: str, default: float, kind: type[int] | type[float] = int) -> float:
    text = os.environ.get(name)
    if not text:
        return default
    try:
        value = kind(text)
    except ValueError:
        value = 0
    if not 0 < value < math.inf:
        what = "whole number" if kind is int else "number"
        raise ConfigError(f"{name} must be a positive {what}, got {text!r}; without it the limit is {default:,}")
    return value
