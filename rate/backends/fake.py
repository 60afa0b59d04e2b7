"""A plain function behind the same interface, on which scheduler, estimator and pipeline run in milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from rate.backends.base import Backend, Done, IdleClock, Logits
from rate.backends.batches import HostImages, check_rows
from rate.kernels import reference
from rate.kernels.separable import Perturbation
from rate.types import Float32, Picture, Rows, SoftRegion

Model = Callable[[Float32], Logits]
"""Maps masked images [b,3,h,w] to logits [b,c] of each head."""


@dataclass(frozen=True, slots=True)
class FakeSpec:
    """A description of a backend that runs ``model`` on explicitly masked images."""

    model: Model
    depth: int = 1
    name: str = "fake"
    precision: str = "f32"

    @contextmanager
    def open(self, perturbation: Perturbation, slots: int) -> Iterator[Backend]:
        """Allocate ``slots`` image slots; there is nothing to release."""
        yield FakeBackend(self.model, perturbation, HostImages(slots, perturbation.size), self.depth)


@dataclass(slots=True)
class FakeBackend:
    """An open `FakeSpec`."""

    model: Model
    perturbation: Perturbation
    images: HostImages
    depth: int = 1
    name: str = "fake"
    precision: str = "f32"
    device: str = "cpu"
    version: str = "1"
    clock: IdleClock = field(default_factory=IdleClock)

    def bind(self, perturbation: Perturbation, slots: int) -> None:
        """See `Backend`."""
        self.perturbation, self.images = perturbation, HostImages(slots, perturbation.size)

    def put(self, slot: int, picture: Picture, region: SoftRegion | None = None) -> None:
        """See `Backend`."""
        self.images.put(slot, picture, region)

    def submit(self, rows: Rows) -> Done:
        """Perturb the images and compute the logits at once."""
        check_rows(rows, self.perturbation, len(self.images.levels))
        with self.clock.batch() as idle_s:
            images = reference.perturb(self.images.pixels, self.images.region, rows, self.perturbation)
            return Done(self.model(images.astype(np.float32)), idle_s)
