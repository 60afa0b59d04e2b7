"""The opening of a job's runner: this process alone, several of this machine, or actors on Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from msgspec import structs

from rate.artifacts.artifact import Artifact, load_artifact
from rate.backends.base import Backend
from rate.backends.process import usable_cores, visible_gpu
from rate.engine.choose_backend import Say, open_backend
from rate.engine.engine import InProcess
from rate.engine.job import Job
from rate.engine.outcome import Runner
from rate.engine.workers.base import Opener, Workers
from rate.engine.workers.pool import Pool
from rate.errors import ArtifactError
from rate.execution import ON_CUDA, Execution

THREADS = 4
"""The default number of threads of a worker on a cluster; more workers would each hold a copy of the model."""


PROCESS_BYTES = 512 << 20
"""The memory of a worker beside the weights of its model, bytes."""


@dataclass(frozen=True, slots=True)
class Division:
    """The number of workers and the settings of each."""

    workers: int
    execution: Execution  # settings of one worker
    make: Callable[[Opener], Workers] | None = None  # None: this process evaluates the samples itself


@contextmanager
def divided(execution: Execution, say: Say = lambda _: None, memory: int = 0) -> Iterator[Division]:
    """Yield the division of the settings; on Ray it is valid while the connection lasts.

    ``memory`` is what each worker on Ray reserves, bytes.

    Raises:
        MissingExtra: Ray is requested and not installed.
        UsageError: the cluster does not exist, or no node could hold a worker; or a GPU is not visible here.
    """
    if execution.runner == "local":
        yield _local(execution)
        return
    from rate.engine.workers import on_ray, ray_cluster

    with ray_cluster.connected(ray_cluster.address_of(execution.runner), say) as (ray, joined):
        nodes = on_ray.nodes_of(ray)
        cores = [int(node.get("CPU", 0)) for node in nodes]
        share = sum(cores) // execution.workers if execution.workers else THREADS
        threads = execution.threads or max(1, min(share, max(cores, default=0) or THREADS))
        needs = on_ray.Needs(threads, _gpus(execution, nodes), memory)
        on_ray.check_feasible(ray, needs, joined)
        fitting = sum(map(needs.places_on, nodes))
        workers = execution.workers or max(1, fitting)
        if fitting < workers:
            say(f"{fitting} of {workers} workers have a place now; others begin when there is room")
        make = partial(
            on_ray.RayWorkers,
            ray,
            needs,
            say=say,
            joined=joined,
            grows=joined and not execution.workers,
        )
        yield Division(workers, _alone(execution, threads), make)


def _gpus(execution: Execution, nodes: list[dict[str, float]]) -> float:
    """Choose the number of GPUs of a worker: `auto` takes one wherever the cluster has any."""
    if execution.device.startswith("cuda") or execution.runtime in ON_CUDA:
        return 1.0
    either = execution.device == execution.backend == "auto"
    return float(either and any(node.get("GPU") for node in nodes))


def _local(execution: Execution) -> Division:
    # A worker gets the name that this process has for the GPU, which the parent's list may call by another number.
    gpus = tuple(map(visible_gpu, execution.gpus)) if len(execution.gpus) > 1 else ()
    workers = len(gpus) or execution.workers
    if workers <= 1:
        return Division(1, execution)
    from rate.engine.workers.local import Processes

    # More threads than cores slow all of them down.
    threads = execution.threads or max(1, usable_cores() // workers)
    return Division(workers, _alone(execution, threads, bool(gpus)), partial(Processes, gpus=gpus))


def _alone(execution: Execution, threads: int, own_gpu: bool = True) -> Execution:
    """Return the settings of one worker; with ``own_gpu`` it sees a single GPU, independent of that GPU's number."""
    device = "cuda:0" if own_gpu and execution.device.startswith("cuda") else execution.device
    return replace(execution, threads=threads, device=device, workers=0, runner="local")


@contextmanager
def open_runner(artifact: Artifact, job: Job, say: Say = lambda _: None) -> Iterator[Runner]:
    """Open a runner for ``job`` and other jobs of this artifact with the same form of graph; the model is opened once.

    Args:
        artifact: the artifact whose graph runs.
        job: its settings choose runner, backend and device.
        say: receives the reason for every skipped backend.

    Raises:
        UsageError: no backend can run the artifact, or the method's own runner or `divided` refuses.
        ParityError: the named backend does not reproduce the source's logits.
        BackendError: the named backend cannot load the graph.
    """
    if job.measurement.method.runner is not None:
        yield job.measurement.method.open_own_runner(artifact, job.execution)
        return
    with divided(job.execution, say, memory_of(artifact)) as division:
        opener = partial(
            open_backend if division.make is None else open_verified,
            structs.replace(artifact, path=artifact.path.absolute()),  # a worker may be in another folder
            division.execution,
            job.measurement.form,
        )
        with runner_on(division, opener, say) as runner:
            yield runner


@contextmanager
def runner_on(division: Division, opener: Opener, say: Say = lambda _: None) -> Iterator[Runner]:
    """Open the runner of a division, whose workers open their backends with ``opener``."""
    if division.make is None:
        with opener(say) as backend:
            yield InProcess(backend, say)
        return
    with Pool(division.make(opener), division.workers, say) as pool:
        for notice in pool.notices:
            say(notice)
        yield pool


def memory_of(artifact: Artifact) -> int:
    """Estimate the memory of a worker, bytes: a runtime holds the largest weights up to three times while it loads."""
    sizes = (file.stat().st_size for file in artifact.path.iterdir() if file.is_file())
    return PROCESS_BYTES + 3 * max(sizes, default=0)


@contextmanager
def open_verified(artifact: Artifact, execution: Execution, form: str, say: Say) -> Iterator[Backend]:
    """Open a backend in a worker, which may be on a host with another artifact at that path.

    Raises:
        ArtifactError: the artifact there is missing, damaged, or not the one that the owner of the run has verified.
    """
    here = load_artifact(artifact.named)
    if here.digest != artifact.digest:
        raise ArtifactError(
            f"{artifact.named} is another artifact here: its digest is {here.digest[:12]}, that of the run is "
            f"{artifact.digest[:12]}; copy the artifact to this host"
        )
    with open_backend(here, execution, form, say) as backend:
        yield backend
