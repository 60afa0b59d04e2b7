"""When evidence is valid: relevance mass and localization, the rules, and the verdicts of many samples under them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rate.statistics.metrics import Counts, ir, pt, quadrant_codes, quadrants
from rate.types import Codes, HeatMap, Region, SampleFlags, SampleValues

UNRESOLVABLE_BELOW = 0.2
"""Where ceiling - floor is below this, the perturbation cannot separate inside from outside."""

UNDEFINED_REASONS = ("empty-region", "full-region", "full-when-grown", "zero-evidence", "unresolvable", "no-evidence")
"""The reasons for which a prediction has no verdict, in the order of the checks."""

NAN_MAP = "nan-map"
"""The reason of a map that was given and holds NaN or infinities.

It is the only reason under the paper's own rule: scaling the map to [0, 1] gives no numbers, since it is constant or
has none itself. Full regions are then valid and empty ones invalid, as in the paper's script.
"""

CONSTANT_MAP = "constant-map"
"""The reason of a map that was given and is the same everywhere."""

SWEEP_TAUS = tuple(round(0.05 * k, 2) for k in range(1, 20))


def relevance_mass(evidence: HeatMap, region: Region) -> float | None:
    """Compute RMA = sum(E R) / sum(E) of non-negative evidence; None if there is no evidence.

    Source: Arras, Osman, Samek, "CLEVR-XAI" (2022), relevance mass accuracy.

    >>> relevance_mass(np.array([[3.0, 1.0]]), np.array([[True, False]]))
    0.75
    """
    total = float(evidence.sum())
    return float(evidence[region].sum()) / total if total > 0 else None


def localization(mass: float, ceiling: float, floor: float) -> float | None:
    """Compute (RMA - floor) / (ceiling - floor): 0 if all evidence is outside a region of any size, 1 if all is inside.

    >>> localization(mass=0.5, ceiling=0.75, floor=0.25)
    0.5
    """
    return (mass - floor) / (ceiling - floor) if ceiling > floor else None


def undefined_reason(area: float, mass: float | None, ceiling: float, floor: float, above_noise: bool) -> str | None:
    """Return the first of `UNDEFINED_REASONS` that holds, or None if the verdict is defined.

    >>> undefined_reason(area=0.0, mass=0.5, ceiling=0.9, floor=0.1, above_noise=True)
    'empty-region'
    >>> undefined_reason(area=0.3, mass=0.5, ceiling=0.9, floor=0.1, above_noise=False)
    'no-evidence'

    Args:
        area: the share of the image inside the region, [0, 1].
        mass: the relevance mass; None if there is no evidence.
        ceiling: the relevance mass of an observer of the region.
        floor: the relevance mass of an observer of the rest.
        above_noise: whether the map exceeds its own noise.
    """
    grown = False  # a map's region is not grown
    conditions = (area == 0.0, area == 1.0, grown, mass is None, ceiling - floor < UNRESOLVABLE_BELOW, not above_noise)
    return next((reason for reason, holds in zip(UNDEFINED_REASONS, conditions, strict=True) if holds), None)


def is_resolvable(area: SampleValues, ceiling: SampleValues, floor: SampleValues) -> SampleFlags:
    """Tell for which of m samples inside and outside can be told apart, so that a rule says something.

    >>> is_resolvable(np.array([1.0, 0.3]), np.array([1.0, 0.75]), np.array([0.0, 0.25]))
    array([False,  True])
    """
    return np.asarray((area > 0) & (area < 1) & (ceiling - floor >= UNRESOLVABLE_BELOW))


def threshold(ceiling: float, floor: float, rule: str, tau: float) -> float:
    """Compute the least valid relevance mass.

    Args:
        ceiling: the relevance mass of an observer of the region.
        floor: the relevance mass of an observer of the rest.
        rule: ``midpoint``: localization is at least tau; ``absolute`` (the paper): RMA is at least tau.
        tau: the threshold of the rule, in (0, 1).

    >>> threshold(ceiling=0.75, floor=0.25, rule="midpoint", tau=0.5)
    0.5
    >>> threshold(ceiling=0.75, floor=0.25, rule="absolute", tau=0.3)
    0.3
    """
    return floor + tau * (ceiling - floor) if rule == "midpoint" else tau


def is_valid(mass: float, ceiling: float, floor: float, rule: str, tau: float) -> bool:
    """Tell whether evidence with this relevance mass is valid under a rule; see `threshold`.

    >>> is_valid(mass=0.5, ceiling=0.75, floor=0.25, rule="midpoint", tau=0.5)
    True
    """
    return mass >= threshold(ceiling, floor, rule, tau)


@dataclass(frozen=True, slots=True, eq=False)
class Verdicts:
    """The predictions of one head that have a verdict, as columns over m samples."""

    correct: SampleFlags
    mass: SampleValues  # relevance mass
    ceiling: SampleValues
    floor: SampleValues

    def threshold(self, rule: str, tau: float) -> SampleValues:
        """Compute the least valid relevance mass of every sample; see the function of the same name."""
        if rule == "midpoint":
            return self.floor + tau * (self.ceiling - self.floor)
        return np.full(len(self.mass), tau)

    def states(self, rule: str, tau: float) -> Codes:
        """Compute the quadrant of every sample under a rule."""
        return quadrant_codes(self.correct, self.mass >= self.threshold(rule, tau))

    def counts(self, rule: str, tau: float, mass: SampleValues | None = None) -> Counts:
        """Count the four quadrants under a rule; ``mass`` replaces the relevance mass (of uniform maps)."""
        valid = (self.mass if mass is None else mass) >= self.threshold(rule, tau)
        return quadrants(self.correct, valid)


def sweep(verdicts: Verdicts, rule: str) -> list[tuple[float, float | None, float | None]]:
    """Compute (tau, PT, IR) over `SWEEP_TAUS`; every relevance mass must be of the same fixed number of masks."""
    counted = [(tau, verdicts.counts(rule, tau)) for tau in SWEEP_TAUS]
    return [(tau, pt(counts).value, ir(counts).value) for tau, counts in counted]
