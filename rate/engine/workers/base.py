"""The interface of workers: open backends outside the process that owns the run, and their answers."""

from __future__ import annotations

import logging
import socket
import traceback
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Protocol

from rate.backends.base import Backend
from rate.data.images import corrupt
from rate.engine.choose_backend import Say
from rate.engine.engine import InProcess
from rate.engine.job import Job
from rate.engine.workers.stream import Stream
from rate.errors import RateError
from rate.machine import COMPUTING, versions
from rate.methods import METHODS
from rate.runs.rows import Records
from rate.types import Sample
from rate.version import NUMERICS

Opener = Callable[[Say], AbstractContextManager[Backend]]
"""Opens a backend, and reports why others were skipped. It is sent to the workers."""

IN_FLIGHT = 2
"""The number of chunks that a worker has at once: the second shares the last batches of the first."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """A chunk of samples for a worker."""

    number: int  # no other assignment has it
    run: int  # assignments of one run have equal jobs
    job: Job
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class Setup:
    """What computes on a host: rows of one run come from equal versions."""

    host: str
    numerics: int  # see `rate.version.NUMERICS`
    versions: dict[str, str]  # of `rate`, and of the installed libraries that affect the numbers of any job

    @staticmethod
    def here(host: str | None = None) -> Setup:
        """Describe this process, on ``host`` if that is named."""
        installed = versions((*COMPUTING, "torchvision", *corrupt.LIBRARIES, *METHODS.packages()))
        return Setup(host or socket.gethostname(), NUMERICS, installed)

    def difference(self, other: Setup, backend: str, libraries: Collection[str] = ()) -> str | None:
        """Say where ``other`` computes with other versions than this; None if nowhere.

        Those of `rate`, numpy, Pillow, the runtime of ``backend`` and ``libraries`` count; see `Job.libraries`.
        """
        if self.numerics != other.numerics:
            return f"version {other.numerics} of the numerics instead of {self.numerics}"
        runtime, always = backend.partition("-")[0], ("rate", "numpy", "pillow", *libraries)
        needed = [name for name in other.versions if name in always or name.partition("-")[0] == runtime]
        pairs = ((name, self.versions.get(name), other.versions[name]) for name in needed)
        differing = [f"{name} {its} instead of {own}" for name, own, its in pairs if own not in (None, its)]
        return " and ".join(differing) or None


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker has opened its backend, which passed its self-test there, and waits for chunks."""

    backend: str
    precision: str
    setup: Setup
    notices: tuple[str, ...] = ()  # why other backends were skipped


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The chunk of an assignment is evaluated."""

    number: int
    records: Records


@dataclass(frozen=True, slots=True)
class Failed:
    """A worker cannot continue, so the run ends."""

    error: Exception
    host: str


@dataclass(frozen=True, slots=True)
class Lost:
    """A worker died; its chunks are unfinished."""

    why: str  # the text continues "the worker"
    with_node: bool = False  # its machine was lost, and it has not died of its work


Answer = Ready | Evaluated | Failed
Event = Answer | Lost


class Workers(Protocol):
    """Processes with one `Worker` each, on this machine or on others, numbered from 0.

    They end with the `with` block.
    """

    def __enter__(self) -> Workers: ...

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None: ...

    def start(self, worker: int) -> None:
        """Start a worker, or replace one that died; it answers when its backend is open."""

    def send(self, worker: int, assignment: Assignment) -> None:
        """Send a chunk to a worker that has fewer than `IN_FLIGHT`."""

    def wait(self) -> tuple[int, Event]:
        """Wait until a worker answers or dies.

        Raises:
            BackendError: for a long time no worker has found a place, or nothing is left that could answer.
        """

    def away(self) -> Collection[int]:
        """Return the workers that have a place on a host that may not be this one."""

    def room(self) -> int:
        """Return how many more workers to start when all that were started are ready."""


class Defect(Exception):
    """An unexpected exception in a worker, with its traceback there as a note."""


class Worker:
    """Evaluates chunks, also several at once. An error is an answer, which the owner of the run raises."""

    def __init__(self, opener: Opener, host: str | None = None) -> None:
        self._opener, self._stack = opener, ExitStack()
        self._host = host or socket.gethostname()
        self._stream: Stream | None = None

    def load(self) -> Answer:
        """Open the backend."""
        return self._answered(self._load)

    def evaluate(self, assignment: Assignment) -> Answer:
        """Evaluate a chunk; other threads may evaluate others meanwhile."""
        assert self._stream is not None, "a worker loads before its first chunk"
        records = self._stream.submit(assignment.run, assignment.job, assignment.samples)
        return self._answered(lambda: Evaluated(assignment.number, records.result()))

    def close(self) -> None:
        """Close the backend."""
        self._stack.close()

    def _load(self) -> Ready:
        notices: list[str] = []
        backend = self._stack.enter_context(self._opener(notices.append))
        runner = InProcess(backend, logging.getLogger("rate").warning)
        self._stream = self._stack.enter_context(Stream(runner))
        return Ready(runner.backend, runner.precision, Setup.here(self._host), tuple(notices))

    def _answered(self, act: Callable[[], Ready | Evaluated]) -> Answer:
        try:
            return act()
        except RateError as error:
            return Failed(error, self._host)
        except Exception as error:
            defect = Defect(f"{type(error).__name__} in a worker: {error}")
            defect.add_note(f"In the worker:\n{traceback.format_exc()}")
            return Failed(defect, self._host)
