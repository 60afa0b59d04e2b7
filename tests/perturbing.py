"""Running an artifact's graph on rows of every kind, and the same images made by hand."""

from __future__ import annotations

import numpy as np

from rate.backends.base import Backend, BackendSpec, Logits
from rate.kernels import reference
from rate.kernels.separable import Perturbation
from rate.types import Rows


def draw(perturbation: Perturbation, images: int, count: int, seed: int = 0) -> Rows:
    """Random grids of bits at random offsets, one-hot for occlusion; any other image as a fill, sides in turn."""
    rng = np.random.default_rng(seed)
    side = perturbation.side
    grid = (rng.random((count, side, side)) < 0.5).astype(np.float32)
    if perturbation.name == "occlusion":
        grid = np.zeros((count, side * side), np.float32)
        grid[np.arange(count), rng.integers(0, side * side, count)] = 1.0
        grid = grid.reshape(count, side, side)
    offset = rng.integers(0, perturbation.offsets, (count, 2))
    slot = rng.integers(0, images, count)
    fill = (slot + rng.integers(1, max(images, 2), count)) % images
    return Rows(slot, grid, offset, fill, (np.arange(count) + rng.integers(0, 3)) % 3)


def pictures(count: int, size: int, seed: int = 3) -> np.ndarray:
    """Normalised noise [count,3,size,size] f32."""
    return np.random.default_rng(seed).normal(0, 1, (count, 3, size, size)).astype(np.float32)


def regions(count: int, size: int) -> np.ndarray:
    """Weights [count,size,size] f32: some pixels in, some out, some on a soft edge."""
    return np.random.default_rng(count).uniform(-0.5, 1.5, (count, size, size)).clip(0.0, 1.0).astype(np.float32)


def by_hand(perturbation: Perturbation, images: np.ndarray, rows: Rows) -> np.ndarray:
    """[b,3,h,w] pasted pixel by pixel, with the `regions` of the images."""
    made = reference.perturb(images, regions(len(images), images.shape[-1]), rows, perturbation)
    return made.astype(np.float32)


def put(backend: Backend, images: np.ndarray) -> None:
    """The images with their `regions` in the first slots."""
    for slot, (pixels, region) in enumerate(zip(images, regions(len(images), images.shape[-1]), strict=True)):
        backend.put(slot, pixels, region)


def run(spec: BackendSpec, perturbation: Perturbation, images: np.ndarray, rows: Rows) -> Logits:
    """Logits of one batch."""
    with spec.open(perturbation, len(images)) as backend:
        put(backend, images)
        return backend.submit(rows).wait()
