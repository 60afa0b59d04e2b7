"""The division of a run's samples among workers: chunks are sent, records are returned, and lost chunks are sent again.

Only the owner of the run writes, so a chunk that was evaluated twice is stored once, even if a worker died in between.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from types import TracebackType

from rate.engine.job import Job
from rate.engine.workers.base import Event, Failed, Lost, Ready, Workers
from rate.engine.workers.chunks import ATTEMPTS, Chunk, Chunks
from rate.errors import BackendError
from rate.runs.rows import Recorder, Records, RunStats
from rate.types import Samples

LOADS = 3
"""The number of consecutive workers that may die while loading the model before the run ends."""


class Pool:
    """A `rate.engine.outcome.Runner` over several workers. Entering it waits until the first one is ready."""

    def __init__(self, workers: Workers, count: int) -> None:
        self._workers, self._count = workers, count
        self._idle: deque[int] = deque()
        self._busy: dict[int, tuple[Chunk, float]] = {}  # worker -> its chunk and start time
        self._loading: set[int] = set()
        self._failed_loads = 0
        self.backend, self.precision = "", ""  # of the first ready worker, and therefore of all
        self.notices: tuple[str, ...] = ()

    def __enter__(self) -> Pool:
        """Start the workers.

        Raises:
            RateError: none of them can open a backend.
        """
        self._workers.__enter__()
        try:
            for worker in range(self._count):
                self._start(worker)
            while not self._idle:
                self._next()
        except BaseException as error:
            self._workers.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._workers.__exit__(kind, error, trace)

    def run(self, job: Job, samples: Samples) -> Iterator[Records]:
        """See `Runner`."""
        while self._busy:  # with chunks of an abandoned run
            self._next()
        chunks, alone = Chunks(samples, len(samples), self._count), replace(job, samples=())
        recorder = Recorder([head.name for head in job.heads], 0)
        while True:
            while self._idle and (chunk := chunks.next()) is not None:
                worker = self._idle.popleft()
                self._workers.send(worker, alone, chunk.samples)
                self._busy[worker] = chunk, time.monotonic()
            if self._idle and not self._busy:  # a worker is idle and there is no chunk
                return
            given, event = self._next()
            if given is None:  # the worker was loading
                continue
            chunk, began = given
            if isinstance(event, Records):
                chunks.finished(chunk, time.monotonic() - began)
                # The waiting time is that of the run, not the sum over the workers.
                waiting_s = event.stats.waiting_s / self._count
                yield replace(event, stats=replace(event.stats, waiting_s=waiting_s))
            elif isinstance(event, Lost) and (sample := chunks.lost(chunk)) is not None:
                why = f"{ATTEMPTS} workers died while they evaluated this sample, the last one: {event.why}"
                yield Records((recorder.of_error(sample, why),), RunStats(samples=1))

    def _next(self) -> tuple[tuple[Chunk, float] | None, Event]:
        """Wait for the next event; return it with the worker's chunk and start time, or None if the worker was loading.

        Raises:
            RateError: a worker cannot continue, or no worker can be started.
            Defect: a worker raised an unexpected exception.
        """
        worker, event = self._workers.wait()
        if isinstance(event, Failed):
            raise event.error
        if isinstance(event, Lost):
            self._replace(worker, event)
        else:
            self._loading.discard(worker)
            self._failed_loads = 0  # only consecutive load failures count
            self._idle.append(worker)
        if isinstance(event, Ready):
            self._welcome(event)
        return self._busy.pop(worker, None), event

    def _start(self, worker: int) -> None:
        self._loading.add(worker)
        self._workers.start(worker)

    def _replace(self, worker: int, lost: Lost) -> None:
        self._failed_loads += worker in self._loading
        if self._failed_loads >= LOADS:
            raise BackendError(
                f"{LOADS} workers died while they loaded the model, the last one {lost.why}; "
                f"{self._count} of them may need more memory than there is: use fewer --workers"
            )
        self._start(worker)

    def _welcome(self, ready: Ready) -> None:
        chosen = self.backend, self.precision
        if not self.backend:
            self.backend, self.precision, self.notices = ready.backend, ready.precision, ready.notices
        elif chosen != (ready.backend, ready.precision):
            raise BackendError(
                f"one worker opened {' '.join(chosen)} and another {ready.backend} {ready.precision} "
                f"({'; '.join(ready.notices) or 'nothing was passed over'}); a run has one backend: name it with "
                "--backend and --precision, or use fewer --workers"
            )
