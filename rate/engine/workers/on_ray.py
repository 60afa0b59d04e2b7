"""Workers as Ray actors, on this machine or on a cluster: they read their own images and write their own parts.

Ray Core alone: an actor a worker, one chunk at a time, so that the queue of the run is the backpressure. Samples travel
as rows of a manifest, results as names of parts; neither pixels nor maps pass through the object store.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from rate.backends.process import usable_cores
from rate.engine.workers.base import Assignment, Finished, Worker
from rate.engine.workers.coordinator import LOADS, Hire, Lost, Ready
from rate.errors import BackendError, RateError, UsageError, need
from rate.types import Sample

OBJECT_STORE_BYTES = 100 << 20
"""Of the embedded Ray: next to nothing passes through it."""

LIMITS = ("RATE_MAX_BYTES", "RATE_MAX_PIXELS", "RATE_REMOTE_SECONDS", "RATE_CACHE_BYTES")
"""Settings of the environment that hold for the workers as for the owner of the run."""

ANSWER_S = 10.0
"""Time that the address of a cluster has to answer."""

_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


@dataclass(frozen=True, slots=True)
class Needs:
    """What a worker takes of the machine it is on."""

    cpus: float = 1.0
    gpus: float = 0.0

    def to_json(self) -> dict[str, float]:
        """As Ray counts resources."""
        return {name: value for name, value in (("CPU", self.cpus), ("GPU", self.gpus)) if value}


@contextmanager
def cluster(address: str | None) -> Iterator[ModuleType]:
    """Ray, connected: to the cluster at ``address``, or embedded in this process, with the cores it may use.

    A Ray that is connected already is used as it is, and left so.

    Raises:
        MissingExtra: Ray is not installed.
        UsageError: nobody answers at ``address``.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    if address is None:
        # Nobody else can reach the embedded one; a token would need a home folder that can be written to.
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    ray = need("ray", "ray")
    if ray.is_initialized():
        yield ray
        return
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if address is None:
        options |= {
            "num_cpus": usable_cores(),
            "object_store_memory": OBJECT_STORE_BYTES,
            "include_dashboard": False,
        }
    try:
        _check_answers(address)
        ray.init(address, **options)
    except (OSError, RuntimeError, ValueError) as error:
        raise UsageError(
            f"no Ray cluster answers at {address} ({str(error).partition(chr(10))[0]}); start one with "
            "`ray start --head`, or use --runner ray for one of this machine alone"
        ) from error
    try:
        with redirect_stdout(sys.stderr):  # where it prints of lost workers; stdout is for results
            yield ray
    finally:
        ray.shutdown()


def _check_answers(address: str | None) -> None:
    """Knock before Ray does, which would try for minutes.

    Raises:
        OSError: nobody listens at HOST:PORT.
    """
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=ANSWER_S).close()


def workers_that_fit(resources: Mapping[str, float], needs: Needs) -> int:
    """How many workers a cluster with these resources holds.

    Raises:
        UsageError: not one.
    """
    fitting = min(int(resources.get(name, 0.0) // value) for name, value in needs.to_json().items())
    if fitting < 1:
        has = {name: resources.get(name, 0.0) for name in ("CPU", "GPU")}
        raise UsageError(f"a worker needs {needs.to_json()} and the whole cluster has {has}; use fewer --threads")
    return fitting


def hire_on(ray: ModuleType, needs: Needs) -> Hire:
    """Workers on a connected Ray, each with what it needs."""
    return lambda assignments: _hired(ray, needs, assignments)


@contextmanager
def _hired(ray: ModuleType, needs: Needs, assignments: Sequence[Assignment]) -> Iterator[RayWorkers]:
    workers = RayWorkers(ray, needs, [ray.put(assignment) for assignment in assignments])
    try:
        yield workers
    finally:
        workers.dismiss()


class Actor:
    """A worker inside an actor; what it does happens in its tasks, so that their errors arrive as they are."""

    def __init__(self, assignment: Assignment) -> None:
        self._worker = Worker(assignment)

    def load(self) -> Ready:
        """Open the backend."""
        self._worker.__enter__()
        return Ready()

    def evaluate(self, samples: Sequence[Sample]) -> Finished:
        """See `Worker.evaluate`."""
        return self._worker.evaluate(samples)


def _reason(text: str) -> str:
    """Of Ray's pages the line that says why: the first, or of an exception in the actor's own code the last one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1 if "Traceback" in text or "__init__()" in text else 0] if lines else "no reason given"


@dataclass(slots=True)
class RayWorkers:
    """`rate.engine.workers.coordinator.Workers` as actors."""

    _ray: ModuleType
    _needs: Needs
    _assignments: list[Any]  # references in the object store
    _actors: dict[int, Any] = field(default_factory=dict)
    _pending: dict[Any, int] = field(default_factory=dict)  # reference of a task -> worker
    _loading: set[int] = field(default_factory=set)
    _failed_loads: int = 0

    def __post_init__(self) -> None:
        for worker in range(len(self._assignments)):
            self._begin(worker)

    def start(self, worker: int, samples: Sequence[Sample]) -> None:
        """See `Workers`."""
        self._pending[self._actors[worker].evaluate.remote(samples)] = worker

    def wait(self) -> tuple[int, Ready | Finished | Lost]:
        """See `Workers`."""
        [done], _ = self._ray.wait(list(self._pending), num_returns=1)
        worker = self._pending.pop(done)
        try:
            answer: Ready | Finished = self._ray.get(done)
        except self._ray.exceptions.RayTaskError as error:
            cause = error.cause
            raise cause if isinstance(cause, RateError) else BackendError(f"a worker failed: {cause}") from error
        except self._ray.exceptions.RayError as error:  # the actor or its node is gone
            return worker, self._replaced(worker, _reason(str(error)))
        self._loading.discard(worker)
        self._failed_loads = 0  # what counts is that nobody gets there any more
        return worker, answer

    def dismiss(self) -> None:
        """End all actors."""
        for actor in self._actors.values():
            self._ray.kill(actor)
        self._actors, self._pending = {}, {}

    def _begin(self, worker: int) -> None:
        # Restarts are ours: the chunk of a lost actor goes to whoever is free.
        limits = {name: value for name, value in os.environ.items() if name in LIMITS}
        kind = self._ray.remote(
            num_cpus=self._needs.cpus,
            num_gpus=self._needs.gpus,
            max_restarts=0,
            runtime_env={"env_vars": limits} if limits else None,  # an actor's machine may have others
        )(Actor)
        self._actors[worker] = kind.remote(self._assignments[worker])
        self._loading.add(worker)
        self._pending[self._actors[worker].load.remote()] = worker

    def _replaced(self, worker: int, why: str) -> Lost:
        self._failed_loads += worker in self._loading
        if self._failed_loads >= LOADS:
            raise BackendError(
                f"{LOADS} workers died while they loaded the model, the last one: {why}; they may need more memory "
                "than there is: use fewer --workers"
            )
        self._begin(worker)
        return Lost(f"was lost: {why}")
