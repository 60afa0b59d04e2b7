"""Workers as processes of this machine: one for each device, or several that share the cores."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Collection, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from rate.engine.workers.base import Answer, Assignment, Event, Lost, Opener, Worker

# a fork would copy the threads and locks of a runtime in an arbitrary state
_SPAWN = multiprocessing.get_context("spawn")
_GRACE_S = 5.0


class Processes:
    """`rate.engine.workers.base.Workers` as spawned processes."""

    def __init__(self, opener: Opener, gpus: Sequence[str] = ()) -> None:
        """Prepare the processes; ``gpus`` are names of `visible_gpus`, one visible to each worker; empty = all visible
        to all.
        """
        self._opener, self._gpus = opener, gpus
        self._running: dict[int, tuple[SpawnProcess, Connection]] = {}

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        for _, connection in self._running.values():
            connection.close()  # an idle worker then ends by itself
        for process, _ in self._running.values():
            if kind is not None:
                process.terminate()
            process.join(_GRACE_S)
            if process.is_alive():
                process.kill()
                process.join()
        self._running = {}

    def start(self, worker: int) -> None:
        """See `Workers`."""
        ours, theirs = _SPAWN.Pipe()
        arguments = (theirs, self._opener, self._gpus[worker] if self._gpus else None)
        process = _SPAWN.Process(target=_serve, args=arguments, name="rate-worker", daemon=True)
        process.start()
        theirs.close()  # so that the pipe ends with the process
        self._running[worker] = process, ours

    def send(self, worker: int, assignment: Assignment) -> None:
        """See `Workers`."""
        with suppress(OSError):  # the worker died; `wait` reports it
            self._running[worker][1].send(assignment)

    def wait(self) -> tuple[int, Event]:
        """See `Workers`."""
        connections = {connection: worker for worker, (_, connection) in self._running.items()}
        connection = wait(list(connections))[0]
        assert isinstance(connection, Connection)
        worker = connections[connection]
        try:
            answer: Answer = connection.recv()
        except (EOFError, OSError):
            return worker, self._lost(worker)
        return worker, answer

    def away(self) -> Collection[int]:
        """See `Workers`."""
        return ()

    def room(self) -> int:
        """See `Workers`."""
        return 0

    def _lost(self, worker: int) -> Lost:
        process, connection = self._running.pop(worker)
        connection.close()
        process.join()
        code = process.exitcode or 0
        return Lost(f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}")


def _serve(connection: Connection, opener: Opener, gpu: str | None) -> None:
    """Run a worker process: load the backend, then answer assignments until the other end is closed."""
    if gpu is not None:  # before any library queries the GPUs
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the owner handles it
    threading.Thread(target=_end_with_owner, daemon=True).start()
    worker, one_at_a_time = Worker(opener), threading.Lock()

    def evaluate(assignment: Assignment) -> None:
        answer = worker.evaluate(assignment)
        with one_at_a_time, suppress(OSError):  # the owner has ended, and nothing would store the answer
            connection.send(answer)

    with suppress(BrokenPipeError):  # as above
        connection.send(worker.load())
        while (assignment := _received(connection)) is not None:
            threading.Thread(target=evaluate, args=(assignment,), daemon=True).start()
    worker.close()


def _end_with_owner() -> None:
    """End this process with its owner, since nothing would store its results."""
    owner = multiprocessing.parent_process()
    assert owner is not None, "a worker is a child"
    owner.join()
    os._exit(1)


def _received(connection: Connection) -> Assignment | None:
    """Receive the next assignment; None once the owner has closed the other end or ended."""
    try:
        assignment: Assignment = connection.recv()
    except (EOFError, OSError):
        return None
    return assignment
