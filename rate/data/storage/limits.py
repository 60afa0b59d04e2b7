"""Limits on the memory and time of one image, and on the pixels of all threads together.

Environment variables change them for every command.

    RATE_MAX_BYTES        largest image file that is read, bytes
    RATE_MAX_PIXELS       largest image that is decoded, or made by the resize, pixels
    RATE_REMOTE_SECONDS   longest silence of a remote storage, seconds
    RATE_ACCESS_SECONDS   longest wait for credentials that a remote storage accepts, seconds

Workers on other machines read the environment of their machine.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rate.errors import ConfigError

MAX_BYTES = 1 << 30
"""The default is about the size of an uncompressed image at the pixel limit."""

MAX_PIXELS = 178_956_970
"""Pillow's own limit for decompression bombs."""

REMOTE_SECONDS = 60.0
"""The longest time of an image's read, or of a shard's download without progress."""

ACCESS_SECONDS = 300.0
"""The time for which credentials that have expired may be renewed before a run ends."""

REMOTE_READS = 32
"""The usual number of reads of remote objects at once: a read is a round trip, in which its thread only waits."""

LINE_CHARS = 16 << 20
"""The longest line of a manifest, enough for a million boxes. Python's reader limits CSV cells further."""


def max_bytes() -> int:
    """Return the size of the largest image file, bytes.

    Raises:
        ConfigError: RATE_MAX_BYTES is no positive whole number.
    """
    return int(_positive("RATE_MAX_BYTES", MAX_BYTES))


def max_pixels() -> int:
    """Return the size of the largest image, pixels.

    Raises:
        ConfigError: RATE_MAX_PIXELS is no positive whole number.
    """
    return int(_positive("RATE_MAX_PIXELS", MAX_PIXELS))


def remote_seconds() -> float:
    """Return the longest silence of a remote storage, seconds.

    Raises:
        ConfigError: RATE_REMOTE_SECONDS is no positive number.
    """
    return _positive("RATE_REMOTE_SECONDS", REMOTE_SECONDS, float)


def access_seconds() -> float:
    """Return the longest wait for credentials that a remote storage accepts, seconds.

    Raises:
        ConfigError: RATE_ACCESS_SECONDS is no positive number.
    """
    return _positive("RATE_ACCESS_SECONDS", ACCESS_SECONDS, float)


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


DECODERS = 4
"""The largest number of images that are decoded at once: threads that wait for a storage may be many more."""


class PixelBudget:
    """A budget of pixels and of images; a thread waits until the others leave room for its image."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._taken = self._images = 0

    @contextmanager
    def taken(self, pixels: int, limit: int) -> Iterator[None]:
        """Reserve ``pixels`` of ``limit`` while the block runs. A larger image is decoded alone."""
        with self._changed:
            self._changed.wait_for(
                lambda: not self._images or (self._images < DECODERS and self._taken + pixels <= limit)
            )
            self._taken += pixels
            self._images += 1
        try:
            yield
        finally:
            with self._changed:
                self._taken -= pixels
                self._images -= 1
                self._changed.notify_all()


DECODING = PixelBudget()
"""The budget of this process. An image at the limit of `max_pixels` takes about 2 GB until it is cropped."""
