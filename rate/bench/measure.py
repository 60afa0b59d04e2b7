"""The throughput of an artifact on this machine: the backend alone, the whole engine, and their ratio within one run.

All backends are open at once and the rounds alternate over them, forwards and backwards, so that a slowdown of the
machine affects all of them equally.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from itertools import accumulate, chain, product

from rate.artifacts.artifact import Artifact
from rate.backends.base import Backend
from rate.backends.process import one_blas_thread
from rate.bench.document import BenchDocument, GpuState, Row, recommended
from rate.bench.meter import Meter
from rate.bench.nvml import on_gpus
from rate.bench.plan import Images, Refused
from rate.bench.settings import BenchSettings
from rate.config import Measurement
from rate.engine.choose_backend import Say
from rate.engine.engine import slots_of
from rate.engine.job import Job
from rate.errors import OutOfMemory
from rate.execution import Execution


@contextmanager
def warmed_up(
    settings: BenchSettings, images: Images, backends: Sequence[Backend], say: Say = lambda _: None
) -> Iterator[list[Meter]]:
    """Warm up all configurations on open ``backends``, each with its own slots.

    A backend whose device has no room for a batch is measured at the smaller ones.

    Raises:
        BackendError: a runtime failed.
        OutOfMemory: no backend has room for its smallest batch.
    """
    with ExitStack() as stack:
        stack.enter_context(one_blas_thread())
        meters: list[Meter] = []
        full: dict[str, OutOfMemory] = {}
        for backend in backends:
            jobs = _jobs(settings, images, backend)
            slots = list(accumulate(map(slots_of, jobs), initial=0))
            backend.bind(jobs[0].perturbation, slots[-1])
            for job, first_slot in zip(jobs, slots, strict=False):
                try:
                    _warm_up(job, backend, first_slot, images)
                except OutOfMemory as error:
                    full[backend.name] = error
                    say(f"{backend.name} {backend.precision} ends before a batch of {job.execution.batch}: {error}")
                    break
                meters.append(stack.enter_context(closing(Meter(job, backend, first_slot, images))))
                say(f"{meters[-1].name}: about {meters[-1].aim(settings.seconds):.1f} forwards/s")
        if not meters:
            raise next(iter(full.values()))
        yield meters


def _warm_up(job: Job, backend: Backend, first_slot: int, images: Images) -> None:
    """Evaluate one image with few masks, which fills caches and gives the runtime the batch's shape."""
    masks, few = job.measurement.masks, max(2, job.execution.batch)
    short = replace(job.measurement, masks=min(masks, few) if isinstance(masks, int) else few)
    with closing(Meter(replace(job, measurement=short), backend, first_slot, images)) as meter:
        meter.measure(1)


def _jobs(settings: BenchSettings, images: Images, backend: Backend) -> list[Job]:
    """Make a job for each batch and number of masks, in order; a larger batch comes later."""
    return [
        replace(
            images.job,
            measurement=Measurement(verdict="map", masks=masks),
            execution=Execution(batch=batch, threads=settings.threads),
        )
        for batch, masks in product(settings.batches_on(backend.name), settings.masks)
    ]


def measure(
    meters: Sequence[Meter], rounds: int, observe: Callable[[int, str], None] = lambda done, what: None
) -> tuple[Row, ...]:
    """Run all rounds, interleaved; call it once.

    Args:
        meters: the warm meters.
        rounds: the number of measurements of each.
        observe: receives the number of finished measurements and the name of the last meter.

    Raises:
        BackendError: a runtime failed.
    """
    orders = (meters[:: 1 if k % 2 == 0 else -1] for k in range(rounds))
    for done, meter in enumerate(chain.from_iterable(orders), 1):
        meter.round()
        observe(done, meter.name)
    return tuple(meter.row() for meter in meters)


def document_of(
    artifact: Artifact,
    images: Images,
    rows: tuple[Row, ...],
    refused: tuple[Refused, ...],
    gpus: tuple[GpuState, ...],
) -> BenchDocument:
    """Make the document of measured ``rows``, with the backends that were refused and the GPUs that were sampled."""
    named = on_gpus(rows, gpus)
    return BenchDocument(
        source=artifact.source,
        images=images.name,
        rows=named,
        recommended=recommended(named),
        refused=refused,
        gpus=gpus,
    )
