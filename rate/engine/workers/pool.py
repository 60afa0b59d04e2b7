"""The division of a run's samples among workers: chunks are sent, records are returned, and lost chunks are sent again.

Only the owner of the run writes, so a chunk that was evaluated twice is stored once, even if a worker died in between.
"""

from __future__ import annotations

import itertools
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from rate.engine.job import Job
from rate.engine.outcome import Work
from rate.engine.workers.base import IN_FLIGHT, Assignment, Evaluated, Event, Failed, Lost, Ready, Setup, Workers
from rate.errors import BackendError, RateError, UsageError
from rate.runs.parts import PART_ROWS
from rate.runs.rows import Records, RunStats, SampleResult
from rate.types import Sample, Samples

CHUNK_SECONDS = 10.0
"""The target time of a chunk: a lost worker loses up to `IN_FLIGHT` of them."""

FIRST = 4
"""The number of samples of a chunk until the time of a sample is known."""

ATTEMPTS = 2
"""The number of workers that may die with a chunk before it is halved, or before a single sample is given up."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Samples that one worker evaluates and whose records are stored together."""

    samples: tuple[Sample, ...]
    attempts: int = 0  # number of workers that died with it
    alone: bool = False  # a worker died with it, so it shares none: the next death is its own


class Chunks:
    """Divides samples into chunks of about equal time."""

    def __init__(self, samples: Iterable[Sample], total: int, workers: int, least: int = 1) -> None:
        """Divide ``total`` samples; the number may be approximate and only shapes the last chunks.

        Args:
            samples: the samples in their order.
            total: how many they are.
            workers: the number of workers.
            least: the samples that a worker needs at once to fill its batches.
        """
        self._samples, self._left, self._workers, self._least = iter(samples), total, workers, least
        self._again: deque[Chunk] = deque()
        self._out = 0  # chunks that are with workers
        self._ended = False  # whether the samples have
        self._seconds = 0.0
        self._done = 0

    @property
    def next_alone(self) -> bool:
        """Whether the next chunk must have a worker of its own."""
        return bool(self._again)

    @property
    def are_done(self) -> bool:
        """Whether `next` has returned all samples and none is left with a worker."""
        return self._ended and not self._again and not self._out

    def next(self) -> Chunk | None:
        """Return the next chunk, lost ones first; None = there is none at the moment."""
        if self._again:
            chunk = self._again.popleft()
        else:
            taken = tuple(itertools.islice(self._samples, self._size()))
            self._left -= len(taken)
            self._ended = not taken
            chunk = Chunk(taken)
        self._out += bool(chunk.samples)
        return chunk if chunk.samples else None

    def finished(self, chunk: Chunk, seconds: float) -> None:
        """Update the time of a sample with that of a chunk."""
        self._out -= 1
        self._done += len(chunk.samples)
        self._seconds += seconds

    def lost(self, chunk: Chunk) -> Sample | None:
        """Take back a chunk whose worker died; return the sample to give up, if any."""
        self._out -= 1
        attempts = chunk.attempts + 1
        if attempts < ATTEMPTS:
            self._again.append(Chunk(chunk.samples, attempts, alone=True))
        elif len(chunk.samples) == 1:
            return chunk.samples[0]
        else:
            middle = len(chunk.samples) // 2
            self._again += [Chunk(half, alone=True) for half in (chunk.samples[:middle], chunk.samples[middle:])]
        return None

    def _size(self) -> int:
        fitting = round(CHUNK_SECONDS * self._done / self._seconds) if self._seconds > 0 else FIRST
        # Chunks shrink towards the end, so that no worker is left with long last ones.
        shrinking = self._left // (2 * IN_FLIGHT * self._workers)
        return min(max(self._least, min(fitting, shrinking)), PART_ROWS)


@dataclass(slots=True, eq=False)
class _Run:
    work: Work
    number: int
    job: Job  # without its samples, as workers get it
    chunks: Chunks


@dataclass(slots=True)
class _Flight:
    run: _Run
    chunk: Chunk
    began: float  # when the worker could begin with it


LOADS = 3
"""The number of consecutive workers that may die while loading the model before the run ends."""


