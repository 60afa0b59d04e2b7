"""Occlusion (Zeiler and Fergus 2014): hide a window, see how far the score falls.

S at a pixel is the mean of f(1) - f(M) over the windows that cover it. Nothing is drawn at random.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rate.kernels.fold import fold, project
from rate.kernels.saliency import RESOLUTION, Bounds, Maps, Masks, evidence, mass_inside
from rate.kernels.separable import Perturbation, occlusion
from rate.types import Bool, Float64


@dataclass(frozen=True)
class Occlusion:
    """Square windows of one size and stride."""

    size: int  # side of the square image, pixels
    window: int  # side of the window, pixels
    stride: int  # step, pixels
    name: str = "occlusion"

    @property
    def perturbation(self) -> Perturbation:
        """Tables and constants of the windows."""
        return occlusion(self.size, self.window, self.stride)

    @property
    def count(self) -> int:
        """Windows of an image."""
        return self.perturbation.side**2

    @property
    def sampled(self) -> bool:
        """False: the windows are the windows."""
        return False

    def draw(self, sample_id: str, start: int, stop: int) -> Masks:
        """Windows ``start`` to ``stop`` - 1, row by row; the same for every sample."""
        side = self.perturbation.side
        grid = np.zeros((stop - start, side * side), np.float32)
        grid[np.arange(stop - start), np.arange(start, stop)] = 1.0
        count = stop - start
        return Masks(grid.reshape(-1, side, side), np.zeros((count, 2), np.int64), np.zeros(count, np.int64))

    def maps(self, clean: Float64, scores: Float64, masks: Masks) -> Maps:
        """Mean fall of the score over the windows that cover a pixel; it has no constant to take away."""
        fall = self._mean_over_windows(clean[:, None] - scores, masks)
        return Maps(saliency=fall, signal=fall)

    def _mean_over_windows(self, values: Float64, masks: Masks) -> Float64:
        """Mean of ``values`` [k,n] over the windows that cover each pixel, [k,h,w]."""
        weights = np.concatenate([values, np.ones((1, values.shape[1]))])
        # M = 1 - window, so a sum over windows is the sum of weights minus the fold.
        covered = weights.sum(axis=1)[:, None, None] - fold(weights, masks.grid, masks.offset, self.perturbation)
        return np.asarray(covered[:-1] / covered[-1])

    def bounds(self, region: Bool) -> Bounds:
        """Relevance mass of observers of the region alone and of the rest alone, through the windows' overlap."""
        masks = self.draw("", 0, self.count)
        seen = np.stack([region, ~region]).astype(np.float64)
        hidden = seen.sum(axis=(1, 2))[:, None] - project(seen, masks.grid, masks.offset, self.perturbation)
        inside, outside = self._mean_over_windows(hidden, masks)
        return Bounds(ceiling=mass_inside(inside, region), floor=mass_inside(outside, region))

    def above_noise(self, scores: Float64, masks: Masks, maps: Maps) -> Bool:
        """[k] whether the scores differ by more than float32 rounding; windows have no sampling noise."""
        resolution = RESOLUTION * np.maximum(1.0, np.abs(scores.mean(axis=1)))
        return np.asarray(np.ptp(scores, axis=1) > resolution)

    def standard_error(self, scores: Float64, masks: Masks, maps: Maps, region: Bool) -> None:
        """None: nothing was sampled."""

    def clearance(self, scores: Float64, masks: Masks, maps: Maps, region: Bool, threshold: float) -> Float64:
        """[k] infinite, on the side of the threshold where the evidence is: nothing was sampled."""
        above = (evidence(maps, "positive") * (region - threshold)).sum(axis=(1, 2))
        return np.where(above >= 0, np.inf, -np.inf)
