"""Workers as Ray actors, on this machine or on a cluster whose nodes come and go.

Only Ray Core is used: one actor for each worker with a few chunks at a time, so that the queue of the run is the
backpressure. Samples are sent as rows of a manifest and returned as rows of a run; pixels do not pass through Ray.

Ray Data's pool of actors (`map_batches(concurrency=(2, 8))`) grows with a cluster, too, and replaces actors that died.
It sends a batch that kills its actor again without end, has no chunk that is halved, takes whatever an actor returns
before it is known which versions compute there, and cannot leave out a host. Those need a pool of our own; what it
takes to grow is one actor more than there is room for, which an autoscaler sees as demand.
"""

from __future__ import annotations

import importlib
import json
import os
import socket
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from rate.engine.choose_backend import Say
from rate.engine.workers.base import IN_FLIGHT, Answer, Assignment, Event, Lost, Opener, Worker
from rate.engine.workers.ray_cluster import check_answers
from rate.errors import BackendError, ConfigError, UsageError

LIMITS = ("RATE_MAX_BYTES", "RATE_MAX_PIXELS", "RATE_REMOTE_SECONDS", "RATE_ACCESS_SECONDS", "RATE_CACHE_BYTES")
"""Environment settings that the workers take from the owner of the run."""

WAIT, WAIT_S = "RATE_RAY_SECONDS", 900.0
"""The variable that sets how long no worker may have a place, and its default, seconds."""

HEAD_S = 60.0
"""How long the head of a cluster may be silent, seconds."""

TICK_S, SAY_S = 2.0, 60.0

