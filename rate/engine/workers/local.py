"""Workers as processes of this machine: one a device, or several that share the cores."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import TracebackType

from rate.engine.workers.base import Assignment, Finished, Worker
from rate.engine.workers.coordinator import LOADS, Lost, Ready
from rate.errors import BackendError, RateError
from rate.types import Sample

_SPAWN = multiprocessing.get_context("spawn")  # a fork would copy the threads and locks of a runtime in any state
_GRACE_S = 5.0


@dataclass(slots=True)
class _Process:
    process: SpawnProcess
    connection: Connection
    is_ready: bool = False


class Processes:
    """`rate.engine.workers.coordinator.Workers` as spawned processes."""

    def __init__(self, assignments: Sequence[Assignment], gpus: Sequence[int] = ()) -> None:
        """``gpus``: numbers of the GPUs, one a worker, that each is to see alone; none = all see what this one does."""
        self._assignments = assignments
        self._gpus = [str(gpu) for gpu in gpus] if gpus else [None] * len(assignments)
        self._running: dict[int, _Process] = {}
        self._failed_loads = 0

    def __enter__(self) -> Processes:
        for worker, assignment in enumerate(self._assignments):
            self._running[worker] = _begin(assignment, self._gpus[worker])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in self._running.values():
            one.connection.close()  # an idle worker then ends by itself
        for one in self._running.values():
            if error is not None:
                one.process.terminate()
            one.process.join(_GRACE_S)
            if one.process.is_alive():
                one.process.kill()
                one.process.join()
        self._running = {}

    def start(self, worker: int, samples: Sequence[Sample]) -> None:
        """See `Workers`."""
        with suppress(OSError):  # it is gone: `wait` finds out
            self._running[worker].connection.send(samples)

    def wait(self) -> tuple[int, Ready | Finished | Lost]:
        """See `Workers`."""
        connections = {one.connection: worker for worker, one in self._running.items()}
        worker = connections[_first(wait(list(connections)))]
        one = self._running[worker]
        try:
            answer = one.connection.recv()
        except (EOFError, OSError):
            return worker, self._replaced(worker)
        if isinstance(answer, RateError):
            raise answer
        one.is_ready = True
        self._failed_loads = 0  # what counts is that nobody gets there any more
        return worker, answer

    def _replaced(self, worker: int) -> Lost:
        one = self._running[worker]
        one.process.join()
        code = one.process.exitcode or 0
        why = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        self._failed_loads += not one.is_ready
        if self._failed_loads >= LOADS:
            raise BackendError(
                f"{LOADS} workers died while they loaded the model, the last one {why}; "
                f"{len(self._assignments)} of them may need more memory than there is: use fewer --workers"
            )
        self._running[worker] = _begin(self._assignments[worker], self._gpus[worker])
        return Lost(why)


def _first(ready: Sequence[object]) -> Connection:
    connection = ready[0]
    assert isinstance(connection, Connection)
    return connection


def _begin(assignment: Assignment, gpu: str | None) -> _Process:
    ours, theirs = _SPAWN.Pipe()
    process = _SPAWN.Process(target=_serve, args=(theirs, assignment, gpu), name="rate-worker", daemon=True)
    process.start()
    theirs.close()  # so that the end of the process is the end of the pipe
    return _Process(process, ours)


def _serve(connection: Connection, assignment: Assignment, gpu: str | None) -> None:
    """The life of a worker process: load, then answer chunks until the other end is closed."""
    if gpu is not None:  # before anything looks for a GPU
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the owner decides
    threading.Thread(target=_end_with_owner, daemon=True).start()
    try:
        with Worker(assignment) as worker:
            connection.send(Ready())
            while (samples := _received(connection)) is not None:
                connection.send(worker.evaluate(samples))
    except BrokenPipeError:  # the owner is gone, and with it whoever would list the part
        return
    except RateError as error:
        connection.send(error)


def _end_with_owner() -> None:
    """End this process as soon as its owner has, however that was: nobody would list what it writes."""
    owner = multiprocessing.parent_process()
    assert owner is not None, "a worker is a child"
    owner.join()
    os._exit(1)


def _received(connection: Connection) -> Sequence[Sample] | None:
    """The next chunk; None once the owner has closed the other end, or is gone."""
    try:
        samples: Sequence[Sample] = connection.recv()
    except (EOFError, OSError):
        return None
    return samples
