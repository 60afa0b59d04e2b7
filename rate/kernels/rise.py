"""RISE (Petsiuk, Das, Saenko 2018) sums random masks, weighted by the scores of the masked images.

S = sum_n f(M_n) M_n / (N p) is their equation 6. The signal says what the pixels contribute to the score. With q the
share of cells that are kept, f - mean f and M - q over the masks of one share, and w(p) what pixel p adds to the score
of a model that sums up its visible pixels::

    cov(f, M(p)) / (q (1 - q)) = (K w)(p)                               each cell is kept with probability q
                               = n / (n - 1) ((K w)(p) - sum(w) / n)    exactly q n of the n cells are kept

K w is w as blurred as the masks are. A fixed number of cells takes a constant part away, the contribution of the whole
picture, sum(w) = f(picture) - f(what stands where pixels are hidden), spread over the cells; it is given back, so that
the signal is K w either way. Masks may alternate between several shares: the signal is the mean over them, so that the
effect of a cell is averaged over small and large sets of other cells alike, as in a Shapley value.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Annotated

import numpy as np

from rate.config import Measurement
from rate.errors import ConfigError
from rate.kernels.fold import fold, project
from rate.kernels.saliency import RESOLUTION, Bounds, Maps, Masks, bounds_of, evidence, rest_of
from rate.kernels.separable import Perturbation, rise
from rate.types import Bool, Float64, HeadMaps, HeadValues, Levels, Region, Scores

NOISE_Z = 3.6
"""A map counts as evidence when unrelated scores would reach its strength as rarely as a normal variable reaches this.

