"""One row of a bench: the engine at one configuration, which pauses between measurements, and its backend alone.

The device is idle at the start and the end of a measurement, so another one can run in between on the same cores.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from operator import truediv

import numpy as np

from rate.backends.base import Backend, Pending
from rate.backends.batches import clean_rows
from rate.backends.process import usable_cores
from rate.bench.document import RoundValues, Row
from rate.bench.plan import Images
from rate.engine.engine import Engine
from rate.engine.job import Job
from rate.engine.outcome import Step
from rate.engine.schedule import CLEAN_ROWS
from rate.errors import BackendError
from rate.machine import processor, versions

LEAST_BATCHES = 4
"""The least number of batches of one measurement."""


@dataclass(frozen=True, slots=True)
class Window:
    """One measurement of the engine."""

    rows: int  # rows computed
    seconds: float
    images: int  # images with a verdict


class Meter:
    """An evaluation without end that advances when it is measured. It has decoding threads and must be closed."""

    def __init__(self, job: Job, backend: Backend, first_slot: int, images: Images) -> None:
        """Set up the engine on the slots from ``first_slot`` on, and run its one-row forward."""
        self.name = f"{backend.name} {backend.precision} batch {job.execution.batch} masks {job.measurement.masks}"
        self._job, self._backend, self._batches = job, backend, LEAST_BATCHES
        self._clean = clean_rows(job.perturbation, np.full(job.execution.batch, first_slot, np.int64))
        self._raw: list[float] = []
        self._windows: list[Window] = []
        self._engine = Engine(job, backend, first_slot)
        self._source = self._engine.reading(cycle(images.job.samples), images.decode)
        self._source.__enter__()

    def aim(self, seconds: float) -> float:
        """Let measurements take about ``seconds``; return the forwards/s of the backend alone."""
        batch, streams = self._job.execution.batch, max(1, self._backend.depth - 1)
        self.measure_raw(1)
        pace = self.measure_raw(max(2, streams))
        # A multiple of the streams, since a stream would idle during an extra batch.
        self._batches = math.ceil(max(LEAST_BATCHES, seconds * pace / batch) / streams) * streams
        return pace

    def round(self) -> None:
        """Measure the engine, then the backend alone.

        Raises:
            BackendError: the runtime failed, or the model's logits are not finite.
        """
        self._windows.append(self.measure(self._batches * self._job.execution.batch))
        self._raw.append(self.measure_raw(self._batches))

    def measure_raw(self, batches: int) -> float:
        """Measure the forwards/s of one batch of unmasked rows, submitted at the backend's own depth."""
        flying: deque[Pending] = deque()
        began = time.perf_counter()
        for _ in range(batches):
            if len(flying) >= self._backend.depth:
                flying.popleft().wait()
            flying.append(self._backend.submit(self._clean))
        for pending in flying:
            pending.wait()
        return batches * len(self._clean) / (time.perf_counter() - began)

    def measure(self, rows: int) -> Window:
        """Run the engine for at least ``rows`` rows, until an image has its verdict.

        Batches are kept in flight up to the end, so work in advance for the next images counts in rows and seconds
        alike. On a device of several streams the last batch may run alone, which adds up to half a batch of time
        compared with a long run.
        """
        computed, images, began = 0, 0, time.perf_counter()
        for step in self._steps(rows):
            for outcome in step.outcomes:
                if outcome.error is not None:
                    raise BackendError(
                        f"{self.name} fails on {outcome.sample.id}: {outcome.error}; try another --backend or "
                        "--precision"
                    )
            computed, images = computed + step.stats.rows, images + len(step.outcomes)
        return Window(computed, time.perf_counter() - began, images)

    def _steps(self, rows: int) -> Iterator[Step]:
        computed, settled = 0, False
        while (computed < rows or not settled) and (step := self._engine.step(self._source)) is not None:
            computed, settled = computed + step.stats.rows, bool(step.outcomes)
            yield step
        yield from self._engine.pause()

    def row(self) -> Row:
        """Return the figures of all rounds."""
        job, masks = self._job, self._job.measurement.masks
        engine = [window.rows / window.seconds for window in self._windows]
        # With a fixed number of masks the rows of an image are known exactly. With adaptive masks, some rows are drawn
        # ahead of a checkpoint and not needed; they count as cost.
        images = [window.images / window.seconds for window in self._windows]
        if isinstance(masks, int):
            images = [pace / (CLEAN_ROWS + masks) for pace in engine]
        return Row(
            date=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            machine=f"{processor()}, {usable_cores()} cores",
            versions=", ".join(f"{name} {version}" for name, version in versions().items()),
            artifact=job.weights,
            data=job.data,
            backend=self._backend.name,
            precision=self._backend.precision,
            batch=job.execution.batch,
            threads=job.execution.threads or usable_cores(),
            masks=masks if isinstance(masks, int) else "auto",
            images=sum(window.images for window in self._windows),
            raw_forwards_per_s=RoundValues.of(self._raw),
            engine_forwards_per_s=RoundValues.of(engine),
            engine_over_raw=RoundValues.of(map(truediv, engine, self._raw)),
            images_per_s=RoundValues.of(images),
        )

    def close(self) -> None:
        """Wait for the device and stop the threads."""
        self._engine.drain()
        self._source.__exit__(None, None, None)
