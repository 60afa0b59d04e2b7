"""Throughput of an artifact on this machine: the backend alone, the whole engine, and their ratio within one run.

Every backend is open at once and the rounds go over all of them in turn, forwards and backwards, so that a machine
that slows down slows all of them alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace

from rate.artifacts.artifact import Artifact
from rate.backends.base import Backend
from rate.backends.process import one_blas_thread
from rate.bench.plan import BenchSettings, Images
from rate.bench.result import Figures, MaskedFigures, Spread
from rate.bench.stream import RAW_SLOTS, Metered, Raw, Stream, Window
from rate.config import Execution, Measurement
from rate.engine.choose_backend import Say
from rate.engine.engine import slots_of
from rate.engine.job import Job
from rate.engine.schedule import CLEAN_ROWS

LEAST_BATCHES = 4
"""Of one measurement."""

AUTO_WARM_UP = 256
"""Masks after which the warm-up of ``auto`` gives up on an image."""

ObserveBench = Callable[[int, str], None]
"""Told how many measurements are done, and which configuration the last one was of."""


@dataclass(slots=True, eq=False)
class _Run:
    """The engine at one setting of masks, between two measurements."""

    stream: Stream
    masks: int | str
    images: int  # a round
    rows: int  # of an image
    windows: list[Window] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _Configuration:
    """One backend, precision and batch."""

    backend: str
    precision: str
    batch: int
    raw: Raw
    batches: int  # of the backend alone, a round
    pace: float  # forwards/s in the warm-up
    runs: list[_Run] = field(default_factory=list)
    paces: list[float] = field(default_factory=list)

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.backend} {self.precision} batch {self.batch}"

    @property
    def seconds(self) -> float:
        """About how long a round takes."""
        return (self.batches * self.batch + sum(run.images * run.rows for run in self.runs)) / self.pace

    def round(self, keep: bool) -> Iterator[None]:
        """One measurement of everything; an item after each."""
        pace = self.raw.measure(self.batches)
        if keep:
            self.paces.append(pace)
        yield
        for run in self.runs:
            window = run.stream.measure(run.images)
            if keep:
                run.windows.append(window)
            yield

    def figures(self) -> Figures:
        """What the rounds came to."""
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
    """Open backends with their streams, warmed up and standing still."""

    def __init__(self, configurations: Sequence[_Configuration], settings: BenchSettings) -> None:
        self._configurations, self._settings = configurations, settings

    @property
    def total(self) -> int:
        """Measurements to come."""
        return self._rounds * sum(1 + len(configuration.runs) for configuration in self._configurations)

    @property
    def seconds(self) -> float:
        """About how long they take, from the pace of the warm-up."""
        return self._rounds * sum(configuration.seconds for configuration in self._configurations)

    @property
    def _rounds(self) -> int:
        return self._settings.warm_up + self._settings.rounds

    def measure(self, observe: ObserveBench = lambda done, what: None) -> tuple[Figures, ...]:
        """All rounds, interleaved; call it once.

        Raises:
            BackendError: a runtime failed.
        """
        done = 0
        for k in range(self._rounds):
            for configuration in self._configurations[:: 1 if k % 2 == 0 else -1]:
                for _ in configuration.round(keep=k >= self._settings.warm_up):
                    done += 1
                    observe(done, configuration.name)
        return tuple(configuration.figures() for configuration in self._configurations)


@contextmanager
def warmed_up(
    artifact: Artifact, settings: BenchSettings, images: Images, backends: Sequence[Backend], say: Say = lambda _: None
) -> Iterator[Bench]:
    """Warm up everything that is to be measured on open ``backends``; nothing of it is timed.

    Raises:
        BackendError: a runtime failed.
    """
    with ExitStack() as stack:
        stack.enter_context(one_blas_thread())
        configurations: list[_Configuration] = []
        for backend in backends:
            jobs = [
                images.job(artifact, Measurement(masks=masks), Execution(batch=batch, threads=settings.threads))
                for batch in settings.batches
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
    """The configurations of one backend; every stream has slots of its own."""
    first = RAW_SLOTS
    for batch in settings.batches:
        configuration = _raw_configuration(backend, batch, jobs[0], images, settings)
        for job in (job for job in jobs if job.execution.batch == batch):
            room = slots_of(job)
            configuration.runs.append(_run(Metered(backend, first), job, images, settings, configuration.pace))
            first += room
        yield configuration


def _raw_configuration(
    backend: Backend, batch: int, job: Job, images: Images, settings: BenchSettings
) -> _Configuration:
    raw = Raw(Metered(backend, 0), job.method.perturbation, batch, images)
    streams = max(1, backend.depth - 1)  # whole turns of the streams: with a batch left over, one of them would idle
    raw.measure(1)
    pace = raw.measure(max(2, streams))
    turns = math.ceil(max(LEAST_BATCHES, settings.seconds * pace / batch) / streams)
    return _Configuration(backend.name, backend.precision, batch, raw, turns * streams, pace)


def _run(backend: Metered, job: Job, images: Images, settings: BenchSettings, pace: float) -> _Run:
    rows = _warm_up(backend, job, images)
    each = math.ceil(max(settings.seconds * pace, LEAST_BATCHES * job.execution.batch) / rows)
    count = (settings.warm_up + settings.rounds) * each
    masks = job.measurement.masks if isinstance(job.measurement.masks, int) else "auto"
    return _Run(Stream(job, backend, images, count), masks, each, rows)


def _warm_up(backend: Metered, job: Job, images: Images) -> int:
    """One image, cut short: tables that are made once and kept, the batch's shape in the runtime.

    Returns about how many rows an image takes.
    """
    measurement, masks = job.measurement, job.measurement.masks
    if isinstance(masks, int):
        short = replace(measurement, masks=min(masks, max(2, job.execution.batch)))
    else:
        short = replace(measurement, max_masks=min(measurement.max_masks, max(measurement.min_masks, AUTO_WARM_UP)))
    with closing(Stream(replace(job, measurement=short), backend, images, 1)) as stream:
        window = stream.measure(1)
    return CLEAN_ROWS + masks if isinstance(masks, int) else window.forwards