Of unrelated scores some 0.5 % at most then get a verdict over all checkpoints (`benchmarks.no_evidence`).
"""


@dataclass(frozen=True)
class Rise:
    """RISE at one image size, grid, list of shares of kept cells, and seed.

    >>> method = Rise(size=4, side=2, keep=(0.5,), cells="fixed", count=8, seed=0)
    >>> masks = method.draw("sample", 0, 8)
    >>> masks.grid.shape, masks.grid.sum(axis=(1, 2)).tolist()  # two of four cells are kept
    ((8, 2, 2), [2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0])
    """

    size: int  # side of the square image, pixels
    side: int  # side s of the grid
    keep: tuple[float, ...]  # shares of cells kept; mask i has the share at i modulo their count
    cells: str  # "fixed": exactly that share is kept | "independent": each cell is kept with that probability
    count: int  # number of masks of a sample
    seed: int
    name: str = "rise"

    def __post_init__(self) -> None:
        if self.cells != "fixed":
            return
        for keep, kept in zip(self.keep, self._kept, strict=True):
            if not 0 < kept < self.side**2:
                raise ConfigError(
                    f"keep {keep} of a {self.side}x{self.side} grid keeps {kept} of {self.side**2} cells, so all masks "
                    "would be equal; use a share nearer to 0.5"
                )

    @property
    def perturbation(self) -> Perturbation:
        """The tables and constants of the masks."""
        return rise(self.size, self.side)

    @property
    def _kept(self) -> tuple[int, ...]:
        return tuple(round(keep * self.side**2) for keep in self.keep)

    @property
    def shares(self) -> tuple[float, ...]:
        """The mean of the masks of each level, the same at every pixel."""
        return tuple(kept / self.side**2 for kept in self._kept) if self.cells == "fixed" else self.keep

    @property
    def share(self) -> float:
        """The mean of all masks, the p of S, the same at every pixel."""
        return sum(self.shares) / len(self.shares)

    @property
    def sampled(self) -> bool:
        """True: the masks are drawn at random."""
        return True

    def draw(self, sample_id: str, start: int, stop: int) -> Masks:
        """Draw masks ``start`` to ``stop`` - 1 of a sample; mask i depends on (seed, id, i) alone.

        The generator is Philox 4x64-10 with key = blake2b-64 of the seed (8 bytes, little endian) and the id in UTF-8.
        Mask i has the ``ceil((s * s + 2) / 4)`` counter blocks from i times that number on: s * s words for the cells,
        row by row, then one for the y and one for the x offset. Its share of kept cells is the one at i modulo the
        number of shares.
        """
        cells = self.side**2
        blocks = math.ceil((cells + 2) / 4)
        key = hashlib.blake2b(self.seed.to_bytes(8, "little") + sample_id.encode(), digest_size=8).digest()
        stream = np.random.Philox(key=int.from_bytes(key, "little"), counter=start * blocks)
        words = stream.random_raw((stop - start) * blocks * 4).reshape(stop - start, blocks * 4)
        offset = (words[:, cells : cells + 2] % np.uint64(self.perturbation.offsets)).astype(np.int64)
        level = np.arange(start, stop) % len(self.keep)
        grid = self._grid(words[:, :cells], level).astype(np.float32)
        return Masks(grid.reshape(-1, self.side, self.side), offset, level)

    def _grid(self, words: Annotated[np.ndarray, "n s*s"], level: Levels) -> Annotated[Bool, "n s*s"]:
        if self.cells == "independent":
            return np.asarray((words >> np.uint64(11)) * 2.0**-53 < np.array(self.keep)[level, None])
        grid = np.zeros(words.shape, np.bool_)
        smallest_first = np.arange(words.shape[1]) < np.array(self._kept)[level, None]
        np.put_along_axis(grid, words.argsort(axis=1), smallest_first, axis=1)
        return grid

    def maps(self, clean: HeadValues, nothing: HeadValues, scores: Scores, masks: Masks) -> Maps:
        """Fold scores into S and into the signal."""
        signal = self._fold(self._contrasts(scores, masks.level), masks)
        constant = np.zeros(len(scores))
        if self.cells == "fixed":
            constant = self._effect(clean, nothing, scores) / self.side**2
        signal += constant[:, None, None]
        return Maps(signal, constant, lambda: self._fold(scores / (scores.shape[1] * self.share), masks))

    def _fold(self, weights: Scores, masks: Masks) -> HeadMaps:
        return fold(weights, masks.grid, masks.offset, self.perturbation)

    def _effect(self, clean: HeadValues, nothing: HeadValues, scores: Scores) -> HeadValues:
        """Compute what the whole picture contributes."""
        return np.asarray(clean - nothing)

    def _contrasts(self, scores: Scores, level: Levels) -> Scores:
        """Compute the weights [k,n] of the masks in the signal without its constant part."""
        cells = self.side**2
        spread = np.array([q * (1 - q) for q in self.shares])
        if self.cells == "fixed":
            spread *= cells / (cells - 1)
        members = np.bincount(level, minlength=len(spread))
        scale = members / np.maximum(members - 1, 1) / spread / len(level)
        return np.asarray(centre_levels(scores, level) * scale[level])

    def bounds(self, region: Region, ignored: Region | None = None) -> Bounds:
        """Measure the relevance mass of K R and of K S, the exact maps of observers of region and rest S."""
        kernel, seen = self._moments.kernel, (region, rest_of(region, ignored))
        inside, outside = (kernel @ one.astype(np.float64) @ kernel for one in seen)
        return bounds_of(inside, outside, region, ignored)

    @cached_property
    def _moments(self) -> MaskMoments:
        return moments(self.perturbation, self.cells == "fixed")

    def strength(self, scores: Scores, masks: Masks, maps: Maps) -> HeadValues:
        """Compare what the masks change with what they would change in scores that are unrelated to them.

        Two ratios have a mean of 1 for unrelated scores and grow with the masks for others. One is the energy of the
        signal without its constant part, to its expectation: with contrasts c it has covariance v C over the pixels,
        v = sum(c^2 q (1 - q)) and q (1 - q) C that of the masks, so that the energy has mean v tr(C) and variance
        2 v^2 tr(C^2). The other is the variance of the levels' means, to that of all scores. Both are close to a
        chi-squared variable over its degrees of freedom, whose quantiles Wilson and Hilferty (1931) give. Scores whose
        spread is below float32 resolution are constant.
        """
        variance = np.array([q * (1 - q) for q in self.shares])[masks.level]
        if self.cells == "fixed":
            variance *= self.side**2 / (self.side**2 - 1)
        trace, square = self._moments.trace, self._moments.trace_of_square
        expected = self._contrasts(scores, masks.level) ** 2 @ variance * trace
        energy = ((maps.signal - maps.constant[:, None, None]) ** 2).sum(axis=(1, 2))
        excess = _excess(energy, expected, trace**2 / square)
        if (between := len(self.keep) - 1) > 0:
            count, total = scores.shape[1], ((scores - scores.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
            of_levels = total - (centre_levels(scores, masks.level) ** 2).sum(axis=1)
            excess = np.maximum(excess, _excess(of_levels / between, total / (count - 1), between))
        resolved = scores.std(axis=1) > RESOLUTION * np.maximum(1.0, np.abs(scores.mean(axis=1)))
        return np.where(resolved, excess, -np.inf)

    def standard_error(self, scores: Scores, masks: Masks, maps: Maps, region: Region) -> HeadValues:
        """Estimate the standard error of the relevance mass; it is 0 where there is no evidence."""
        positive = evidence(maps, "positive")
        total, inside = positive.sum(axis=(1, 2)), positive[:, region].sum(axis=1)
        mass = np.divide(inside, total, out=np.zeros_like(total), where=total > 0)
        error = self._error(scores, masks, positive, region - mass[:, None, None])
        relative: HeadValues = np.divide(error, total, out=np.zeros_like(total), where=total > 0)
        return relative

    def clearance(self, scores: Scores, masks: Masks, maps: Maps, region: Region, threshold: float) -> HeadValues:
        """Divide sum(E (R - threshold)), which has the sign of the verdict, by its own standard error."""
        positive = evidence(maps, "positive")
        above = (positive * (region - threshold)).sum(axis=(1, 2))
        error = self._error(scores, masks, positive, np.broadcast_to(region - threshold, positive.shape))
        standardised: HeadValues = np.divide(above, error, out=np.zeros_like(above), where=error > 0)
        return standardised

    def _error(self, scores: Scores, masks: Masks, positive: HeadMaps, weight: HeadMaps) -> HeadValues:
        """Estimate the standard error of sum(E weight) by its influence function.

        E = max(0, sum_n c_n M_n + constant), so the influence of mask n is N c_n (w_n - mean w), with means within its
        level and w_n = sum over the pixels with evidence of weight * M_n.
        """
        count = scores.shape[1]
        projected = project((positive > 0) * weight, masks.grid, masks.offset, self.perturbation)
        contrasts = count * self._contrasts(scores, masks.level)
        influence = centre_levels(contrasts * centre_levels(projected, masks.level), masks.level)
        free = max(count - len(self.keep), 1)
        return np.asarray(np.sqrt((influence**2).sum(axis=1) / free / count))


def from_settings(measurement: Measurement, size: int, patches: int | None) -> Rise:
    """Return RISE as the settings have it; ``patches`` is not used."""
    return Rise(
        size=size,
        side=measurement.grid,
        keep=measurement.shares,
        cells=measurement.cells,
        count=measurement.most_masks,
        seed=measurement.seed,
    )


def _excess(measured: HeadValues, expected: HeadValues, freedom: float) -> HeadValues:
    """Return 0 where ``measured`` is as expected of noise, and 1 where it is as large as `NOISE_Z` allows."""
    most = (1 - 2 / (9 * freedom) + NOISE_Z * math.sqrt(2 / (9 * freedom))) ** 3
    ratio = np.divide(measured, expected, out=np.ones_like(measured), where=expected > 0)
    return np.asarray((ratio - 1) / (most - 1))


def centre_levels(values: Scores, level: Levels) -> Scores:
    """Subtract from every value the mean of its level.

    >>> centre_levels(np.array([[1.0, 3.0, 10.0, 20.0]]), np.array([0, 0, 1, 1]))
    array([[-1.,  1., -5.,  5.]])
    """
    members = np.eye(int(level.max()) + 1)[level]  # [n,l]
    counts = np.maximum(members.sum(axis=0), 1.0)
    return np.asarray(values - ((values @ members) / counts) @ members.T)


@dataclass(frozen=True, slots=True, eq=False)
class MaskMoments:
    """The second moments of the masks, without the factor p (1 - p)."""

    kernel: Annotated[
        Float64, "h h"
    ]  # mean over the offsets of table @ table^T; the covariance is its Kronecker square
    trace: float  # trace of the covariance over all pixels
    trace_of_square: float  # trace of the squared covariance


@lru_cache(maxsize=8)
def moments(perturbation: Perturbation, fixed: bool) -> MaskMoments:
    """Compute the exact second moments of masks whose table rows sum to 1.

    >>> from rate.kernels.tokens import patches
    >>> moments(patches(4, 2), fixed=False).kernel[0]  # two pixels covary where they share a patch
    array([1., 1., 0., 0.])

    Args:
        perturbation: the family of the masks.
        fixed: whether every mask keeps the same number of cells.
    """
    size, side = perturbation.size, perturbation.side
    table = perturbation.table.astype(np.float64)
    kernel = np.einsum("tis,tjs->ij", table, table) / len(table)
    kernel.setflags(write=False)
    common = 1.0 / side**2 if fixed else 0.0
    trace = float(np.trace(kernel) ** 2 - common * size**2)
    square = float((kernel**2).sum() ** 2 - 2 * common * kernel.sum() ** 2 + (common * size**2) ** 2)
    return MaskMoments(kernel, trace, square)
