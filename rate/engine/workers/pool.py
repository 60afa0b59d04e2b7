"""The division of a run's samples among workers: chunks are sent, records are returned, and lost chunks are sent again.

Only the owner of the run writes, so a chunk that was evaluated twice is stored once, even if a worker died in between.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from rate.engine.job import Job
from rate.engine.workers.base import Event, Failed, Lost, Ready, Workers
from rate.errors import BackendError
from rate.runs.parts import PART_ROWS
from rate.runs.rows import Records, RunStats, SampleResult
from rate.types import Sample, Samples

CHUNK_SECONDS = 20.0
"""The target time of a chunk: a lost worker loses this much, and idle workers wait up to this long at the end."""

FIRST = 4
"""The number of samples of a chunk until the time of a sample is known."""

ATTEMPTS = 2
"""The number of workers that may die with a chunk before it is halved, or before a single sample is given up."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Samples that one worker evaluates and stores together."""

    samples: tuple[Sample, ...]
    attempts: int = 0  # number of workers that died with it


class Chunks:
    """Divides samples into chunks of about equal time."""

    def __init__(self, samples: Iterable[Sample], total: int, workers: int) -> None:
        """Divide ``total`` samples; the number may be approximate and only shapes the last chunks."""
        self._samples, self._left, self._workers = iter(samples), total, workers
        self._again: deque[Chunk] = deque()
        self._seconds = 0.0
        self._done = 0

    def next(self) -> Chunk | None:
        """Return the next chunk, lost ones first; None = there is none at the moment."""
        if self._again:
            return self._again.popleft()
        taken = tuple(itertools.islice(self._samples, self._size()))
        self._left -= len(taken)
        return Chunk(taken) if taken else None

    def finished(self, chunk: Chunk, seconds: float) -> None:
        """Update the time of a sample with that of a chunk."""
        self._done += len(chunk.samples)
        self._seconds += seconds

    def lost(self, chunk: Chunk) -> Sample | None:
        """Take back a chunk whose worker died; return the sample to give up, if any."""
        attempts = chunk.attempts + 1
        if attempts < ATTEMPTS:
            self._again.append(Chunk(chunk.samples, attempts))
        elif len(chunk.samples) == 1:
            return chunk.samples[0]
        else:
            middle = len(chunk.samples) // 2
            self._again += [Chunk(chunk.samples[:middle]), Chunk(chunk.samples[middle:])]
        return None

    def _size(self) -> int:
        fitting = round(CHUNK_SECONDS * self._done / self._seconds) if self._seconds > 0 else FIRST
        # Chunks shrink towards the end, so that no worker is left with a long last chunk.
        return max(1, min(fitting, PART_ROWS, self._left // (2 * self._workers)))


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

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._workers.__exit__(kind, *error)

    def run(self, job: Job, samples: Samples) -> Iterator[Records]:
        """See `Runner`."""
        while self._busy:  # with chunks of an abandoned run
            self._next()
        chunks, alone = Chunks(samples, len(samples), self._count), replace(job, samples=())
        heads = [head.name for head in job.heads]
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
                yield Records((SampleResult.of_error(sample, heads, why),), RunStats(samples=1))

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
