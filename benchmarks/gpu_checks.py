"""Kernels and the perturbed module on a device against the oracles of `rate.kernels.reference`."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from rate.artifacts.parity import COSINE, TOLERANCE
from rate.export.graph.perturbed import Perturbed
from rate.kernels import fold as numpy_form
from rate.kernels import reference
from rate.kernels.separable import Perturbation, occlusion, rise

Check = dict[str, object]
"""what, error, allowed, passed."""

FLOATS = (torch.float32, torch.float16, torch.bfloat16)


ROWS = 3


class Rounded(nn.Module):
    """A tower in another precision than that of the masks before it."""

    def __init__(self, tower: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.tower, self.dtype = tower.to(dtype), dtype

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """What the tower makes of the images."""
        return self.tower(images.to(self.dtype))


def kernels(device: torch.device, size: int) -> Iterator[Check]:
    """The Triton kernels at the size of a model, at one that no tile divides, and with windows."""
    from rate.kernels.triton.bound import bind
    from rate.kernels.triton.fold import fold, mass
    from rate.kernels.triton.perturb import perturb

    rng = np.random.default_rng(0)
    for family in (rise(size, 7), rise(size // 2 - 1, 14), occlusion(size, size // 6, size // 12)):
        what = f"{family.name} {family.size}/{family.side}"
        pixels, slot, grid, offset = batch(family, ROWS)
        bound, expected = bind(family, device), reference.perturb(pixels, slot, grid, offset, family)
        tensors = [torch.from_numpy(one).to(device) for one in (pixels, slot, grid, offset)]
        for dtype in FLOATS:
            found = perturb(*tensors, bound, dtype).double().cpu().numpy()
            allowed = torch.finfo(dtype).eps * np.abs(expected).max() + 1e-5
            yield check(f"perturb {what} {dtype}", np.abs(found - expected).max(), allowed)
        weights = rng.normal(size=(3, len(grid))).astype(np.float32)
        maps = fold(torch.from_numpy(weights).to(device), *tensors[2:], bound)
        summed = numpy_form.fold(weights.astype(np.float64), grid, offset, family)
        yield check(f"fold {what}", np.abs(maps.cpu().numpy() - summed).max(), 1e-5 * np.abs(weights).sum(axis=1).max())
        region = rng.random(summed.shape[1:]) < 0.3
        masses = torch.stack(mass(maps, torch.from_numpy(region).to(device)), dim=1).cpu().numpy()
        slow = np.array([reference.mass(one, region) for one in summed])
        yield check(f"mass {what}", np.abs(masses - slow).max(), 1e-5 * np.abs(summed).sum(axis=(1, 2)).max())


def modules(device: torch.device, tower: nn.Module, size: int, triton: bool) -> Iterator[Check]:
    """Masks, tower and head on the device against the tower on the CPU, which is given the oracle's images."""
    family = rise(size, 7)
    pixels, slot, grid, offset = batch(family, ROWS)
    masked = reference.perturb(pixels, slot, grid, offset, family).astype(np.float32)
    with torch.inference_mode():
        expected = tower(torch.from_numpy(masked)).numpy()
    inputs = inputs_of(family, (pixels, slot, grid, offset), device)
    for dtype in FLOATS:
        rounded = Rounded(copy.deepcopy(tower), dtype)
        made: dict[str, nn.Module] = {"in the graph": Perturbed(rounded, [nn.Identity()])}
        if triton:
            from rate.export.graph.perturbed_triton import TritonPerturbed

            made["Triton"] = TritonPerturbed(rounded.tower, [nn.Identity()])
        for name, module in made.items():
            module.to(device)
            with torch.inference_mode():
                found = module(*inputs)[0].float().cpu().numpy()
            what = f"logits, masks {name}, {dtype}"
            if dtype == torch.float32:
                yield check(f"{what}: largest difference", np.abs(found - expected).max(), TOLERANCE)
            else:
                yield check(f"{what}: 1 - cosine", 1 - cosine(found, expected), 1 - COSINE)


def inputs_of(family: Perturbation, rows: tuple[np.ndarray, ...], device: torch.device) -> tuple[torch.Tensor, ...]:
    """The inputs of the perturbed graph on ``device``: pixels, slot, grid, offset, table, a, b."""
    constants = (torch.tensor(value, dtype=torch.float32) for value in (family.table, family.a, family.b))
    return tuple(one.to(device) for one in (*map(torch.from_numpy, rows), *constants))


def batch(family: Perturbation, count: int, images: int = 2) -> tuple[np.ndarray, ...]:
    """Normalised noise [i,3,h,w], slots, grids of bits, offsets of which the first two are opposite ends."""
    rng = np.random.default_rng(count)
    pixels = rng.normal(size=(images, 3, family.size, family.size)).astype(np.float32)
    grid = rng.integers(0, 2, (count, family.side, family.side)).astype(np.float32)
    offset = rng.integers(0, family.offsets, (count, 2))
    last = family.offsets - 1
    offset[:1], offset[1:2] = (last, 0), (0, last)
    return pixels, rng.integers(0, images, count), grid, offset


def cosine(found: np.ndarray, expected: np.ndarray) -> float:
    """Smallest over the rows."""
    product = (found * expected).sum(axis=1)
    return float((product / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)).min())


def check(what: str, error: float, allowed: float) -> Check:
    """One line; what is not a number has not passed."""
    return {"what": what, "error": float(error), "allowed": float(allowed), "passed": bool(error <= allowed)}
