"""Threads that decode ahead of the device, in order and within a bounded number of images."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future

from rate.data.daemon_threads import DaemonThreads
from rate.engine.outcome import Outcome
from rate.errors import SampleError
from rate.types import Prepared, Sample


class Prefetch:
    """The samples in order, each prepared or with its error."""

    def __init__(
        self, samples: Iterable[Sample], prepare: Callable[[Sample], Prepared], threads: int, ahead: int
    ) -> None:
        """Start the threads; ``ahead`` bounds the images that are decoded or being decoded, and so the memory."""
        self._samples = iter(samples)
        self._prepare = prepare
        self._threads = DaemonThreads(threads, "rate-decode")
        self._queue: deque[tuple[Sample, Future[Prepared]]] = deque()
        self._ahead = ahead
        self.waited_s = 0.0  # seconds for which `next` has blocked and the device was idle

    def __enter__(self) -> Prefetch:
        try:
            self._refill()
        except BaseException:  # the first samples may be refused, and then `__exit__` does not run
            self._threads.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._threads.close()

    def next(self) -> Prepared | Outcome | None:
        """Return the next sample, after waiting if necessary; None at the end, which may only be one for now."""
        if not self._queue:
            self._refill()
        if not self._queue:
            return None
        sample, future = self._queue.popleft()
        self._refill()
        began = time.perf_counter()
        try:
            return future.result()
        except SampleError as error:
            return Outcome(sample, error=str(error))
        finally:
            self.waited_s += time.perf_counter() - began

    def _refill(self) -> None:
        while len(self._queue) < self._ahead and (sample := next(self._samples, None)) is not None:
            self._queue.append((sample, self._threads.submit(self._prepare, sample)))
