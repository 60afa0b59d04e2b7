"""The division of a run's samples among workers: chunks are sent, records are returned, and lost chunks are sent again.

Only the owner of the run writes, so a chunk that was evaluated twice is stored once, even if a worker died in between.
A sample that fails on one host is evaluated on another one before it counts as failed, and a host where samples fail
that others evaluate is left out.
"""

from __future__ import annotations

import itertools
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from rate.engine.choose_backend import Say
from rate.engine.job import Job
from rate.engine.outcome import Work
from rate.engine.workers.base import (
    IN_FLIGHT,
    Answer,
    Assignment,
    Evaluated,
    Event,
    Failed,
    Lost,
    Ready,
    Setup,
    Workers,
)
from rate.engine.workers.chunks import ATTEMPTS, Chunk, Chunks
from rate.errors import BackendError, RateError, UsageError
from rate.runs.rows import Records, RunStats, SampleResult
from rate.types import Samples

LOADS = 3
"""The number of consecutive workers that may die while loading the model before the run ends."""

FAILURES = 8
"""A host is left out after so many failed samples in a row, once another host has evaluated one of them."""


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


class Pool:
    """A `rate.engine.outcome.Runner` over several workers. Entering it waits until the first one is ready."""

    def __init__(self, workers: Workers, count: int, say: Say = lambda _: None) -> None:
        """Prepare ``count`` workers; later ones are started as there is room. ``say`` is told of hosts left out."""
        self._workers, self._count, self._say = workers, count, say
        self._loading: set[int] = set()
        self._flights: dict[int, dict[int, _Flight]] = {}  # worker that is ready -> number -> chunk
        self._hosts: dict[int, str] = {}  # of the workers that were ready
        self._failures = Counter[str]()  # failed samples of a host since its last good one
        self._left_out: set[str] = set()  # hosts
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
                self._start(worker)
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
            worker, ended, event = self._next()
            for flight in ended:
                if flight.run in runs:  # not of an abandoned run
                    records = self._settled(flight, event, self._hosts[worker])
                    if records.records or records.stats.rows:
                        yield flight.run.work, records

    def _hand_out(self, runs: list[_Run], following: Callable[[], Work | None]) -> bool:
        """Send the next chunk to a worker; False = no worker is free, or there is no chunk."""
        for run in runs:
            if not (free := self._free(run.chunks.returned)):
                return False
            run.chunks.workers = len(self._flights)
            for worker in free:
                if (chunk := run.chunks.next(self._hosts[worker], self._able_hosts())) is not None:
                    number = next(self._numbers)
                    self._flights[worker][number] = _Flight(run, chunk, time.monotonic())
                    self._workers.send(worker, Assignment(number, run.number, run.job, chunk.samples))
                    return True
        if not self._free() or (work := following()) is None:
            return False
        self._libraries |= {*work.job.libraries}
        for there in self._setups.values():
            self._check(there, self.backend)
        least = -(-work.job.on_backend(self.backend).execution.batch // work.job.stopping.checkpoints[0])
        chunks = Chunks(work.samples, len(work.samples), least=least)
        runs.append(_Run(work, next(self._runs), replace(work.job, samples=()), chunks))
        return True

    def _free(self, chunk: Chunk | None = None) -> list[int]:
        """Return the workers that can take ``chunk``, those with the fewest first; None = one of new samples."""
        allowed = self._able_hosts()
        if chunk is not None and chunk.failed_on is not None and (others := self._others(chunk.failed_on)) is not None:
            allowed = others

        def takes(worker: int) -> bool:
            flights = self._flights[worker].values()
            alone = (chunk is not None and chunk.alone) or any(flight.chunk.alone for flight in flights)
            return self._hosts[worker] in allowed and len(flights) < (1 if alone else IN_FLIGHT)

        return sorted(filter(takes, self._flights), key=lambda worker: len(self._flights[worker]))

    def _able_hosts(self) -> set[str]:
        hosts = self._ready_hosts()
        return hosts - self._left_out or hosts

    def _ready_hosts(self) -> set[str]:
        return {self._hosts[worker] for worker in self._flights}

    def _others(self, host: str) -> set[str] | None:
        """Return the ready hosts that can try what failed on ``host``; if there are none and none comes, None."""
        coming = self._loading & {*self._workers.away()}
        return self._ready_hosts() - self._left_out - {host} or (set() if coming else None)

    def _settled(self, flight: _Flight, event: Event, host: str) -> Records:
        """Return the results of a chunk that has ended; its other samples go to another worker."""
        chunks, chunk = flight.run.chunks, flight.chunk
        if isinstance(event, Evaluated):
            chunks.finished(chunk, time.monotonic() - flight.began)
            kept = event.records.records
            self._judge(host, chunk, kept)
            if chunk.failed_on is None and self._others(host) is not None:
                failed = {one.id for one in kept if one.error is not None}
                chunks.failed((sample for sample in chunk.samples if sample.id in failed), host)
                kept = tuple(one for one in kept if one.error is None)
            # Times of waiting are those of the run, not sums over the workers.
            stats, count = event.records.stats, max(1, len(self._flights))
            stats = replace(stats, waiting_s=stats.waiting_s / count, idle_s=stats.idle_s / count)
            return Records(kept, replace(stats, samples=len(kept)))
        assert isinstance(event, Lost), "no other event ends chunks"
        if (sample := chunks.lost(chunk, event.with_node)) is None:
            return Records((), RunStats())
        why = f"{ATTEMPTS} workers died while they evaluated this sample, the last one on {host}: {event.why}"
        failed_sample = SampleResult.of_error(sample, [head.name for head in flight.run.job.heads], why)
        return Records((failed_sample,), RunStats(samples=1))

    def _judge(self, host: str, chunk: Chunk, results: tuple[SampleResult, ...]) -> None:
        """Count the failures of a host, and leave one out whose failures another host has not."""
        for result in results:
            self._failures[host] = self._failures[host] + 1 if result.error is not None else 0
        suspect = chunk.failed_on
        if suspect is None or suspect in self._left_out or self._failures[suspect] < FAILURES:
            return
        if any(result.error is None for result in results):
            self._leave_out(suspect, f"{self._failures[suspect]} samples in a row failed there, and not on {host}")

    def _leave_out(self, host: str, why: str) -> None:
        """Give a host nothing more. Its workers stay, since another one would be started in their place."""
        self._left_out.add(host)
        self._setups.pop(host, None)
        self._say(f"{host} is left out: {why}")

    def _next(self) -> tuple[int, list[_Flight], Event]:
        """Wait for the next event; return its worker and the chunks that end with it.

        Raises:
            RateError: a worker cannot continue, or no worker can be started.
            Defect: a worker raised an unexpected exception.
        """
        worker, event = self._workers.wait()
        if isinstance(event, Lost):
            lost = self._flights.pop(worker, None)
            self._replace(worker, event, loading=lost is None)
            return worker, list((lost or {}).values()), event
        if worker in self._loading:
            self._loaded(worker, event)
            return worker, [], event
        if isinstance(event, Failed):
            raise _on_host(event)
        assert isinstance(event, Evaluated), "a worker loads once"
        self._failed_loads = 0  # only consecutive load failures count
        ended = self._flights[worker].pop(event.number)
        for flight in self._flights[worker].values():  # the worker continues with them
            flight.began = time.monotonic()
        return worker, [ended], event

    def _loaded(self, worker: int, event: Answer) -> None:
        """Take in a worker that is ready; its host is left out if it cannot take part and others can, or still may."""
        self._loading.discard(worker)
        assert not isinstance(event, Evaluated), "a worker loads before its first chunk"
        try:
            if isinstance(event, Failed):
                raise _on_host(event)
            self._welcome(event)
        except RateError as error:
            host = event.host if isinstance(event, Failed) else event.setup.host
            if not (self._flights or self._loading) or host == socket.gethostname():
                raise
            self._leave_out(host, str(error))
            return
        assert isinstance(event, Ready)
        self._failed_loads = 0
        self._flights[worker], self._hosts[worker] = {}, event.setup.host
        for _ in range(0 if self._loading else self._workers.room()):
            self._start(self._count)
            self._count += 1

    def _start(self, worker: int) -> None:
        self._loading.add(worker)
        self._workers.start(worker)

    def _replace(self, worker: int, lost: Lost, loading: bool) -> None:
        self._failed_loads += loading and not lost.with_node
        if self._failed_loads >= LOADS:
            raise BackendError(
                f"{LOADS} workers died while they loaded the model, the last one {lost.why}; "
                f"{self._count} of them may need more memory than there is: use fewer --workers"
            )
        self._say(f"a worker {lost.why}; another one is started")
        self._start(worker)

    def _welcome(self, ready: Ready) -> None:
        chosen = (self.backend, self.precision) if self.backend else (ready.backend, ready.precision)
        self._check(ready.setup, chosen[0])
        if chosen != (ready.backend, ready.precision):
            raise BackendError(
                f"one worker opened {' '.join(chosen)} and another, on {ready.setup.host}, {ready.backend} "
                f"{ready.precision} ({'; '.join(ready.notices) or 'nothing was passed over'}); a run has one backend: "
                "name it with --backend and --precision, or use fewer --workers"
            )
        if not self.backend:
            self.backend, self.precision, self.notices = ready.backend, ready.precision, ready.notices
            self._setup = replace(self._setup, versions=ready.setup.versions | self._setup.versions)
        self._setups[ready.setup.host] = ready.setup

    def _check(self, there: Setup, backend: str) -> None:
        """Refuse a host whose rows of the jobs so far would be others."""
        if (said := self._setup.difference(there, backend, self._libraries)) is not None:
            raise UsageError(
                f"the worker on {there.host} has {said}, and its rows would be others; install the versions of "
                f"{self._setup.host} there"
            )


def _on_host(failed: Failed) -> Exception:
    """Name the host in an error of another one."""
    if failed.host != socket.gethostname() and isinstance(failed.error, RateError):
        return type(failed.error)(f"on {failed.host}: {failed.error}")
    return failed.error
