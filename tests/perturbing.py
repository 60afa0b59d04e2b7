"""Running an artifact's graph on rows of every kind, and the same images made by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rate.backends.base import Backend, BackendSpec, Logits
from rate.kernels import reference
from rate.kernels.separable import Perturbation
from rate.types import Picture, Rows


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


Pictures = Sequence[Picture]


def pictures(count: int, size: int, seed: int = 3) -> list[Picture]:
    """Noise, each picture and channel with a normalisation of its own."""
    rng = np.random.default_rng(seed)
    levels = rng.integers(0, 256, (count, 3, size, size)).astype(np.uint8)
    zero, scale = rng.uniform(100, 150, (count, 3)), rng.uniform(0.01, 0.02, (count, 3))
    return [Picture(*one) for one in zip(levels, np.float32(zero), np.float32(scale), strict=True)]


def pixels(images: Pictures) -> np.ndarray:
    """[i,3,h,w] f32 what a model sees of the images."""
    return np.stack([image.pixels for image in images])


def regions(count: int, size: int) -> np.ndarray:
    """Weights [count,size,size] in 255ths: some pixels in, some out, some on a soft edge."""
    return np.random.default_rng(count).uniform(-127, 382, (count, size, size)).clip(0, 255).astype(np.uint8)


def by_hand(perturbation: Perturbation, images: Pictures, rows: Rows) -> np.ndarray:
    """[b,3,h,w] pasted pixel by pixel, with the `regions` of the images."""
    made = reference.perturb(pixels(images), regions(len(images), perturbation.size), rows, perturbation)
    return made.astype(np.float32)


def put(backend: Backend, images: Pictures) -> None:
    """The images with their `regions` in the first slots."""
    for slot, (image, region) in enumerate(zip(images, regions(len(images), len(images[0].levels[0])), strict=True)):
        backend.put(slot, image, region)


def run(spec: BackendSpec, perturbation: Perturbation, images: Pictures, rows: Rows) -> Logits:
    """Logits of one batch."""
    with spec.open(perturbation, len(images)) as backend:
        put(backend, images)
        return backend.submit(rows).wait()
