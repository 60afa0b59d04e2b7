"""The stopping rule. Verdicts are taken at fixed numbers of masks alone, so they are independent of other samples in
flight.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import chain, count, takewhile
from statistics import NormalDist

from rate.config import Measurement
from rate.kernels.saliency import Method

FUTILE = 0.1
"""The probability of still reaching a verdict below which sampling ends."""


@dataclass(frozen=True, slots=True)
class Stopping:
    """The checkpoints of the stopping rule, and how clear a verdict must be at each of them."""

    checkpoints: tuple[int, ...]  # ascending numbers of perturbed rows; the last one ends the sample
    # standard errors that a verdict must clear at the last checkpoint; None: no early verdict
    boundary: float | None = None

    @property
    def most(self) -> int:
        """The number of masks of a sample whose verdict never becomes clear."""
        return self.checkpoints[-1]

    @property
    def step(self) -> int:
        """The fewest masks between two checkpoints; the last checkpoint is excepted, which may follow closely."""
        usual = self.checkpoints[:-1] or self.checkpoints
        return min(later - earlier for earlier, later in zip((0, *usual), usual, strict=False))

    def settled(self, masks: int, clearance: float | None) -> str | None:
        """Return how a verdict is settled at the checkpoint at ``masks`` masks; None if sampling continues.

        The boundary falls with the fourth root of the number of masks (Wang and Tsiatis 1987, Delta = 1/4): high
        while masks are cheap, low where only many more could decide. Its height accounts for repeated checkpoints.

        Args:
            masks: the number of masks of a checkpoint.
            clearance: standard errors between the evidence and its threshold; None if the verdict cannot change.

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
        """Compute the probability of a clear verdict at the last checkpoint, given the present evidence alone."""
        assert self.boundary is not None
        ratio = self.most / masks
        ahead = NormalDist(clearance * math.sqrt(ratio), math.sqrt(ratio - 1))
        return 1.0 - ahead.cdf(self.boundary) + ahead.cdf(-self.boundary)


def stopping_for(measurement: Measurement, method: Method, before: int | None = None) -> Stopping:
    """Make the rule: one checkpoint for a given number of masks and for windows; else 64, 96, 128, 192, ... masks.

    ``before`` rows come before the masks; None = the usual ones.
    """
    before = rows_before_masks(measurement, method) if before is None else before
    if measurement.masks != "auto" or not method.sampled:
        return Stopping((before + method.count,))
    first, most = measurement.min_masks, measurement.max_masks
    grown = chain.from_iterable((first << k, 3 * (first << k) // 2) for k in count())
    looks = (*takewhile(lambda masks: masks < most, grown), most)
    return Stopping(tuple(before + masks for masks in looks), boundary(measurement.confidence))


def rows_before_masks(measurement: Measurement, method: Method) -> int:
    """Return the number of rows before the first mask.

    Only an image's own mean is known by no other row: it is a first row, whose grid of zeros hides everything.
    """
    return int(measurement.fill == "own" and method.perturbation.a == 0.0)


FILL_CHECKPOINTS = (4, 6, 8, 12, 16, 24, 32)
"""The numbers of fills after which the verdict of swaps is looked at."""

SWAP_BOUNDARY = 1.4
"""Standard errors that a verdict by swaps must clear at the last checkpoint; see `benchmarks.swap_stopping`."""


def stopping_of_swaps(fills: int | str, most: int, rows: int) -> Stopping:
    """Make the rule for swaps with ``rows`` rows for each fill; ``most`` fills can be met."""
    if isinstance(fills, int):
        return Stopping((rows * fills,))
    met = (*(rows * count for count in FILL_CHECKPOINTS if count < most), rows * most)
    return Stopping(met, SWAP_BOUNDARY)


def boundary(confidence: float) -> float:
    """Compute the height of the boundary at the last checkpoint for verdicts of which a share ``confidence`` is right.

    A verdict that narrowly clears the last checkpoint is wrong far more often than the many that clear earlier ones by
    a margin: 5 times as often as all of them together, as measured on photographs (`benchmarks.stopping`) with 64 to
    2,048 masks. Where sampling may end sooner, fewer are right.
    """
    return NormalDist().inv_cdf(1.0 - 5.0 * (1.0 - confidence))