class Pool:
    """A `rate.engine.outcome.Runner` over several workers. Entering it waits until the first one is ready."""

    def __init__(self, workers: Workers, count: int) -> None:
        self._workers, self._count = workers, count
        self._flights: dict[int, dict[int, _Flight]] = {}  # worker that is ready -> number -> chunk
        self._numbers = itertools.count()
        self._runs = itertools.count()
        self._failed_loads = 0
        self._setup = Setup.here()  # and the versions of the first ready worker that are not here
        self._setups: dict[str, Setup] = {}  # of the workers that were ready, by host
        self._libraries: set[str] = set()  # that the jobs so far need
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
                self._workers.start(worker)
            while not self._flights:
                self._next()
        except BaseException as error:
            self._workers.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._workers.__exit__(kind, *error)

    def run(self, job: Job, samples: Samples) -> Iterator[Records]:
        """See `Runner`."""
        works = iter([Work(job, samples)])
        return (done for _, done in self.run_each(lambda: next(works, None)) if done is not None)

    def run_each(self, following: Callable[[], Work | None]) -> Iterator[tuple[Work, Records | None]]:
        """See `Runner`. The next work begins when a worker is idle; chunks of the earlier ones go first."""
        runs: list[_Run] = []
        while True:
            while self._hand_out(runs, following):
                pass
            if done := next((run for run in runs if run.chunks.are_done), None):
                runs.remove(done)
                yield done.work, None
                continue
            if not runs and self._flights:  # a worker is idle, and there is no work
                return
            ended, event = self._next()
            for flight in ended:
                if flight.run in runs and (records := self._records(flight, event)) is not None:
                    yield flight.run.work, records

    def _hand_out(self, runs: list[_Run], following: Callable[[], Work | None]) -> bool:
        """Send the next chunk to a worker; False = no worker is free, or there is no chunk."""
        for run in runs:
            if (worker := self._free(run.chunks)) is None:
                return False
            if (chunk := run.chunks.next()) is not None:
                number = next(self._numbers)
                self._flights[worker][number] = _Flight(run, chunk, time.monotonic())
                self._workers.send(worker, Assignment(number, run.number, run.job, chunk.samples))
                return True
        if self._free() is None or (work := following()) is None:
            return False
        runs.append(self._run_of(work))
        return True

    def _run_of(self, work: Work) -> _Run:
        job = work.job
        self._libraries |= {*job.libraries}
        for there in self._setups.values():
            self._check(there)
        least = -(-job.on_backend(self.backend).execution.batch // job.stopping.checkpoints[0])
        chunks = Chunks(work.samples, len(work.samples), self._count, least)
        return _Run(work, next(self._runs), replace(job, samples=()), chunks)

    def _records(self, flight: _Flight, event: Event) -> Records | None:
        """Return the results of a chunk that has ended; None = it goes to another worker."""
        chunks, job = flight.run.chunks, flight.run.job
        if isinstance(event, Evaluated):
            chunks.finished(flight.chunk, time.monotonic() - flight.began)
            # Times of waiting are those of the run, not sums over the workers.
            stats = event.records.stats
            stats = replace(stats, waiting_s=stats.waiting_s / self._count, idle_s=stats.idle_s / self._count)
            return replace(event.records, stats=stats)
        assert isinstance(event, Lost), "no other event ends chunks"
        if (sample := chunks.lost(flight.chunk)) is None:
            return None
        why = f"{ATTEMPTS} workers died while they evaluated this sample, the last one: {event.why}"
        failed = SampleResult.of_error(sample, [head.name for head in job.heads], why)
        return Records((failed,), RunStats(samples=1))

    def _free(self, chunks: Chunks | None = None) -> int | None:
        """Return the worker with the fewest chunks that can take the next one, if any."""

        def allowed(flights: dict[int, _Flight]) -> bool:
            alone = chunks is not None and chunks.next_alone
            shared = alone or any(flight.chunk.alone for flight in flights.values())
            return len(flights) < (1 if shared else IN_FLIGHT)

        free = [worker for worker, flights in self._flights.items() if allowed(flights)]
        return min(free, key=lambda worker: len(self._flights[worker]), default=None)

    def _next(self) -> tuple[list[_Flight], Event]:
        """Wait for the next event; return it with the chunks that end with it.

        Raises:
            RateError: a worker cannot continue, or no worker can be started.
            Defect: a worker raised an unexpected exception.
        """
        worker, event = self._workers.wait()
        if isinstance(event, Failed):
            raise _on_host(event)
        if isinstance(event, Lost):
            lost = self._flights.pop(worker, None)
            self._replace(worker, event, loading=lost is None)
            return list((lost or {}).values()), event
        self._failed_loads = 0  # only consecutive load failures count
        if isinstance(event, Ready):
            self._welcome(event)
            self._flights[worker] = {}
            return [], event
        ended = self._flights[worker].pop(event.number)
        for flight in self._flights[worker].values():  # the worker continues with them
            flight.began = time.monotonic()
        return [ended], event

    def _replace(self, worker: int, lost: Lost, loading: bool) -> None:
        self._failed_loads += loading
        if self._failed_loads >= LOADS:
            raise BackendError(
                f"{LOADS} workers died while they loaded the model, the last one {lost.why}; "
                f"{self._count} of them may need more memory than there is: use fewer --workers"
            )
        self._workers.start(worker)

    def _welcome(self, ready: Ready) -> None:
        if not self.backend:
            self.backend, self.precision, self.notices = ready.backend, ready.precision, ready.notices
            self._setup = replace(self._setup, versions=ready.setup.versions | self._setup.versions)
        self._check(ready.setup)
        self._setups[ready.setup.host] = ready.setup
        if (self.backend, self.precision) != (ready.backend, ready.precision):
            raise BackendError(
                f"one worker opened {self.backend} {self.precision} and another {ready.backend} {ready.precision} "
                f"({'; '.join(ready.notices) or 'nothing was passed over'}); a run has one backend: name it with "
                "--backend and --precision, or use fewer --workers"
            )

    def _check(self, there: Setup) -> None:
        """Refuse a host whose rows of the jobs so far would be others."""
        if (said := self._setup.difference(there, self.backend, self._libraries)) is not None:
            raise UsageError(
                f"the worker on {there.host} has {said}, and its rows would be others; install the versions of "
                f"{self._setup.host} there"
            )


def _on_host(failed: Failed) -> Exception:
    """Name the host in an error of another one."""
    if failed.host != socket.gethostname() and isinstance(failed.error, RateError):
        return type(failed.error)(f"on {failed.host}: {failed.error}")
    return failed.error