Resources = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Needs:
    """The resources of a worker."""

    cpus: float = 1.0
    gpus: float = 0.0
    memory: float = 0.0  # bytes

    @property
    def resources(self) -> dict[str, float]:
        """The resources in Ray's terms."""
        named = {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory}
        return {name: value for name, value in named.items() if value}

    def places_on(self, node: Resources) -> int:
        """Compute how many workers a node with these resources holds."""
        return min(int(node.get(name, 0.0) // value) for name, value in self.resources.items())


def told(resources: Resources) -> str:
    """Describe resources in words, such as `8 CPU and 2.0 GiB of memory`."""
    named = [f"{resources.get(name, 0.0):g} {name}" for name in ("CPU", "GPU") if name in resources]
    memory = [f"{resources['memory'] / 2**30:.1f} GiB of memory"] if "memory" in resources else []
    return " and ".join(named + memory) or "nothing"


def nodes_of(ray: ModuleType) -> list[dict[str, float]]:
    """List the resources of every living node."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def largest(nodes: Iterable[Resources], needs: Needs) -> Resources:
    """Return the node that comes nearest to the needs of a worker; without nodes it is empty."""

    def nearness(node: Resources) -> float:
        return min(min(1.0, node.get(name, 0.0) / value) for name, value in needs.resources.items())

    return max(nodes, key=lambda node: (nearness(node), node.get("CPU", 0.0)), default={})


def check_feasible(ray: ModuleType, needs: Needs, joined: bool) -> None:
    """Refuse a worker that no node could ever hold; nodes may join a cluster without any CPUs or with an autoscaler.

    ``joined``: whether it is a cluster.

    Raises:
        UsageError: with what the largest node has.
    """
    nodes = [node for node in nodes_of(ray) if node.get("CPU")]
    if not nodes or any(needs.places_on(node) for node in nodes) or (joined and _grows(ray)):
        return
    best = {name: value for name, value in largest(nodes, needs).items() if name in ("CPU", "GPU", "memory")}
    raise UsageError(
        f"a worker needs {told(needs.resources)}, and no node has that; the largest of {len(nodes)} has {told(best)}. "
        "Use fewer --threads, --device cpu, or larger nodes"
    )


def _grows(ray: ModuleType) -> bool:
    """Tell whether an autoscaler may add nodes: without one, the type of each node is named after the node."""
    status = importlib.import_module("ray.experimental.internal_kv")._internal_kv_get("__autoscaling_status")
    if status is not None:  # of the autoscaler's first version, which also runs where there is nothing to add
        return not any(map(_is_own_type, json.loads(status)["autoscaler_report"]["active_nodes"]))
    sdk = importlib.import_module("ray.autoscaler.v2.sdk")
    cluster = sdk.get_cluster_status(ray.get_runtime_context().gcs_address)
    return not all(_is_own_type(node.ray_node_type_name) for node in (*cluster.idle_nodes, *cluster.active_nodes))


def _is_own_type(name: str) -> bool:
    return name.startswith("node_")


class Actor(Worker):
    """A worker on a node of a cluster, in the folder of its owner, so that relative paths mean the same."""

    def __init__(self, opener: Opener, folder: str, node: str | None) -> None:
        """Begin on this node; ``node`` has the place of its id in the name of the host, None = it has none."""
        with suppress(OSError):  # a path that is missing here is named when it is used
            os.chdir(folder)
        super().__init__(opener, node and node.format(socket.gethostname(), _node_id()))

    def place(self) -> str:
        """Return the name of the host."""
        return self._host


def _node_id() -> str:
    import ray

    return str(ray.get_runtime_context().get_node_id())[:8]


class RayWorkers:
    """`rate.engine.workers.base.Workers` as actors on a connected Ray, each with its own resources."""

    def __init__(self, ray: ModuleType, needs: Needs, opener: Opener, *, say: Say, joined: bool, grows: bool) -> None:
        """Prepare the actors.

        Args:
            ray: the connected Ray.
            needs: the resources of a worker.
            opener: see `Opener`.
            say: receives what is waited for.
            joined: whether it is a cluster, whose hosts are named with the ids of their nodes.
            grows: whether there are to be more workers whenever there is room.
        """
        self._ray, self._needs, self._say, self._grows = ray, needs, say, grows
        self._arguments = ray.put(opener), str(Path.cwd()), "{} (node {})" if joined else None
        self._head = ray.get_runtime_context().gcs_address
        # The pool restarts workers: the chunk of a lost actor goes to an idle one.
        limits = {name: value for name, value in os.environ.items() if name in LIMITS}
        self._kind = ray.remote(
            num_cpus=needs.cpus,
            num_gpus=needs.gpus,
            memory=needs.memory or None,
            max_restarts=0,
            max_concurrency=IN_FLIGHT,
            runtime_env={"env_vars": limits} if limits else None,  # the actor's machine may have other values
        )(Actor)
        self._actors: dict[int, Any] = {}
        self._pending: dict[Any, int] = {}  # reference of a task -> worker
        self._hosts: dict[int, str] = {}  # of the actors that have a place
        self._placed = self._said = time.monotonic()  # the last time that any had a place, and that the lack was said
        self._silent = 0.0  # since when the head has not answered; 0 = it answers
        self._most_s = _wait_s()

    def __enter__(self) -> RayWorkers:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        for actor in self._actors.values():
            self._ray.kill(actor)
        self._actors, self._pending = {}, {}

    def start(self, worker: int) -> None:
        """See `Workers`."""
        actor = self._actors[worker] = self._kind.remote(*self._arguments)
        self._pending |= {actor.place.remote(): worker, actor.load.remote(): worker}

    def send(self, worker: int, assignment: Assignment) -> None:
        """See `Workers`."""
        self._pending[self._actors[worker].evaluate.remote(assignment)] = worker

    def away(self) -> Collection[int]:
        """See `Workers`."""
        return self._hosts.keys()

    def room(self) -> int:
        """See `Workers`: as many as fit now, and one that waits for a node."""
        if not self._grows:
            return 0
        free = self._ray._private.state.available_resources_per_node().values()
        return sum(self._needs.places_on(node) for node in free) + 1

    def wait(self) -> tuple[int, Event]:
        """See `Workers`."""
        while True:
            if self._hosts:
                self._placed = time.monotonic()
            done, _ = self._ray.wait(list(self._pending), num_returns=1, timeout=TICK_S)
            if not done:
                if self._head_answers():
                    self._check_places()
                continue
            worker = self._pending.pop(done[0])
            try:
                answer: Answer | str = self._ray.get(done[0])
            except self._ray.exceptions.RayTaskError:  # an error in Ray's own part of the worker, or in unpickling
                raise
            except self._ray.exceptions.RayError as error:  # the actor or its node died, with all that it had
                self._pending = {task: other for task, other in self._pending.items() if other != worker}
                host = self._hosts.pop(worker, "a node")
                return worker, Lost(f"was lost on {host}: {_reason(str(error))}", "node has died" in str(error))
            if not isinstance(answer, str):
                return worker, answer
            self._hosts[worker] = answer

    def _check_places(self) -> None:
        """Say it when no worker has a place, and what they wait for.

        Raises:
            BackendError: it has been so for too long.
        """
        if self._hosts:
            return
        now = time.monotonic()
        waited = now - self._placed
        free = largest(self._ray._private.state.available_resources_per_node().values(), self._needs)
        has = {name: free.get(name, 0.0) for name in self._needs.resources}
        missing = f"a worker takes {told(self._needs.resources)}, and the freest node has {told(has)}"
        missing += ", where one should start soon" if self._needs.places_on(free) else ""
        if waited > self._most_s:
            raise BackendError(
                f"no worker has started on the cluster for {self._most_s:g} s: {missing}. Run the same command "
                f"again when there is room; {WAIT} sets how long to wait"
            )
        if waited > TICK_S and (self._said <= self._placed or now - self._said > SAY_S):
            self._said = now
            self._say(f"waiting for a worker to start, up to {self._most_s:g} s: {missing}")

    def _head_answers(self) -> bool:
        """Tell whether the head of the cluster answers; what is asked of it otherwise waits for it.

        Raises:
            BackendError: it has not answered for `HEAD_S`.
        """
        try:
            check_answers(self._head)
        except OSError as error:
            self._silent = self._silent or time.monotonic()
            if time.monotonic() - self._silent > HEAD_S:
                self._actors = {}  # they are lost, and ending them would wait for the head
                raise BackendError(
                    f"the head of the Ray cluster at {self._head} has not answered for {HEAD_S:g} s ({error}); what is "
                    "done is kept: run the same command again when the cluster is back"
                ) from error
            return False
        self._silent = 0.0
        return True


def _wait_s() -> float:
    written = os.environ.get(WAIT) or WAIT_S
    try:
        return float(written)
    except ValueError:
        raise ConfigError(f"{WAIT} must be a number of seconds, got {written!r}") from None


def _reason(text: str) -> str:
    """Return the informative line of Ray's message: the first, or for an exception in the actor's code the last."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1 if "Traceback" in text or "__init__()" in text else 0] if lines else "no reason given"
