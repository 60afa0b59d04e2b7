"""RISE (Petsiuk, Das, Saenko 2018): random masks, and the score-weighted sum of them.

S = sum_n f(M_n) M_n / (N p) is their equation 6. The signal is the covariance of score and mask at each pixel, which
is S without the large constant that comes from the mean score.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from rate.errors import ConfigError
from rate.kernels.fold import fold, project
from rate.kernels.saliency import RESOLUTION, Bounds, Maps, Masks, evidence, mass_inside
from rate.kernels.separable import Perturbation, rise
from rate.types import Bool, Float64

NOISE_Z = 3.0
"""A map counts as signal when its energy lies this many standard deviations above that of unrelated scores."""


@dataclass(frozen=True)
class Rise:
    """RISE at one image size, grid, share of kept cells and seed."""

    size: int  # side of the square image, pixels
    side: int  # side s of the grid
    keep: float  # share of cells kept
    cells: str  # "fixed": that share exactly | "independent": each with that probability
    count: int  # masks of a sample
    seed: int
    name: str = "rise"

    def __post_init__(self) -> None:
        if self.cells == "fixed" and not 0 < self._kept < self.side**2:
            raise ConfigError(
                f"keep {self.keep} of a {self.side}x{self.side} grid keeps {self._kept} of {self.side**2} cells: "
                "nothing would vary; use a share nearer to 0.5"
            )

    @property
    def perturbation(self) -> Perturbation:
        """Tables and constants of the masks."""
        return rise(self.size, self.side)

    @property
    def _kept(self) -> int:
        return round(self.keep * self.side**2)

    @property
    def share(self) -> float:
        """Mean of a mask, at every pixel: the p of S."""
        return self._kept / self.side**2 if self.cells == "fixed" else self.keep

    def draw(self, sample_id: str, start: int, stop: int) -> Masks:
        """Masks ``start`` to ``stop`` - 1 of a sample, a function of (seed, id, i) alone.

        Philox 4x64-10, key = blake2b-64 of the seed (8 bytes, little endian) and the id in UTF-8. Mask i owns the
        ``ceil((s * s + 2) / 4)`` counter blocks from i times that number on: s * s words for the cells, row by row,
        then one for the y and one for the x offset.
        """
        cells = self.side**2
        blocks = math.ceil((cells + 2) / 4)
        key = hashlib.blake2b(self.seed.to_bytes(8, "little") + sample_id.encode(), digest_size=8).digest()
        stream = np.random.Philox(key=int.from_bytes(key, "little"), counter=start * blocks)
        words = stream.random_raw((stop - start) * blocks * 4).reshape(stop - start, blocks * 4)
        offset = (words[:, cells : cells + 2] % np.uint64(self.perturbation.offsets)).astype(np.int64)
        grid = self._grid(words[:, :cells]).astype(np.float32)
        return Masks(grid.reshape(-1, self.side, self.side), offset)

    def _grid(self, words: np.ndarray) -> Bool:
        if self.cells == "independent":
            return np.asarray((words >> np.uint64(11)) * 2.0**-53 < self.keep)
        grid = np.zeros(words.shape, np.bool_)
        smallest = np.argpartition(words, self._kept - 1, axis=1)[:, : self._kept]
        np.put_along_axis(grid, smallest, True, axis=1)
        return grid

    def maps(self, clean: Float64, scores: Float64, masks: Masks) -> Maps:
        """Fold scores [k,n] into S and into the covariance of score and mask (divided by n)."""
        mean = scores.mean(axis=1, keepdims=True)
        weights = np.concatenate([scores - mean, np.ones((1, scores.shape[1]))]) / scores.shape[1]
        folded = fold(weights, masks.grid, masks.offset, self.perturbation)
        signal, coverage = folded[:-1], folded[-1]
        return Maps(saliency=(signal + mean[:, :, None] * coverage) / self.share, signal=signal)

    def bounds(self, region: Bool) -> Bounds:
        """Relevance mass of max(0, C R) and of max(0, C (1 - R)), C the exact covariance of the masks."""
        return Bounds(
            ceiling=mass_inside(self._observed(region), region), floor=mass_inside(self._observed(~region), region)
        )

    def _observed(self, seen: Bool) -> Float64:
        """C @ seen up to a positive factor: the map of a model whose score is the visible part of ``seen``."""
        kernel = self._moments.kernel
        common = seen.sum() / self.side**2 if self.cells == "fixed" else 0.0
        return kernel @ seen.astype(np.float64) @ kernel - common

    @cached_property
    def _moments(self) -> Moments:
        return moments(self.size, self.side, self.cells == "fixed")

    def above_noise(self, scores: Float64, maps: Maps) -> Bool:
        """[k] whether the signal's energy exceeds that of scores unrelated to the masks by `NOISE_Z` deviations.

        Were score and mask independent, the sampled covariance would have covariance var(f) C / n over the pixels, so
        its energy would have mean var(f) tr(C) / n and standard deviation var(f) sqrt(2 tr(C^2)) / n. Scores whose
        spread is below float32 resolution are noise whatever their energy.
        """
        count = scores.shape[1]
        scale = self.share * (1 - self.share) * (self.side**2 / (self.side**2 - 1) if self.cells == "fixed" else 1.0)
        expected = scores.var(axis=1) * scale * self._moments.trace / count
        energy = (maps.signal**2).sum(axis=(1, 2))
        spread = math.sqrt(2.0 * self._moments.trace_of_square) / self._moments.trace
        resolved = scores.std(axis=1) > RESOLUTION * np.maximum(1.0, np.abs(scores.mean(axis=1)))
        return np.asarray(resolved & (energy > expected * (1.0 + NOISE_Z * spread)))

    def standard_error(self, scores: Float64, masks: Masks, maps: Maps, region: Bool) -> Float64:
        """[k] standard error of the relevance mass by its influence function; 0 where there is no evidence.

        The mass is sum(E R) / sum(E) with E = max(0, cov(f, M)); mask n moves it by
        (f_n - mean f)(w_n - mean w) / sum(E), w_n = sum over the pixels with evidence of (R - RMA) M_n.
        """
        positive = evidence(maps, "positive")
        total = positive.sum(axis=(1, 2))
        safe = np.where(total > 0, total, 1.0)
        mass = positive[:, region].sum(axis=1) / safe
        pull = (positive > 0) * (region - mass[:, None, None])
        moved = project(pull, masks.grid, masks.offset, self.perturbation)
        influence = (scores - scores.mean(axis=1, keepdims=True)) * (moved - moved.mean(axis=1, keepdims=True))
        return np.asarray(influence.std(axis=1) / math.sqrt(scores.shape[1]) / safe)


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Second moments of the masks, without the factor p (1 - p)."""

    kernel: Float64  # [h,h] mean over the offsets of table @ table^T; the covariance is its Kronecker square
    trace: float  # of the covariance over all pixels
    trace_of_square: float


@lru_cache(maxsize=8)
def moments(size: int, side: int, fixed: bool) -> Moments:
    """Exact second moments for a grid of ``side`` x ``side`` cells; ``fixed``: the number of kept cells is."""
    table = rise(size, side).table.astype(np.float64)
    kernel = np.einsum("tis,tjs->ij", table, table) / len(table)
    kernel.setflags(write=False)
    common = 1.0 / side**2 if fixed else 0.0
    trace = float(np.trace(kernel) ** 2 - common * size**2)
    square = float((kernel**2).sum() ** 2 - 2 * common * kernel.sum() ** 2 + (common * size**2) ** 2)
    return Moments(kernel, trace, square)
