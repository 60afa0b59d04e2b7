"""The interface of workers: open backends outside the process that owns the run, and their answers."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Protocol

from rate.backends.base import Backend
from rate.engine.choose_backend import Say
from rate.engine.engine import InProcess
from rate.engine.job import Job
from rate.errors import RateError
from rate.runs.rows import Records, RunStats
from rate.types import Sample

Opener = Callable[[Say], AbstractContextManager[Backend]]
"""Opens a backend, and reports why others were skipped. It is sent to the workers."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker has opened its backend and waits for a chunk."""

    backend: str
    precision: str
    notices: tuple[str, ...] = ()  # why other backends were skipped


@dataclass(frozen=True, slots=True)
class Failed:
    """A worker cannot continue, so the run ends."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Lost:
    """A worker died; its chunk is unfinished."""

    why: str  # the text continues "the worker"


Answer = Ready | Records | Failed
Event = Answer | Lost


class Workers(Protocol):
    """Processes with one `Worker` each, on this machine or on others, numbered from 0.

    They end with the `with` block.
    """

    def __enter__(self) -> Workers: ...

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None: ...

    def start(self, worker: int) -> None:
        """Start a worker, or replace one that died; it answers when its backend is open."""

    def send(self, worker: int, job: Job, samples: Sequence[Sample]) -> None:
        """Send a chunk to a worker that has answered everything before."""

    def wait(self) -> tuple[int, Event]:
        """Wait until a worker answers or dies."""


class Defect(Exception):
    """An unexpected exception in a worker, with its traceback there as a note."""


class Worker:
    """Evaluates chunks of samples. An error is an answer, which the owner of the run raises."""

    def __init__(self, opener: Opener) -> None:
        self._opener, self._stack = opener, ExitStack()
        self._runner: InProcess | None = None

    def load(self) -> Answer:
        """Open the backend."""
        return _answered(self._load)

    def evaluate(self, job: Job, samples: Sequence[Sample]) -> Answer:
        """Evaluate a chunk."""
        return _answered(lambda: self._evaluate(job, samples))

    def close(self) -> None:
        """Close the backend."""
        self._stack.close()

    def _load(self) -> Ready:
        notices: list[str] = []
        self._runner = InProcess(self._stack.enter_context(self._opener(notices.append)))
        return Ready(self._runner.backend, self._runner.precision, tuple(notices))

    def _evaluate(self, job: Job, samples: Sequence[Sample]) -> Records:
        assert self._runner is not None, "a worker loads before its first chunk"
        done = list(self._runner.run(job, samples))
        return Records(
            tuple(record for one in done for record in one.records), sum((one.stats for one in done), RunStats())
        )


def _answered(act: Callable[[], Ready | Records]) -> Answer:
    try:
        return act()
    except RateError as error:
        return Failed(error)
    except Exception as error:
        defect = Defect(f"{type(error).__name__} in a worker: {error}")
        defect.add_note(f"In the worker:\n{traceback.format_exc()}")
        return Failed(defect)
