"""Threads that decode ahead of the device, in order and never further than a bounded number of images."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from types import TracebackType

from rate.data.daemon_threads import DaemonThreads
from rate.engine.outcome import Outcome
from rate.errors import SampleError
from rate.types import Prepared, Sample


class Prefetch:
    """The samples in their order: prepared, or with the error that came in the way."""

    def __init__(
        self, samples: Iterable[Sample], prepare: Callable[[Sample], Prepared], threads: int, ahead: int
    ) -> None:
        """``ahead``: images decoded or being decoded before they are asked for; it bounds the memory."""
        self._samples = iter(samples)
        self._prepare = prepare
        self._threads = DaemonThreads(threads, "rate-decode")
        self._queue: deque[tuple[Sample, Future[Prepared]]] = deque()
        self._ahead = ahead
        self.waited_s = 0.0  # time `next` has blocked: the device had nothing to do

    def __enter__(self) -> Prefetch:
        try:
            self._refill()
        except BaseException:  # the first samples may be refused, and then nobody leaves
            self._threads.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.close()

    def next(self) -> Prepared | Outcome | None:
        """The next sample, waiting for it if need be; None at the end."""
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
