"""The interface of a saliency method, which makes masks and folds scores without access to the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from rate.kernels.separable import Perturbation
from rate.types import (
    Grids,
    HeadMaps,
    HeadValues,
    HeatMap,
    Levels,
    Offsets,
    Region,
    Scores,
)


@dataclass(frozen=True, slots=True, eq=False)
class Masks:
    """Consecutive masks of one sample in the form that the perturbed graph takes."""

    grid: Grids
    offset: Offsets
    level: Levels  # scores are compared within a level only

    def __len__(self) -> int:
        return len(self.grid)

    def __getitem__(self, chosen: slice) -> Masks:
        return Masks(self.grid[chosen], self.offset[chosen], self.level[chosen])

    def followed_by(self, others: Masks) -> Masks:
        """Return these masks, then ``others``."""
        return Masks(
            np.concatenate([self.grid, others.grid]),
            np.concatenate([self.offset, others.offset]),
            np.concatenate([self.level, others.level]),
        )


@dataclass(frozen=True, eq=False)
class Maps:
    """The two maps of each head."""

    signal: HeadMaps  # what pixels contribute: a positive one raises the score
    constant: HeadValues  # the part of the signal, equal at all pixels, that no mask shows
    draw_saliency: Callable[[], HeadMaps]  # computes the method's own map S, which most checkpoints have no use for

    @cached_property
    def saliency(self) -> HeadMaps:
        """The method's own map S."""
        return self.draw_saliency()

    def without(self, ignored: Region) -> Maps:
        """Return the maps with nothing on ignored pixels."""
        signal = np.where(ignored, 0.0, self.signal)
        return Maps(signal, self.constant, lambda: np.where(ignored, 0.0, self.saliency))


@dataclass(frozen=True, slots=True)
class Bounds:
    """The relevance masses in [0, 1] of two ideal observers at the resolution of a perturbation."""

    ceiling: float  # of an observer of the region alone
    floor: float  # of an observer of everything else alone


class Method(Protocol):
    """A saliency method by perturbation: its masks, its maps and the statistics of its maps."""

    @property
    def name(self) -> str:
        """The method's name, as in `--saliency`."""

    @property
    def perturbation(self) -> Perturbation:
        """The tables and constants of the masks."""

    @property
    def count(self) -> int:
        """The number of masks of a sample."""

    @property
    def sampled(self) -> bool:
        """Whether masks are drawn from a distribution, so that fewer of them estimate the same map."""

    def draw(self, sample_id: str, start: int, stop: int) -> Masks:
        """Return masks ``start`` to ``stop`` - 1 of a sample; mask i depends on (seed, id, i) alone."""

    def maps(self, clean: HeadValues, nothing: HeadValues, scores: Scores, masks: Masks) -> Maps:
        """Fold the scores of ``masks`` into maps.

        ``clean`` holds the scores of the unmasked image, ``nothing`` those of what stands where pixels are hidden.
        """

    def bounds(self, region: Region, ignored: Region | None = None) -> Bounds:
        """Compute the bounds of ``region`` from the distribution of the masks, without a forward or sampling.

        ``ignored`` pixels are of neither the region nor the rest; None = there are none.
        """

    def strength(self, scores: Scores, masks: Masks, maps: Maps) -> HeadValues:
        """Measure how much evidence there is.

        1 is the least that counts, 0 the mean of scores that are unrelated to the masks, and scores that are constant
        have minus infinity.
        """

    def standard_error(self, scores: Scores, masks: Masks, maps: Maps, region: Region) -> HeadValues | None:
        """Estimate the sampling error of the positive evidence's relevance mass; None if masks are not sampled."""

    def clearance(self, scores: Scores, masks: Masks, maps: Maps, region: Region, threshold: float) -> HeadValues:
        """Count the standard errors by which the positive evidence's relevance mass lies above ``threshold``."""


RESOLUTION = 1e-6
"""Scores whose relative spread is below this differ by float32 rounding only."""


def evidence(maps: Maps, kind: str) -> HeadMaps:
    """Convert the maps of one sample to non-negative evidence.

    >>> maps = Maps(np.array([[[-1.0, 0.5, 2.0]]]), np.zeros(1), lambda: np.array([[[1.0, 3.0, 5.0]]]))
    >>> evidence(maps, "positive")
    array([[[0. , 0.5, 2. ]]])
    >>> evidence(maps, "minmax")
    array([[[0. , 0.5, 1. ]]])

    Args:
        maps: the maps of one sample.
        kind: ``positive``: the positive part of the signal; ``minmax``: (S - min S) / (max S - min S), zero where S is
            constant (the normalisation of the paper's script); ``raw``: the positive part of S.
    """
    if kind == "positive":
        return np.maximum(maps.signal, 0.0)
    if kind == "raw":
        return np.maximum(maps.saliency, 0.0)
    low = maps.saliency.min(axis=(1, 2), keepdims=True)
    spread = maps.saliency.max(axis=(1, 2), keepdims=True) - low
    scaled: HeadMaps = np.divide(maps.saliency - low, spread, out=np.zeros_like(maps.saliency), where=spread > 0)
    return scaled


def rest_of(region: Region, ignored: Region | None) -> Region:
    """Return the pixels that are neither of the region nor ignored.

    >>> rest_of(np.array([[True, False, False]]), np.array([[False, True, False]]))
    array([[False, False,  True]])
    """
    return ~region if ignored is None else ~(region | ignored)


def bounds_of(inside: HeatMap, outside: HeatMap, region: Region, ignored: Region | None) -> Bounds:
    """Compute the bounds from the maps of the two observers; nothing counts on ignored pixels.

    >>> inside, outside = np.array([[3.0, 1.0, 4.0]]), np.array([[1.0, 3.0, 4.0]])
    >>> bounds_of(inside, outside, np.array([[True, False, False]]), np.array([[False, False, True]]))
    Bounds(ceiling=0.75, floor=0.25)
    """
    if ignored is not None:
        inside, outside = (np.where(ignored, 0.0, one) for one in (inside, outside))
    return Bounds(ceiling=mass_inside(inside, region), floor=mass_inside(outside, region))


def mass_inside(weights: HeatMap, region: Region) -> float:
    """Compute the share of the positive part of ``weights`` that lies in ``region``; 0 if no weight is positive.

    >>> mass_inside(np.array([[3.0, 1.0, -2.0]]), np.array([[True, False, True]]))
    0.75
    """
    positive = np.maximum(weights, 0.0)
    total = float(positive.sum())
    return float(positive[region].sum()) / total if total > 0 else 0.0
