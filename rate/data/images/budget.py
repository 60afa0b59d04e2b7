"""Pixels that all threads of a process decode at once: each image has a limit, and so have all of them together."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class PixelBudget:
    """Threads wait until what the others are decoding leaves room for theirs."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._taken = 0

    @contextmanager
    def taken(self, pixels: int, limit: int) -> Iterator[None]:
        """Hold ``pixels`` of ``limit`` while the block runs. An image that is larger than the limit goes alone."""
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
"""Of this process. An image at the limit of `max_pixels` takes about 2 GB while it becomes a crop."""
