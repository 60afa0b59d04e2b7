"""Who does the work of a run: this process, several of this machine, or the actors of a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rate.backends.base import BackendSpec
from rate.backends.cores import usable_cores
from rate.config import Execution
from rate.engine.distributed import Hire, across
from rate.engine.pipeline import CarryOut, here
from rate.errors import UsageError

THREADS = 4
"""Threads of a worker on a cluster where nobody says: more workers would each hold a copy of the model."""


@dataclass(frozen=True, slots=True)
class Crew:
    """How many work, with how many threads each."""

    workers: int
    threads: int  # of each worker's runtime; 0 = all that the process may use
    hire: Hire | None  # None: this process does the work itself

    def carry_out(self, specs: Sequence[BackendSpec]) -> CarryOut:
        """For `evaluate`; ``specs``: one a worker."""
        return here if self.hire is None else across(self.hire, specs)


@contextmanager
def crew(execution: Execution) -> Iterator[Crew]:
    """The crew that the settings ask for; of Ray, for as long as the connection lasts.

    Raises:
        MissingExtra: Ray is asked for and not installed.
        UsageError: no such cluster, or it holds not even one worker.
    """
    if execution.runner == "local":
        yield _local(execution)
        return
    from rate.engine.on_ray import Needs, cluster, hire_on, workers_that_fit

    with cluster(execution.runner.partition("ray://")[2] or None) as ray:
        resources = ray.cluster_resources()
        cores = int(resources.get("CPU", 0))
        threads = execution.threads or max(1, cores // execution.workers if execution.workers else min(THREADS, cores))
        needs = Needs(cpus=threads)
        fitting = workers_that_fit(resources, needs)
        if execution.workers > fitting:
            raise UsageError(
                f"--workers {execution.workers} with {threads} threads each need "
                f"{execution.workers * threads} cores, the cluster has {cores}; use fewer of either"
            )
        yield Crew(execution.workers or fitting, threads, hire_on(ray, needs))


def _local(execution: Execution) -> Crew:
    if execution.workers <= 1:
        return Crew(1, execution.threads, None)
    from rate.engine.processes import Processes

    # More threads than cores slow every one of them down.
    threads = execution.threads or max(1, usable_cores() // execution.workers)
    return Crew(execution.workers, threads, Processes)
