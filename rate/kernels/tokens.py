"""RISE on the patches of a vision transformer: cells are whole patches, and a hidden patch is no input at all.

The masks are RISE masks whose grid is the grid of patches, with sharp cells and no offset, a fixed number of them kept.
Sums, references and noise are those of `Rise` with that table; only the backend knows that it drops tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from rate.errors import ConfigError
from rate.kernels.rise import Rise
from rate.kernels.separable import Perturbation


@dataclass(frozen=True)
class RiseTokens(Rise):
    """`Rise` whose ``side`` is the model's number of patches a side; ``cells`` is "fixed"."""

    name: str = "rise-tokens"

    def __post_init__(self) -> None:
        if self.cells != "fixed" or len(self.keep) != 1:
            raise ConfigError(
                f"rise-tokens keeps the same number of patches in every mask, got {self.cells} cells and keep "
                f"{self.keep}; give fixed cells and one share"
            )
        super().__post_init__()

    @property
    def perturbation(self) -> Perturbation:
        """Tables and constants of the masks."""
        return patches(self.size, self.side)


@lru_cache(maxsize=8)
def patches(size: int, side: int) -> Perturbation:
    """Masks that are constant on each of ``side`` x ``side`` equal patches.

    Args:
        size: side of the square image, pixels; a multiple of ``side``.
        side: patches a side, at least 2.
    """
    if side < 2 or size % side:
        raise ConfigError(f"{size} pixels are not {side} equal patches a side, at least 2")
    table = np.repeat(np.eye(side, dtype=np.float32), size // side, axis=0)[None]
    clean = np.ones((side, side), np.float32)
    for array in (table, clean):
        array.setflags(write=False)  # the cache hands out one array to everybody
    return Perturbation("rise-tokens", table, 0.0, 1.0, clean)
