"""The boundary of a saliency method: masks on one side, scores on the other, no model in sight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from rate.kernels.separable import Perturbation
from rate.types import Bool, Float32, Float64, Int64


@dataclass(frozen=True, slots=True, eq=False)
class Masks:
    """Masks start .. start + n - 1 of one sample, as the perturbed graph takes them."""

    grid: Float32  # [n,s,s]
    offset: Int64  # [n,2]
    level: Int64  # [n] which of the method's distributions a mask is drawn from; scores compare within a level

    def __len__(self) -> int:
        return len(self.grid)


@dataclass(frozen=True, slots=True, eq=False)
class Maps:
    """What the scores say about every pixel, one map for each of k heads."""

    saliency: Float64  # [k,h,w] the method's own map S
    signal: Float64  # [k,h,w] the same without its constant: positive = this pixel raises the score


@dataclass(frozen=True, slots=True)
class Bounds:
    """Relevance mass inside a region, as this perturbation could see it; each in [0, 1]."""

    ceiling: float  # of an observer of the region alone
    floor: float  # of an observer of everything else alone


class Method(Protocol):
    """RISE, occlusion: the mask bank and the final normalisation, each written once."""

    @property
    def name(self) -> str:
        """As `--saliency` names it."""

    @property
    def perturbation(self) -> Perturbation:
        """Tables and constants of its masks."""

    @property
    def count(self) -> int:
        """Masks of a sample."""

    @property
    def sampled(self) -> bool:
        """Whether masks are drawn from a distribution, so that fewer of them say less of the same."""

    def draw(self, sample_id: str, start: int, stop: int) -> Masks:
        """Masks ``start`` to ``stop`` - 1 of a sample; a function of (seed, id, i) alone."""

    def maps(self, clean: Float64, scores: Float64, masks: Masks) -> Maps:
        """Fold the scores [k,n] of ``masks`` into maps; ``clean`` [k] is the score of the image as it is."""

    def bounds(self, region: Bool) -> Bounds:
        """References for ``region`` [h,w], from the distribution of the masks: no forward, no sampling."""

    def above_noise(self, scores: Float64, masks: Masks, maps: Maps) -> Bool:
        """[k] whether a map is more than what scores unrelated to the masks would give."""

    def standard_error(self, scores: Float64, masks: Masks, maps: Maps, region: Bool) -> Float64 | None:
        """[k] sampling error of the relevance mass of the positive evidence; None where nothing was sampled."""

    def clearance(self, scores: Float64, masks: Masks, maps: Maps, region: Bool, threshold: float) -> Float64:
        """[k] standard errors by which the positive evidence's relevance mass lies above ``threshold``."""


RESOLUTION = 1e-6
"""Relative spread of scores below which float32 arithmetic cannot tell signal from rounding."""


def evidence(maps: Maps, kind: str) -> Float64:
    """Non-negative evidence [k,h,w].

    Args:
        maps: of one sample.
        kind: ``positive``: the positive part of the signal; ``minmax``: (S - min S) / (max S - min S), zero where S is
            constant (the normalisation of the paper's script); ``raw``: the positive part of S as it is.
    """
    if kind == "positive":
        return np.maximum(maps.signal, 0.0)
    if kind == "raw":
        return np.maximum(maps.saliency, 0.0)
    low = maps.saliency.min(axis=(1, 2), keepdims=True)
    spread = maps.saliency.max(axis=(1, 2), keepdims=True) - low
    scaled: Float64 = np.divide(maps.saliency - low, spread, out=np.zeros_like(maps.saliency), where=spread > 0)
    return scaled


def mass_inside(weights: Float64, region: Bool) -> float:
    """Share of the positive part of ``weights`` [h,w] that lies in ``region``; 0 where there is none."""
    positive = np.maximum(weights, 0.0)
    total = float(positive.sum())
    return float(positive[region].sum()) / total if total > 0 else 0.0
