"""Who does the work of a run: this process, several of this machine, or the actors of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from rate.artifacts.artifact import Artifact
from rate.backends.base import BackendSpec
from rate.backends.ort_cuda import OrtCudaSpec
from rate.backends.process import usable_cores
from rate.backends.tensorrt import TensorRtSpec
from rate.backends.torch import TorchSpec
from rate.config import Execution
from rate.engine.attention import attention_of
from rate.engine.choose_backend import spec_for
from rate.engine.job import Job
from rate.engine.pipeline import CarryOut, here, kept_open
from rate.engine.workers.coordinator import Hire, across
from rate.errors import UsageError

THREADS = 4
"""Threads of a worker on a cluster where nobody says: more workers would each hold a copy of the model."""

FIRST_GPU = "cuda:0"


@dataclass(frozen=True, slots=True)
class Crew:
    """How many work, and with what."""

    workers: int
    execution: Execution  # of one worker, for `spec_for`
    hire: Hire | None = None  # None: this process does the work itself

    def carry_out(self, spec: BackendSpec) -> CarryOut:
        """For `evaluate`; ``spec`` is that of one worker."""
        if self.hire is None:
            return here
        own = spec
        if isinstance(spec, OrtCudaSpec | TensorRtSpec | TorchSpec) and spec.device.startswith("cuda"):
            own = replace(spec, device=FIRST_GPU)  # a worker sees its GPU alone, whatever its number is here
        return across(self.hire, [own] * self.workers)


@contextmanager
def means(
    artifact: Artifact, job: Job, say: Callable[[str], None] = lambda _: None
) -> Iterator[tuple[BackendSpec, CarryOut]]:
    """What `rate.engine.pipeline.evaluate` needs for ``job``, and for others that differ in their images alone.

    Raises:
        UsageError: no backend can run the artifact, or what `attention_of` and `crew` refuse.
    """
    if job.measurement.saliency == "attention":
        gradients, produce = attention_of(artifact, job)
        yield gradients, partial(here, produce=produce)
        return
    with crew(job.execution) as found:
        spec = spec_for(artifact, found.execution, say, job.measurement.form)
        if found.hire is not None:
            yield spec, found.carry_out(spec)
            return
        with kept_open() as carry_out:
            yield spec, carry_out


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
    from rate.engine.workers.on_ray import Needs, cluster, hire_on, workers_that_fit

    with cluster(execution.runner.partition("ray://")[2] or None) as ray:
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
        yield Crew(execution.workers or fitting, replace(execution, threads=threads), hire_on(ray, needs))


def _local(execution: Execution) -> Crew:
    workers = len(execution.gpus) if len(execution.gpus) > 1 else execution.workers
    if workers <= 1:
        return Crew(1, execution)
    from rate.engine.workers.local import Processes

    # More threads than cores slow every one of them down.
    threads = execution.threads or max(1, usable_cores() // workers)
    alone = replace(execution, threads=threads, workers=0)
    if not execution.gpus:
        return Crew(workers, alone, Processes)
    first = f"cuda:{execution.gpus[0]}"
    return Crew(workers, replace(alone, device=first), partial(Processes, gpus=execution.gpus))
