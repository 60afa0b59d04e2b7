"""How the settings divide the work of a run: this process alone, several of this machine, or actors on Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from rate.backends.process import usable_cores
from rate.config import Execution
from rate.engine.choose_backend import Say
from rate.engine.workers.base import Opener, Workers
from rate.errors import UsageError

THREADS = 4
"""Threads of a worker on a cluster where nobody says: more workers would each hold a copy of the model."""


@dataclass(frozen=True, slots=True)
class Division:
    """How many work, and with what."""

    workers: int
    execution: Execution  # of one worker
    make: Callable[[Opener], Workers] | None = None  # None: this process does the work itself


@contextmanager
def divided(execution: Execution, say: Say = lambda _: None) -> Iterator[Division]:
    """The division that the settings ask for; on Ray, for as long as the connection lasts.

    Raises:
        MissingExtra: Ray is asked for and not installed.
        UsageError: no such cluster, or it holds not even one worker.
    """
    if execution.runner == "local":
        yield _local(execution)
        return
    from rate.engine.workers.on_ray import Needs, RayWorkers, connected, workers_that_fit

    with connected(execution.runner.partition("ray://")[2] or None, say) as ray:
        resources = ray.cluster_resources()
        cores = int(resources.get("CPU", 0))
        threads = execution.threads or max(1, cores // execution.workers if execution.workers else min(THREADS, cores))
        needs = Needs(cpus=threads, gpus=float(execution.device.startswith("cuda")))
        fitting = workers_that_fit(resources, needs)
        if execution.workers > fitting:
            raise UsageError(
                f"--workers {execution.workers} with {threads} threads each need "
                f"{execution.workers * threads} cores, the cluster has {cores}; use fewer of either"
            )
        yield Division(execution.workers or fitting, _alone(execution, threads), partial(RayWorkers, ray, needs))


def _local(execution: Execution) -> Division:
    gpus = execution.gpus if len(execution.gpus) > 1 else ()
    workers = len(gpus) or execution.workers
    if workers <= 1:
        return Division(1, execution)
    from rate.engine.workers.local import Processes

    # More threads than cores slow every one of them down.
    threads = execution.threads or max(1, usable_cores() // workers)
    return Division(workers, _alone(execution, threads, bool(gpus)), partial(Processes, gpus=gpus))


def _alone(execution: Execution, threads: int, own_gpu: bool = True) -> Execution:
    """The settings of one worker; ``own_gpu``: it sees a GPU of its own, whatever the number of that is elsewhere."""
    device = "cuda:0" if own_gpu and execution.device.startswith("cuda") else execution.device
    return replace(execution, threads=threads, device=device, workers=0, runner="local")
