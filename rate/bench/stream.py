"""An engine that pauses between measurements, and the throughput of its backend alone.

The device is idle at the start and the end of a measurement, so another one can run in between on the same cores.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np

from rate.backends.base import Backend, Logits, Pending
from rate.backends.batches import clean_rows
from rate.bench.plan import Images
from rate.engine.engine import Engine, slots_of
from rate.engine.job import Job
from rate.errors import BackendError
from rate.kernels.separable import Perturbation
from rate.types import Float32, Rows, SoftRegion

RAW_SLOTS = 3
"""The number of image slots of the backend alone."""


@dataclass(frozen=True, slots=True)
class Window:
    """One measurement of the engine."""

    rows: int  # rows computed
    seconds: float
    images: int  # images with a verdict
    forwards: int  # rows of these images, clean rows included

    @property
    def forwards_per_s(self) -> float:
        """The rows computed per second."""
        return self.rows / self.seconds

    @property
    def images_per_s(self) -> float:
        """The images per second at this pace."""
        return self.forwards_per_s * self.images / self.forwards


@dataclass(slots=True, eq=False)
class _Held:
    """A batch for which both the engine and `Metered.drain` may wait."""

    pending: Pending
    logits: Logits | None = None

    def wait(self) -> Logits:
        if self.logits is None:
            self.logits = self.pending.wait()
        return self.logits


class Metered:
    """The slots of an open backend from ``first`` on, with a count of the rows."""

    def __init__(self, backend: Backend, first: int) -> None:
        self.name, self.precision = backend.name, backend.precision
        self.device, self.version, self.depth = backend.device, backend.version, backend.depth
        self.rows = 0
        self._backend, self._first = backend, first
        self._held: list[_Held] = []

    def bind(self, perturbation: Perturbation, slots: int) -> None:
        """Refuse, since the backend is bound for all its users.

        Raises:
            BackendError: always.
        """
        raise BackendError("a backend that is measured is bound once, before all measurements")

    def put(self, slot: int, pixels: Float32, region: SoftRegion | None = None) -> None:
        """See `Backend`."""
        self._backend.put(self._first + slot, pixels, region)

    def submit(self, rows: Rows) -> Pending:
        """See `Backend`."""
        pending = self._backend.submit(rows.shifted(self._first))
        held = _Held(pending)
        self._held = [*(one for one in self._held if one.logits is None), held]
        self.rows += len(rows)
        return held

    def drain(self) -> None:
        """Wait until the device is idle."""
        for held in self._held:
            held.wait()


class Stream:
    """An evaluation that advances image by image. It has decoding threads and must be closed."""

    def __init__(self, job: Job, backend: Metered, images: Images, count: int) -> None:
        """Set up the engine and run its one-row forward; ``count`` is the total number of images to measure."""
        self._backend, self._fixed = backend, isinstance(job.measurement.masks, int)
        self._engine = Engine(job, backend)
        # A few more than needed, so that all batches are full.
        supply = islice(cycle(images.samples), 2 * (count + slots_of(job)))
        self._source = self._engine.reading(supply, images.decode)
        self._source.__enter__()

    def measure(self, images: int) -> Window:
        """Run until ``images`` or a few more have their verdicts and the device is idle again.

        Batches are kept in flight up to the end, so work in advance for the next images counts in rows and seconds
        alike. On a device of several streams the last batch may run alone, which adds up to half a batch of time
        compared with a long run.

        Raises:
            BackendError: the model's logits are not finite.
        """
        before, settled, forwards, began = self._backend.rows, 0, 0, time.perf_counter()
        while settled < images or self._backend.rows == before:  # one batch can complete many images
            if (step := self._engine.step(self._source)) is None:
                break
            for outcome in step.outcomes:
                if outcome.error is not None:
                    raise BackendError(
                        f"{self._backend.name} in {self._backend.precision} fails on {outcome.sample.id}: "
                        f"{outcome.error}; try another --backend or --precision"
                    )
                settled, forwards = settled + 1, forwards + outcome.verdicts[0].forwards
        self._backend.drain()
        rows, seconds = self._backend.rows - before, time.perf_counter() - began
        # With a fixed number of masks the rows of an image are known exactly. With adaptive masks, some rows are drawn
        # ahead of a checkpoint and not needed; they count as cost.
        return Window(rows, seconds, settled, forwards if self._fixed else rows)

    def close(self) -> None:
        """Wait for the device and stop the threads."""
        self._backend.drain()
        self._source.__exit__(None, None, None)


class Raw:
    """The backend alone: one batch of unmasked images, submitted repeatedly at the backend's own depth."""

    def __init__(self, backend: Metered, perturbation: Perturbation, batch: int, images: Images) -> None:
        pixels = [images.decode(sample).pixels for sample in images.samples[: min(RAW_SLOTS, batch)]]
        for slot, image in enumerate(pixels):
            backend.put(slot, image)
        self._rows = clean_rows(perturbation, np.arange(batch, dtype=np.int64) % len(pixels))
        self._backend = backend

    def measure(self, batches: int) -> float:
        """Measure forwards/s over ``batches`` batches, from an idle device to an idle device."""
        flying: deque[Pending] = deque()
        began = time.perf_counter()
        for _ in range(batches):
            if len(flying) >= self._backend.depth:
                flying.popleft().wait()
            flying.append(self._backend.submit(self._rows))
        self._backend.drain()
        return batches * len(self._rows) / (time.perf_counter() - began)
