"""A plain function behind the same interface, on which scheduler, estimator and pipeline run in milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from rate.backends.base import Backend, Logits
from rate.kernels import reference
from rate.kernels.separable import Perturbation
from rate.types import Float32, Rows

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
        size = perturbation.size
        yield FakeBackend(self.model, perturbation, np.zeros((slots, 3, size, size), np.float32), self.depth)


@dataclass(slots=True)
class FakeBackend:
    """An open `FakeSpec`."""

    model: Model
    perturbation: Perturbation
    pixels: Float32  # [i,3,h,w]
    depth: int = 1
    name: str = "fake"
    precision: str = "f32"
    device: str = "cpu"
    version: str = "1"

    def bind(self, perturbation: Perturbation, slots: int) -> None:
        """See `Backend`."""
        size = perturbation.size
        self.perturbation, self.pixels = perturbation, np.zeros((slots, 3, size, size), np.float32)

    def put(self, slot: int, pixels: Float32) -> None:
        """Copy ``pixels`` into ``slot``."""
        self.pixels[slot] = pixels

    def submit(self, rows: Rows) -> FakePending:
        """Mask the images and compute the logits at once."""
        masks = reference.masks(self.perturbation, rows.grid, rows.offset).astype(np.float32)
        return FakePending(self.model(self.pixels[rows.slot] * masks[:, None]))


@dataclass(frozen=True, slots=True)
class FakePending:
    """A batch that is already done."""

    logits: Logits

    def wait(self) -> Logits:
        """Return the logits."""
        return self.logits
