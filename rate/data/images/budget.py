"""Limits on the pixels that threads decode at once: one for each image, and one for all together."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class PixelBudget:
    """A budget of pixels; a thread waits until the others leave room for its image."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._taken = 0

    @contextmanager
    def taken(self, pixels: int, limit: int) -> Iterator[None]:
        """Reserve ``pixels`` of ``limit`` while the block runs. A larger image is decoded alone."""
        with self._changed:
            self._changed.wait_for(lambda: self._taken == 0 or self._taken + pixels <= limit)
            self._taken += pixels
        try:
            yield
        finally:
            with self._changed:
                self._taken -= pixels
                self._changed.notify_all()


DECODING = PixelBudget()
"""The budget of this process. An image at the limit of `max_pixels` takes about 2 GB until it is cropped."""
