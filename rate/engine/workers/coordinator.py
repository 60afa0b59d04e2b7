"""The work of a run divided among workers: chunks go out, parts are listed as they come back, lost chunks go out again.

A worker writes the part of its chunk, and the owner of the run alone decides that it counts: a chunk that was evaluated
twice is listed once, whoever died in between.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Protocol

from rate.backends.base import BackendSpec
from rate.engine.job import Job
from rate.engine.pipeline import CarryOut, Observe, Progress
from rate.engine.workers.base import Assignment, Finished
from rate.engine.workers.chunks import ATTEMPTS, Chunk, Chunks
from rate.runs.store import RunStore
from rate.types import Sample

LOADS = 3
"""Workers that may die one after the other while they load the model before a run ends: it is then no accident."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker has loaded its model and waits for a chunk."""


@dataclass(frozen=True, slots=True)
class Lost:
    """A worker is gone, and what it was at with it; another one is being started in its place."""

    why: str  # reads on from "the worker"


class Workers(Protocol):
    """Processes that evaluate chunks, on this machine or on others, numbered from 0. In a `with` block they live."""

    def start(self, worker: int, samples: Sequence[Sample]) -> None:
        """Give a chunk to a worker that is ready or done."""

    def wait(self) -> tuple[int, Ready | Finished | Lost]:
        """Wait until something happens to one of them.

        Raises:
            RateError: a worker could not be started, or refused to go on: its message is the run's.
        """


Hire = Callable[[Sequence[Assignment]], AbstractContextManager[Workers]]
"""Starts a worker for each assignment."""


def across(hire: Hire, specs: Sequence[BackendSpec]) -> CarryOut:
    """How `evaluate` divides its work among one worker for each of ``specs``."""

    def carry_out(job: Job, spec: BackendSpec, todo: Iterable[Sample], store: RunStore, observe: Observe) -> None:
        chunks = Chunks(todo, max(len(job.samples) - len(store.done), 1), len(specs))
        alone = replace(job, samples=())
        with hire([Assignment(alone, own, store.folder, store.key) for own in specs]) as workers:
            _distribute(workers, chunks, _Ledger(job, store, observe, len(specs)))

    return carry_out


def _distribute(workers: Workers, chunks: Chunks, ledger: _Ledger) -> None:
    idle, busy = deque[int](), dict[int, tuple[Chunk, float]]()
    while True:
        while idle and (chunk := chunks.next()) is not None:
            worker = idle.popleft()
            workers.start(worker, chunk.samples)
            busy[worker] = chunk, time.monotonic()
        if idle and not busy:  # one waits for a chunk and there is none
            return
        worker, event = workers.wait()
        if isinstance(event, Lost):
            chunk, _ = busy.pop(worker, (None, 0.0))
            if chunk is not None and (sample := chunks.lost(chunk)) is not None:
                ledger.give_up(sample, event)
            continue
        idle.append(worker)
        if isinstance(event, Finished):
            done, began = busy.pop(worker)
            chunks.finished(done, time.monotonic() - began)
            ledger.book(event)


class _Ledger:
    """Books what comes back into the run."""

    def __init__(self, job: Job, store: RunStore, observe: Observe, workers: int) -> None:
        self._names = [head.name for head in job.heads]
        self._store, self._observe, self._workers = store, observe, workers
        self._began, self._errors = time.perf_counter(), 0

    def book(self, finished: Finished) -> None:
        """Add the work of a chunk, and let its part count."""
        work, own = self._store.work, finished.work
        for name in ("forwards", "used", "rows", "samples"):
            setattr(work, name, getattr(work, name) + getattr(own, name))
        work.waiting_s += own.waiting_s / self._workers  # of the run's time, not of the workers' times together
        self._errors += finished.errors
        self._say()
        if finished.part is not None:
            self._store.list_part(finished.part)

    def give_up(self, sample: Sample, lost: Lost) -> None:
        """Store a sample that workers died with as an error."""
        why = f"{ATTEMPTS} workers died while they evaluated this sample, the last one: {lost.why}"
        self._store.add_error(sample, self._names, why)
        self._store.work.samples += 1
        self._errors += 1
        self._say()

    def _say(self) -> None:
        work = self._store.work
        work.seconds = time.perf_counter() - self._began
        self._observe(Progress(len(self._store.done), work.samples, self._errors, work.forwards, work.seconds))
