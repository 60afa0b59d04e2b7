"""Other ways to draw the same number of masks: candidates that `benchmarks.stopping` compares with those of `rate`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from rate.kernels.rise import Rise
from rate.kernels.saliency import Masks
from rate.types import Float64, Int64


def generator(method: Rise, sample_id: str, block: int) -> np.random.Generator:
    """A stream of its own for each sample and block."""
    key = hashlib.blake2b(f"{method.seed} {block} {sample_id}".encode(), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(key, "little"))


@dataclass(frozen=True)
class Antithetic(Rise):
    """Every second mask shows what the one before it hides, at the same offset."""

    def draw(self, sample_id: str, start: int, stop: int) -> Masks:
        """See `Rise.draw`."""
        first, last = start // 2, -(-stop // 2)
        drawn = super().draw(sample_id, first, last)
        grid = np.stack([drawn.grid, 1.0 - drawn.grid], axis=1).reshape(-1, self.side, self.side).astype(np.float32)
        level = np.stack([drawn.level, len(self.keep) - 1 - drawn.level], axis=1).ravel()
        chosen = slice(start - 2 * first, stop - 2 * first)
        return Masks(grid[chosen], drawn.offset.repeat(2, axis=0)[chosen], level[chosen])


@dataclass(frozen=True)
class Balanced(Rise):
    """Of s * s masks of a level every cell is kept in equally many: they walk round a shuffled ring of the cells."""

    def draw(self, sample_id: str, start: int, stop: int) -> Masks:
        """See `Rise.draw`."""
        drawn = super().draw(sample_id, start, stop)
        cells, levels = self.side**2, len(self.keep)
        grid = np.zeros((stop - start, cells), np.float32)
        for row, number in enumerate(range(start, stop)):
            level, turn = number % levels, number // levels
            ring = generator(self, sample_id, levels * (turn // cells) + level).permutation(cells)
            kept = self._kept[level]
            grid[row, ring[(turn % cells * kept + np.arange(kept)) % cells]] = 1.0
        return Masks(grid.reshape(-1, self.side, self.side), drawn.offset, drawn.level)


@dataclass(frozen=True)
class LowDiscrepancy(Rise):
    """Offsets from a shifted Kronecker sequence (Roberts' R2) instead of by chance."""

    def draw(self, sample_id: str, start: int, stop: int) -> Masks:
        """See `Rise.draw`."""
        drawn = super().draw(sample_id, start, stop)
        plastic = 1.324717957244746  # the real root of x^3 = x + 1
        steps = np.array([1 / plastic, 1 / plastic**2])
        shift = generator(self, sample_id, 0).random(2)
        position: Float64 = (shift + np.arange(start, stop)[:, None] * steps) % 1.0
        offset: Int64 = (position * self.perturbation.offsets).astype(np.int64)
        return Masks(drawn.grid, offset, drawn.level)
