"""The perturbed module on a device against the oracles of `rate.kernels.reference`."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from rate.artifacts.parity import TOLERANCE
from rate.backends.batches import HostImages, perturbation_feeds, row_feeds
from rate.export.graph.perturbed import Perturbed
from rate.kernels import reference
from rate.kernels.separable import Perturbation, rise
from rate.types import Rows

Check = dict[str, object]
"""what, error, allowed, passed."""

FLOATS = (torch.float32, torch.float16, torch.bfloat16)


ROWS = 3

COSINE = 0.999
"""The least of a row of logits in a half precision; on noise the scores have no spread to compare errors with."""


class Rounded(nn.Module):
    """A tower in another precision than that of the masks before it."""

    def __init__(self, tower: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.tower, self.dtype = tower.to(dtype), dtype

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """What the tower makes of the images."""
        return self.tower(images.to(self.dtype))


def modules(device: torch.device, tower: nn.Module, size: int) -> Iterator[Check]:
    """Masks, tower and head on the device against the tower on the CPU, which is given the oracle's images."""
    family = rise(size, 7)
    images, rows = batch(family, ROWS)
    perturbed = reference.perturb(images.pixels, images.region, rows, family).astype(np.float32)
    with torch.inference_mode():
        expected = tower(torch.from_numpy(perturbed)).numpy()
    inputs = inputs_of(family, images, rows, device)
    for dtype in FLOATS:
        module = Perturbed(Rounded(copy.deepcopy(tower), dtype), [nn.Identity()]).to(device)
        with torch.inference_mode():
            found = module(**inputs)[0].float().cpu().numpy()
        if dtype == torch.float32:
            yield check(f"logits, {dtype}: largest difference", np.abs(found - expected).max(), TOLERANCE)
        else:
            yield check(f"logits, {dtype}: 1 - cosine", 1 - cosine(found, expected), 1 - COSINE)


def inputs_of(family: Perturbation, images: HostImages, rows: Rows, device: torch.device) -> dict[str, torch.Tensor]:
    """The inputs of the perturbed graph on ``device``."""
    values = {"pixels": images.pixels, "region": images.region, **row_feeds(rows), **perturbation_feeds(family)}
    return {name: torch.tensor(value).to(device) for name, value in values.items()}


def batch(family: Perturbation, count: int, images: int = 2) -> tuple[HostImages, Rows]:
    """Normalised noise with regions of noise, on each other at every side; the first two offsets are opposite ends."""
    rng = np.random.default_rng(count)
    resident = HostImages(images, family.size)
    for slot in range(images):
        pixels = rng.normal(size=(3, family.size, family.size)).astype(np.float32)
        resident.put(slot, pixels, rng.random((family.size, family.size), np.float32))
    grid = rng.integers(0, 2, (count, family.side, family.side)).astype(np.float32)
    offset = rng.integers(0, family.offsets, (count, 2))
    last = family.offsets - 1
    offset[:1], offset[1:2] = (last, 0), (0, last)
    slot = rng.integers(0, images, count)
    return resident, Rows(slot, grid, offset, (slot + 1) % images, np.arange(count) % 3)


def cosine(found: np.ndarray, expected: np.ndarray) -> float:
    """Smallest over the rows."""
    product = (found * expected).sum(axis=1)
    return float((product / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)).min())


def check(what: str, error: float, allowed: float) -> Check:
    """One line; what is not a number has not passed."""
    return {"what": what, "error": float(error), "allowed": float(allowed), "passed": bool(error <= allowed)}
