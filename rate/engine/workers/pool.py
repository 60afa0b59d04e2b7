"""The samples of a run divided among workers: chunks go out, records come back, and lost chunks go out again.

The owner of the run alone writes: a chunk that was evaluated twice is stored once, whoever died in between.
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
from rate.runs.records import Recorder, Records, RunStats
from rate.types import Samples

LOADS = 3
"""Workers that may die one after the other while they load the model before a run ends: it is then no accident."""


class Pool:
    """A `rate.engine.outcome.Runner` over several workers. Entering it waits until the first one is ready."""

    def __init__(self, workers: Workers, count: int) -> None:
        self._workers, self._count = workers, count
        self._idle: deque[int] = deque()
        self._busy: dict[int, tuple[Chunk, float]] = {}  # with what, and since when
        self._loading: set[int] = set()
        self._failed_loads = 0
        self.backend, self.precision = "", ""  # those of the first worker that is ready, and of all others
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
        while self._busy:  # with chunks of a run that was given up
            self._next()
        chunks, alone = Chunks(samples, len(samples), self._count), replace(job, samples=())
        recorder = Recorder([head.name for head in job.heads], 0)
        while True:
            while self._idle and (chunk := chunks.next()) is not None:
                worker = self._idle.popleft()
                self._workers.send(worker, alone, chunk.samples)
                self._busy[worker] = chunk, time.monotonic()
            if self._idle and not self._busy:  # one waits for a chunk and there is none
                return
            given, event = self._next()
            if given is None:  # a worker was loading
                continue
            chunk, began = given
            if isinstance(event, Records):
                chunks.finished(chunk, time.monotonic() - began)
                # Waiting is of the run's time, not of the workers' times together.
                waiting_s = event.stats.waiting_s / self._count
                yield replace(event, stats=replace(event.stats, waiting_s=waiting_s))
            elif isinstance(event, Lost) and (sample := chunks.lost(chunk)) is not None:
                why = f"{ATTEMPTS} workers died while they evaluated this sample, the last one: {event.why}"
                yield Records((recorder.of_error(sample, why),), RunStats(samples=1))

    def _next(self) -> tuple[tuple[Chunk, float] | None, Event]:
        """What happens next, and the chunk that the worker was at, and since when; None: it was loading.

        Raises:
            RateError: a worker cannot go on, or no worker can be started.
            Defect: a worker ran into a defect.
        """
        worker, event = self._workers.wait()
        if isinstance(event, Failed):
            raise event.error
        if isinstance(event, Lost):
            self._replace(worker, event)
        else:
            self._loading.discard(worker)
            self._failed_loads = 0  # only those in a row count
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
