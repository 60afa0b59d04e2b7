"""Workers as Ray actors, on this machine or on a cluster.

Only Ray Core is used: one actor for each worker with a few chunks at a time, so that the queue of the run is the
backpressure. Samples are sent as rows of a manifest and returned as rows of a run; pixels do not pass through Ray.
"""

from __future__ import annotations

import importlib
import os
import secrets
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from rate.backends.process import usable_cores
from rate.engine.choose_backend import Say
from rate.engine.workers.base import IN_FLIGHT, Answer, Assignment, Event, Lost, Opener, Worker
from rate.errors import UsageError, need

OBJECT_STORE_BYTES = 100 << 20
"""The object store of the embedded Ray, bytes; it holds very little."""

LIMITS = ("RATE_MAX_BYTES", "RATE_MAX_PIXELS", "RATE_REMOTE_SECONDS", "RATE_ACCESS_SECONDS", "RATE_CACHE_BYTES")
"""Environment settings that the workers take from the owner of the run."""

ANSWER_S = 10.0
"""The time limit for the address of a cluster to answer, seconds."""

ADDRESS = "RAY_ADDRESS"
"""The variable that names a cluster for Ray; it is used only if the settings of a run name the cluster too."""

_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}

_CLUSTERS = "ENABLE_RAY_CLUSTER"

_TOKEN = secrets.token_hex(32)
"""The token with which the embedded Ray authenticates its clients."""


@dataclass(frozen=True, slots=True)
class Needs:
    """The resources of a worker."""

    cpus: float = 1.0
    gpus: float = 0.0

    def to_json(self) -> dict[str, float]:
        """Return the resources in Ray's terms."""
        return {name: value for name, value in (("CPU", self.cpus), ("GPU", self.gpus)) if value}


@contextmanager
def connected(address: str | None, say: Say = lambda _: None) -> Iterator[ModuleType]:
    """Connect to the cluster at ``address``, or to a private Ray embedded in this process without an address.

    An existing connection of this process is used and kept.

    Raises:
        MissingExtra: Ray is not installed.
        UsageError: the address does not answer.
    """
    os.environ.update({name: value for name, value in _QUIET.items() if name not in os.environ})
    if address is None and ("ray" not in sys.modules or os.environ.get("RAY_AUTH_TOKEN") == _TOKEN):
        # Ray reads this once in a process, when it is imported.
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=_TOKEN)
    ray = need("ray", "ray")
    if ray.is_initialized():
        yield ray
        return
    alone = _alone(say) if address is None else nullcontext()
    with redirect_stdout(sys.stderr), alone:  # Ray prints lost workers there; stdout is for results
        _embed(ray) if address is None else _join(ray, address)
        try:
            yield ray
        finally:
            ray.shutdown()


@contextmanager
def _alone(say: Say) -> Iterator[None]:
    """Keep a Ray that is started in the block on this machine, and away from a cluster named by the environment.

    Ray has a switch for nodes whose processes listen on loopback alone, meant for systems without clusters.
    """
    constants = importlib.import_module("ray._private.ray_constants")
    before, foreign = getattr(constants, _CLUSTERS), os.environ.pop(ADDRESS, None)
    if foreign is not None:
        say(f"{ADDRESS} names a cluster at {foreign}, and --runner ray does not join it; --runner ray://{foreign} does")
    setattr(constants, _CLUSTERS, False)
    os.environ[constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"
    try:
        yield
    finally:
        setattr(constants, _CLUSTERS, before)
        del os.environ[constants.ENABLE_RAY_CLUSTERS_ENV_VAR]
        if foreign is not None:
            os.environ[ADDRESS] = foreign


def _embed(ray: ModuleType) -> None:
    # "local" starts a new Ray even if another one runs on this machine.
    ray.init(
        "local",
        num_cpus=usable_cores(),
        object_store_memory=OBJECT_STORE_BYTES,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
    )


def _join(ray: ModuleType, address: str) -> None:
    try:
        _check_answers(address)
        ray.init(address, log_to_driver=False, logging_level="error")
    except (OSError, RuntimeError, ValueError) as error:
        raise UsageError(
            f"no Ray cluster answers at {address} ({str(error).partition(chr(10))[0]}); start one with "
            "`ray start --head`, or use --runner ray for one of this machine alone"
        ) from error


def _check_answers(address: str) -> None:
    """Fail fast if no process listens at HOST:PORT, because `ray.init` retries for minutes.

    Raises:
        OSError: no process listens there.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=ANSWER_S).close()


def workers_that_fit(resources: Mapping[str, float], needs: Needs) -> int:
    """Compute how many workers a cluster with these resources holds.

    Raises:
        UsageError: not one.
    """
    fitting = min(int(resources.get(name, 0.0) // value) for name, value in needs.to_json().items())
    if fitting < 1:
        has = {name: resources.get(name, 0.0) for name in ("CPU", "GPU")}
        raise UsageError(f"a worker needs {needs.to_json()} and the whole cluster has {has}; use fewer --threads")
    return fitting


class RayWorkers:
    """`rate.engine.workers.base.Workers` as actors on a connected Ray, each with its own resources."""

    def __init__(self, ray: ModuleType, needs: Needs, opener: Opener) -> None:
        self._ray, self._opener = ray, ray.put(opener)
        # The pool restarts workers: the chunk of a lost actor goes to an idle one.
        limits = {name: value for name, value in os.environ.items() if name in LIMITS}
        self._kind = ray.remote(
            num_cpus=needs.cpus,
            num_gpus=needs.gpus,
            max_restarts=0,
            max_concurrency=IN_FLIGHT,
            runtime_env={"env_vars": limits} if limits else None,  # the actor's machine may have other values
        )(Worker)
        self._actors: dict[int, Any] = {}
        self._pending: dict[Any, int] = {}  # reference of a task -> worker

    def __enter__(self) -> RayWorkers:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        for actor in self._actors.values():
            self._ray.kill(actor)
        self._actors, self._pending = {}, {}

    def start(self, worker: int) -> None:
        """See `Workers`."""
        self._actors[worker] = self._kind.remote(self._opener)
        self._pending[self._actors[worker].load.remote()] = worker

    def send(self, worker: int, assignment: Assignment) -> None:
        """See `Workers`."""
        self._pending[self._actors[worker].evaluate.remote(assignment)] = worker

    def wait(self) -> tuple[int, Event]:
        """See `Workers`."""
        [done], _ = self._ray.wait(list(self._pending), num_returns=1)
        worker = self._pending.pop(done)
        try:
            answer: Answer = self._ray.get(done)
        except self._ray.exceptions.RayTaskError:  # an error in Ray's own part of the worker, or in unpickling
            raise
        except self._ray.exceptions.RayError as error:  # the actor or its node died, with all that it had
            self._pending = {task: other for task, other in self._pending.items() if other != worker}
            return worker, Lost(f"was lost: {_reason(str(error))}")
        return worker, answer


def _reason(text: str) -> str:
    """Return the informative line of Ray's message: the first, or for an exception in the actor's code the last."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1 if "Traceback" in text or "__init__()" in text else 0] if lines else "no reason given"
