"""Occlusion (Zeiler and Fergus 2014) measures how far the score falls when a window is hidden.

S at a pixel is the mean of f(1) - f(M) over the windows that cover it. The windows are fixed, not drawn at random.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rate.config import Measurement
from rate.kernels.fold import fold, project
from rate.kernels.saliency import RESOLUTION, Bounds, Maps, Masks, bounds_of, evidence, rest_of
from rate.kernels.separable import Perturbation, occlusion
from rate.types import HeadMaps, HeadValues, Region, Scores


@dataclass(frozen=True)
class Occlusion:
    """Square windows of one size and stride.

    >>> Occlusion(size=4, window=2, stride=2).count
    4
    """

    size: int  # side of the square image, pixels
    window: int  # side of the window, pixels
    stride: int  # step, pixels
    name: str = "occlusion"

    @property
    def perturbation(self) -> Perturbation:
        """The tables and constants of the windows."""
        return occlusion(self.size, self.window, self.stride)

    @property
    def count(self) -> int:
        """The number of windows on an image."""
        return self.perturbation.side**2

    @property
    def sampled(self) -> bool:
        """False: the windows are fixed."""
        return False

    def draw(self, sample_id: str, start: int, stop: int) -> Masks:
        """Return windows ``start`` to ``stop`` - 1 in row order; they are the same for every sample."""
        side = self.perturbation.side
        grid = np.zeros((stop - start, side * side), np.float32)
        grid[np.arange(stop - start), np.arange(start, stop)] = 1.0
        count = stop - start
        return Masks(grid.reshape(-1, side, side), np.zeros((count, 2), np.int64), np.zeros(count, np.int64))

    def maps(self, clean: HeadValues, nothing: HeadValues, scores: Scores, masks: Masks) -> Maps:
        """Average the fall of the score over the windows that cover a pixel, which is what they contribute."""
        fall = self._mean_over_windows(clean[:, None] - scores, masks)
        return Maps(fall, np.zeros(len(clean)), lambda: fall)

    def _mean_over_windows(self, values: Scores, masks: Masks) -> HeadMaps:
        """Average ``values`` over the windows that cover each pixel."""
        weights = np.concatenate([values, np.ones((1, values.shape[1]))])
        # M = 1 - window, so a sum over windows is the sum of weights minus the fold.
        covered = weights.sum(axis=1)[:, None, None] - fold(weights, masks.grid, masks.offset, self.perturbation)
        return np.asarray(covered[:-1] / covered[-1])

    def bounds(self, region: Region, ignored: Region | None = None) -> Bounds:
        """Measure the relevance mass of observers of the region alone and of the rest alone, with these windows."""
        masks = self.draw("", 0, self.count)
        observed = np.stack([region, rest_of(region, ignored)]).astype(np.float64)
        hidden = observed.sum(axis=(1, 2))[:, None] - project(observed, masks.grid, masks.offset, self.perturbation)
        inside, outside = self._mean_over_windows(hidden, masks)
        return bounds_of(inside, outside, region, ignored)

    def strength(self, scores: Scores, masks: Masks, maps: Maps) -> HeadValues:
        """Return infinity where the scores differ by more than float32 rounding; windows have no sampling noise."""
        resolution = RESOLUTION * np.maximum(1.0, np.abs(scores.mean(axis=1)))
        return np.where(np.ptp(scores, axis=1) > resolution, np.inf, -np.inf)

    def standard_error(self, scores: Scores, masks: Masks, maps: Maps, region: Region) -> None:
        """Return None, because windows are not sampled."""

    def clearance(self, scores: Scores, masks: Masks, maps: Maps, region: Region, threshold: float) -> HeadValues:
        """Return plus or minus infinity by the side of the threshold, because windows are not sampled."""
        above = (evidence(maps, "positive") * (region - threshold)).sum(axis=(1, 2))
        return np.where(above >= 0, np.inf, -np.inf)


def from_settings(measurement: Measurement, size: int, patches: int | None) -> Occlusion:
    """Return windows as the settings have them, by default of a sixth of the image in steps of half a window."""
    window = measurement.window or max(1, size // 6)
    return Occlusion(size, window, measurement.stride or max(1, window // 2))
