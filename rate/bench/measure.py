"""The throughput of an artifact on this machine: the backend alone, the whole engine, and their ratio within one run.

All backends are open at once and the rounds alternate over them, forwards and backwards, so that a slowdown of the
machine affects all of them equally.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace

from rate.artifacts.artifact import Artifact
from rate.backends.base import Backend
from rate.backends.process import one_blas_thread
from rate.bench.plan import Images
from rate.bench.result import Figures, MaskedFigures, Spread
from rate.bench.settings import BenchSettings
from rate.bench.stream import RAW_SLOTS, Metered, Raw, Stream, Window
from rate.config import Execution, Measurement
from rate.engine.choose_backend import Say
from rate.engine.engine import slots_of
from rate.engine.job import Job
from rate.engine.schedule import CLEAN_ROWS

LEAST_BATCHES = 4
"""The least number of batches of one measurement."""

AUTO_WARM_UP = 256
"""The number of masks after which the warm-up of ``auto`` stops for an image."""

ObserveBench = Callable[[int, str], None]
"""Receives the number of finished measurements and the configuration of the last one."""


@dataclass(slots=True, eq=False)
class _Run:
    """The engine at one setting of masks, between two measurements."""

    stream: Stream
    masks: int | str
    images: int  # per round
    windows: list[Window] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _Configuration:
    """One backend, precision and batch size."""

    backend: str
    precision: str
    batch: int
    raw: Raw
    batches: int  # batches of the backend alone in a round
    pace: float  # forwards/s in the warm-up
    runs: list[_Run] = field(default_factory=list)
    paces: list[float] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The name for display."""
        return f"{self.backend} {self.precision} batch {self.batch}"

    def round(self) -> Iterator[None]:
        """Run one measurement of each kind, and yield after each."""
        self.paces.append(self.raw.measure(self.batches))
        yield
        for run in self.runs:
            run.windows.append(run.stream.measure(run.images))
            yield

    def figures(self) -> Figures:
        """Return the figures of all rounds."""
        return Figures(
            self.backend,
            self.precision,
            self.batch,
            Spread.of(self.paces),
            tuple(self._masked(run) for run in self.runs),
        )

    def _masked(self, run: _Run) -> MaskedFigures:
        engine = tuple(window.forwards_per_s for window in run.windows)
        return MaskedFigures(
            masks=run.masks,
            images=run.images,
            engine_forwards_per_s=Spread.of(engine),
            engine_over_raw=Spread.of(ours / raw for ours, raw in zip(engine, self.paces, strict=True)),
            images_per_s=Spread.of(window.images_per_s for window in run.windows),
        )


class Bench:
    """Open, warmed-up backends with their idle streams."""

    def __init__(self, configurations: Sequence[_Configuration], settings: BenchSettings) -> None:
        self._configurations, self._settings = configurations, settings

    @property
    def total(self) -> int:
        """The number of measurements."""
        return self._settings.rounds * sum(1 + len(configuration.runs) for configuration in self._configurations)

    def measure(self, observe: ObserveBench = lambda done, what: None) -> tuple[Figures, ...]:
        """Run all rounds, interleaved; call it once.

        Raises:
            BackendError: a runtime failed.
        """
        done = 0
        for k in range(self._settings.rounds):
            for configuration in self._configurations[:: 1 if k % 2 == 0 else -1]:
                for _ in configuration.round():
                    done += 1
                    observe(done, configuration.name)
        return tuple(configuration.figures() for configuration in self._configurations)


@contextmanager
def warmed_up(
    artifact: Artifact, settings: BenchSettings, images: Images, backends: Sequence[Backend], say: Say = lambda _: None
) -> Iterator[Bench]:
    """Warm up all configurations on open ``backends``, without timing.

    Raises:
        BackendError: a runtime failed.
    """
    with ExitStack() as stack:
        stack.enter_context(one_blas_thread())
        configurations: list[_Configuration] = []
        for backend in backends:
            jobs = [
                images.job(artifact, Measurement(masks=masks), Execution(batch=batch, threads=settings.threads))
                for batch in settings.batch
                for masks in settings.masks
            ]
            backend.bind(jobs[0].method.perturbation, RAW_SLOTS + sum(map(slots_of, jobs)))
            for configuration in _configurations(backend, jobs, images, settings):
                say(f"{configuration.name}: about {configuration.pace:.1f} forwards/s")
                configurations.append(configuration)
                for run in configuration.runs:
                    stack.callback(run.stream.close)
        yield Bench(configurations, settings)


def _configurations(
    backend: Backend, jobs: list[Job], images: Images, settings: BenchSettings
) -> Iterator[_Configuration]:
    """Yield the configurations of one backend; every stream has its own slots."""
    first = RAW_SLOTS
    for batch in settings.batch:
        configuration = _raw_configuration(backend, batch, jobs[0], images, settings)
        for job in (job for job in jobs if job.execution.batch == batch):
            configuration.runs.append(_run(Metered(backend, first), job, images, settings, configuration.pace))
            first += slots_of(job)
        yield configuration


def _raw_configuration(
    backend: Backend, batch: int, job: Job, images: Images, settings: BenchSettings
) -> _Configuration:
    raw = Raw(Metered(backend, 0), job.method.perturbation, batch, images)
    streams = max(1, backend.depth - 1)  # a multiple of the streams, since a stream would idle during an extra batch
    raw.measure(1)
    pace = raw.measure(max(2, streams))
    turns = math.ceil(max(LEAST_BATCHES, settings.seconds * pace / batch) / streams)
    return _Configuration(backend.name, backend.precision, batch, raw, turns * streams, pace)


def _run(backend: Metered, job: Job, images: Images, settings: BenchSettings, pace: float) -> _Run:
    rows = _warm_up(backend, job, images)
    each = math.ceil(max(settings.seconds * pace, LEAST_BATCHES * job.execution.batch) / rows)
    masks = job.measurement.masks if isinstance(job.measurement.masks, int) else "auto"
    return _Run(Stream(job, backend, images, settings.rounds * each), masks, each)


def _warm_up(backend: Metered, job: Job, images: Images) -> int:
    """Run one shortened image, which fills caches and gives the runtime the batch's shape; return about how many rows
    it takes.
    """
    measurement, masks = job.measurement, job.measurement.masks
    if isinstance(masks, int):
        short = replace(measurement, masks=min(masks, max(2, job.execution.batch)))
    else:
        short = replace(measurement, max_masks=min(measurement.max_masks, max(measurement.min_masks, AUTO_WARM_UP)))
    with closing(Stream(replace(job, measurement=short), backend, images, 1)) as stream:
        window = stream.measure(1)
    return CLEAN_ROWS + masks if isinstance(masks, int) else window.forwards
