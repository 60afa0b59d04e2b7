"""Threads that read and decode ahead of the device, in order and within a bounded number of images.

A local file takes a decoder's time and few threads; a remote object takes a round trip, during which a thread waits.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future

from rate.data.daemon_threads import DaemonThreads
from rate.data.pins import is_remote
from rate.data.storage.limits import REMOTE_READS
from rate.engine.outcome import Outcome
from rate.errors import SampleError
from rate.types import Prepared, Sample


class Prefetch:
    """The samples in order, each prepared or with its error."""

    def __init__(
        self, samples: Iterable[Sample], prepare: Callable[[Sample], Prepared], threads: int, ahead: int, io: int = 0
    ) -> None:
        """Start the threads.

        Args:
            samples: the samples in their order.
            prepare: reads and decodes one of them.
            threads: the number of reads at once while all files are local.
            ahead: bounds the images that are decoded or being decoded, and so the memory.
            io: the number of reads at once, whatever is read; 0 = ``threads``, and `REMOTE_READS` of remote objects.
        """
        self._samples = iter(samples)
        self._prepare = prepare
        self._threads = DaemonThreads(io or threads, "rate-decode")
        self._queue: deque[tuple[Sample, Future[Prepared]]] = deque()
        self._ahead = ahead
        self._remote_reads = io or REMOTE_READS
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

    def batches(self, size: int) -> Iterator[tuple[list[Prepared], list[Outcome], float]]:
        """Yield up to ``size`` samples at once: the prepared ones, those with an error, and the seconds of waiting."""
        while True:
            waited_s, ready, failed = self.waited_s, list[Prepared](), list[Outcome]()
            while len(ready) + len(failed) < size and (one := self.next()) is not None:
                ready.append(one) if isinstance(one, Prepared) else failed.append(one)
            if not ready and not failed:
                return
            yield ready, failed, self.waited_s - waited_s

    def _refill(self) -> None:
        while len(self._queue) < self._ahead and (sample := next(self._samples, None)) is not None:
            if is_remote(sample):
                self._threads.grow(self._remote_reads)
                self._ahead = max(self._ahead, self._remote_reads)
            self._queue.append((sample, self._threads.submit(self._prepare, sample)))
