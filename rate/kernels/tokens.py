"""RISE on the patches of a vision transformer: the tokens of hidden patches are dropped from the input.

The masks are RISE masks whose grid is the grid of patches, with sharp cells, no offset and a fixed number of kept
patches. Sums, bounds and noise are those of `Rise` with that table; only the backend drops tokens. No forward is
without any patch, so what the whole picture contributes comes from a straight line through the score of all patches and
the mean score of the masks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from rate.config import Measurement
from rate.errors import ConfigError, UsageError
from rate.kernels.rise import Rise
from rate.kernels.separable import Perturbation
from rate.types import HeadValues, Scores


@dataclass(frozen=True)
class RiseTokens(Rise):
    """`Rise` whose ``side`` is the model's number of patches per side; ``cells`` must be "fixed"."""

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
        """The tables and constants of the masks."""
        return patches(self.size, self.side)

    def _effect(self, clean: HeadValues, nothing: HeadValues, scores: Scores) -> HeadValues:
        return np.asarray((clean - scores.mean(axis=1)) / (1.0 - self.share))


def from_settings(measurement: Measurement, size: int, patches: int | None) -> RiseTokens:
    """Return masks of the model's patches.

    Raises:
        UsageError: the model has none.
    """
    if patches is None:
        raise UsageError(
            "rise-tokens drops patches, and this artifact has no token graph: export it again with --tokens, or use "
            "--saliency rise"
        )
    return RiseTokens(
        size=size,
        side=patches,
        keep=measurement.shares,
        cells=measurement.cells,
        count=measurement.most_masks,
        seed=measurement.seed,
    )


@lru_cache(maxsize=8)
def patches(size: int, side: int) -> Perturbation:
    """Describe masks that are constant on each of ``side`` x ``side`` equal patches.

    >>> patches(4, 2).table[0]
    array([[1., 0.],
           [1., 0.],
           [0., 1.],
           [0., 1.]], dtype=float32)

    Args:
        size: side of the square image, pixels; a multiple of ``side``.
        side: patches per side, at least 2.

    Raises:
        ConfigError: the sides do not divide, or ``side`` is 1.
    """
    if side < 2 or size % side:
        raise ConfigError(
            f"{size} pixels cannot be divided into {side} equal patches per side; the number must be at least 2"
        )
    table = np.repeat(np.eye(side, dtype=np.float32), size // side, axis=0)[None]
    clean = np.ones((side, side), np.float32)
    for array in (table, clean):
        array.setflags(write=False)  # all callers share the cached array
    return Perturbation("rise-tokens", table, 0.0, 1.0, clean)
