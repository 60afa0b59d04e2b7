"""The throughput of an artifact on this machine: the backend alone, the whole engine, and their ratio within one run.

All backends are open at once and the rounds alternate over them, forwards and backwards, so that a slowdown of the
machine affects all of them equally.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from itertools import accumulate, chain, product

from rate.backends.base import Backend
from rate.backends.process import one_blas_thread
from rate.bench.document import Row
from rate.bench.meter import Meter
from rate.bench.plan import Images
from rate.bench.settings import BenchSettings
from rate.config import Execution, Measurement
from rate.engine.choose_backend import Say
from rate.engine.engine import slots_of


@contextmanager
def warmed_up(
    settings: BenchSettings, images: Images, backends: Sequence[Backend], say: Say = lambda _: None
) -> Iterator[list[Meter]]:
    """Warm up all configurations on open ``backends``, each with its own slots.

    Raises:
        BackendError: a runtime failed.
    """
    jobs = [
        replace(
            images.job,
            measurement=Measurement(verdict="map", masks=masks),
            execution=Execution(batch=batch, threads=settings.threads),
        )
        for batch, masks in product(settings.batch, settings.masks)
    ]
    slots = list(accumulate(map(slots_of, jobs), initial=0))
    with ExitStack() as stack:
        stack.enter_context(one_blas_thread())
        meters: list[Meter] = []
        for backend in backends:
            backend.bind(jobs[0].perturbation, slots[-1])
            for job, first_slot in zip(jobs, slots, strict=False):
                # One image with few masks fills caches and gives the runtime the batch's shape.
                masks, few = job.measurement.masks, max(2, job.execution.batch)
                short = replace(job.measurement, masks=min(masks, few) if isinstance(masks, int) else few)
                with closing(Meter(replace(job, measurement=short), backend, first_slot, images)) as meter:
                    meter.measure(1)
                meters.append(stack.enter_context(closing(Meter(job, backend, first_slot, images))))
                say(f"{meters[-1].name}: about {meters[-1].aim(settings.seconds):.1f} forwards/s")
        yield meters


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
