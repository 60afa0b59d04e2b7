"""Running an artifact's graph on many masks, and the same masks put on the images by hand."""

from __future__ import annotations

import numpy as np

from rate.backends.base import BackendSpec, Logits
from rate.kernels import reference
from rate.kernels.separable import Perturbation
from rate.types import Rows


def draw(perturbation: Perturbation, images: int, count: int, seed: int = 0) -> Rows:
    """Random grids of bits at random offsets; of a one-hot kind for occlusion."""
    rng = np.random.default_rng(seed)
    side = perturbation.side
    grid = (rng.random((count, side, side)) < 0.5).astype(np.float32)
    if perturbation.name == "occlusion":
        grid = np.zeros((count, side * side), np.float32)
        grid[np.arange(count), rng.integers(0, side * side, count)] = 1.0
        grid = grid.reshape(count, side, side)
    offset = rng.integers(0, perturbation.offsets, (count, 2))
    return Rows(rng.integers(0, images, count), grid, offset)


def pictures(count: int, size: int, seed: int = 3) -> np.ndarray:
    """Normalised noise [count,3,size,size] f32."""
    return np.random.default_rng(seed).normal(0, 1, (count, 3, size, size)).astype(np.float32)


def masked_by_hand(perturbation: Perturbation, images: np.ndarray, rows: Rows) -> np.ndarray:
    """[b,3,h,w] with masks made pixel by pixel."""
    masks = reference.masks(perturbation, rows.grid, rows.offset)
    return (images[rows.slot] * masks[:, None]).astype(np.float32)


def run(spec: BackendSpec, perturbation: Perturbation, images: np.ndarray, rows: Rows) -> Logits:
    """Logits of one batch."""
    with spec.open(perturbation, len(images)) as backend:
        for slot, pixels in enumerate(images):
            backend.put(slot, pixels)
        return backend.submit(rows).wait()
