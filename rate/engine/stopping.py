"""When a sample has seen enough masks. Verdicts are taken at fixed numbers of masks alone, so nothing else in flight
can change them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import chain, count, takewhile
from statistics import NormalDist

from rate.config import Measurement
from rate.kernels.saliency import Method

FUTILE = 0.1
"""Probability of still reaching a verdict below which sampling ends."""


@dataclass(frozen=True, slots=True)
class Stopping:
    """Looks at a sample, and how clear its verdict must be at each of them."""

    looks: tuple[int, ...]  # numbers of masks, ascending; the last one ends the sample
    boundary: float | None = None  # standard errors that a verdict must clear at the last look; None: no early verdict

    @property
    def most(self) -> int:
        """Masks of a sample that never becomes clear."""
        return self.looks[-1]

    @property
    def step(self) -> int:
        """Fewest masks that a sample asks for at once, before the last look, which may come soon after another."""
        usual = self.looks[:-1] or self.looks
        return min(later - earlier for earlier, later in zip((0, *usual), usual, strict=False))

    def settled(self, masks: int, clearance: float | None) -> str | None:
        """How a verdict is settled at the look at ``masks`` masks, None where sampling goes on.

        The boundary falls with the fourth root of the number of masks (Wang and Tsiatis 1987, Delta = 1/4): high
        while masks are cheap, low where only many more could tell. Repeated looks are paid for by its height.

        Args:
            masks: one of ``looks``.
            clearance: standard errors between the evidence and its threshold; None where the verdict cannot change.

        Returns:
            ``decided``; ``capped``: it ended without being clear; ``fixed``: the number of masks was given.
        """
        if self.boundary is None:
            return "fixed" if masks == self.most else None
        if clearance is None or abs(clearance) >= self.boundary * (self.most / masks) ** 0.25:
            return "decided"
        if masks == self.most or self._prospect(masks, clearance) < FUTILE:
            return "capped"
        return None

    def _prospect(self, masks: int, clearance: float) -> float:
        """Probability of being clear at the last look, given what was seen and nothing else."""
        assert self.boundary is not None
        ratio = self.most / masks
        ahead = NormalDist(clearance * math.sqrt(ratio), math.sqrt(ratio - 1))
        return 1.0 - ahead.cdf(self.boundary) + ahead.cdf(-self.boundary)


def stopping_for(measurement: Measurement, method: Method) -> Stopping:
    """One look for a number of masks that was given, and for windows; else 64, 96, 128, 192, ... masks."""
    if measurement.masks != "auto" or not method.sampled:
        return Stopping((method.count,))
    first, most = measurement.min_masks, measurement.max_masks
    grown = chain.from_iterable((first << k, 3 * (first << k) // 2) for k in count())
    return Stopping((*takewhile(lambda look: look < most, grown), most), boundary(measurement.confidence))


def boundary(confidence: float) -> float:
    """Height of the boundary at the last look for verdicts of which a share ``confidence`` is right.

    A verdict that only just clears the last look is wrong far more often than the many that clear earlier ones with
    room to spare: 12.5 times as often as all of them together, as measured on photographs (`benchmarks.stopping`) with
    64 to 2,048 masks. Where sampling may end sooner, fewer are right.
    """
    return NormalDist().inv_cdf(1.0 - 12.5 * (1.0 - confidence))
