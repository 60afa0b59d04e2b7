"""Masks at awkward sizes, on the device that the kernels run on here."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import torch

from rate.kernels.separable import Perturbation, occlusion, rise
from rate.kernels.tokens import patches

DEVICE = "cpu" if os.environ["TRITON_INTERPRET"] == "1" else "cuda"

EPS32 = 2.0**-23

FAMILIES = {
    "smallest": rise(2, 2),
    "side-2": rise(14, 2),
    "side-14": rise(33, 14),
    "tails": rise(67, 7),  # no multiple of a tile's height or width
    "one-tile": rise(64, 8),
    "occlusion": occlusion(21, 6, 5),
    "patches": patches(28, 14),
}


SMALL = rise(19, 3)


@dataclass(frozen=True)
class Drawn:
    """Grids and offsets in numpy, and the same on the device."""

    grid: np.ndarray
    offset: np.ndarray

    @property
    def tensors(self) -> tuple[torch.Tensor, torch.Tensor]:
        return on_device(self.grid), on_device(self.offset)


def on_device(array: np.ndarray) -> torch.Tensor:
    return torch.tensor(array, device=DEVICE)


def draw(perturbation: Perturbation, count: int, seed: int = 0) -> Drawn:
    """Grids of any values, since kernels know nothing of bits; the first two masks have opposite ends of offsets."""
    rng = np.random.default_rng(seed)
    grid = rng.normal(size=(count, perturbation.side, perturbation.side)).astype(np.float32)
    offset = rng.integers(0, perturbation.offsets, (count, 2))
    last = perturbation.offsets - 1
    offset[:1], offset[1:2] = (last, 0), (0, last)
    return Drawn(grid, offset)
