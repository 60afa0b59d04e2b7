"""PT, IR and related metrics, as pure functions of verdicts and counts.

PT, prediction trustworthiness: of the correct predictions, the share on valid evidence.
IR, inference reliability: of the predictions on valid evidence, the share that is correct.

Source: Wang, Li, Nguyen, Peng, "Beyond Accuracy", AAAI 2025 (arXiv 2412.13333).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from rate.records import Count, Record, Share
from rate.types import HeatMap, Int64, Region, SampleFlags, SampleValues

Z95 = 1.959963984540054
"""The two-sided 95 % quantile of the normal distribution."""

UNRESOLVABLE_BELOW = 0.2
"""Where ceiling - floor is below this, the perturbation cannot separate inside from outside."""

UNDEFINED_REASONS = ("empty-region", "full-region", "full-when-grown", "zero-evidence", "unresolvable", "no-evidence")
"""The reasons for which a prediction has no verdict, in the order of the checks."""

QUADRANTS = ("rr", "rw", "wr", "ww")
"""The first letter is the prediction, the second the rationale; r is right, w is wrong."""

UNDEFINED = "undefined"
"""The state of a prediction without a verdict."""

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


@dataclass(frozen=True, slots=True)
class Counts:
    """The number of samples in each state of `QUADRANTS`; two counts can be added.

    >>> Counts(rr=1, ww=2) + Counts(rr=3)
    Counts(rr=4, rw=0, wr=0, ww=2, undefined_right=0, undefined_wrong=0, errors=0, capped=0)
    """

    rr: int = 0
    rw: int = 0
    wr: int = 0
    ww: int = 0
    undefined_right: int = 0  # correct predictions without a verdict
    undefined_wrong: int = 0  # wrong predictions without a verdict
    errors: int = 0  # samples without a prediction
    capped: int = 0  # samples with a verdict that was not yet clear at the largest number of masks

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(a + b for a, b in zip(self._values(), other._values(), strict=True)))

    def _values(self) -> tuple[int, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    @property
    def undefined(self) -> int:
        """The predictions without a verdict, which count in accuracy but not in PT or IR."""
        return self.undefined_right + self.undefined_wrong

    @property
    def predictions(self) -> int:
        """The samples with a prediction."""
        return self.rr + self.rw + self.wr + self.ww + self.undefined


@dataclass(frozen=True, slots=True)
class Ratio:
    """A share with its denominator and its Wilson interval at 95 %.

    >>> Ratio(3, 4).value
    0.75
    """

    numerator: int
    denominator: int

    @property
    def value(self) -> float | None:
        """The share; None if the denominator is 0."""
        return self.numerator / self.denominator if self.denominator else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The Wilson interval at 95 %; None if the denominator is 0."""
        return wilson(self.numerator, self.denominator)

    @property
    def low(self) -> float | None:
        """Lower end of the interval."""
        return self.interval[0] if self.interval else None

    @property
    def high(self) -> float | None:
        """Upper end of the interval."""
        return self.interval[1] if self.interval else None


class RatioRecord(Record, frozen=True):
    """A `Ratio` in a document."""

    value: Share | None
    low: Share | None
    high: Share | None
    numerator: Count
    denominator: Count


def pt(counts: Counts) -> Ratio:
    """Compute PT = RR / (RR + RW): of the correct predictions, the share on valid evidence.

    >>> pt(Counts(rr=3, rw=1, wr=2))
    Ratio(numerator=3, denominator=4)
    """
    return Ratio(counts.rr, counts.rr + counts.rw)


def ir(counts: Counts) -> Ratio:
    """Compute IR = RR / (RR + WR): of the predictions on valid evidence, the share that is correct.

    >>> ir(Counts(rr=3, rw=1, wr=2))
    Ratio(numerator=3, denominator=5)
    """
    return Ratio(counts.rr, counts.rr + counts.wr)


def accuracy(counts: Counts) -> Ratio:
    """Compute the share of correct predictions; undefined verdicts count, errors do not.

    >>> accuracy(Counts(rr=3, rw=1, wr=2, undefined_right=1, errors=9))
    Ratio(numerator=5, denominator=7)
    """
    return Ratio(counts.rr + counts.rw + counts.undefined_right, counts.predictions)


def wilson(successes: int, trials: int, z: float = Z95) -> tuple[float, float] | None:
    """Compute the Wilson score interval (Wilson 1927) of a binomial share; None if there are no trials.

    >>> low, high = wilson(5, 10)
    >>> round(low, 4), round(high, 4)
    (0.2366, 0.7634)
    """
    if trials == 0:
        return None
    share, shrink = successes / trials, 1.0 + z * z / trials
    centre = (share + z * z / (2 * trials)) / shrink
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / shrink
    # At these ends the limits are exactly 0 and 1, which rounding would miss.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == trials else min(1.0, centre + half)
    return low, high


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

    def counts(self, rule: str, tau: float, mass: SampleValues | None = None) -> Counts:
        """Count the four quadrants under a rule; ``mass`` replaces the relevance mass (of uniform maps)."""
        valid = (self.mass if mass is None else mass) >= self.threshold(rule, tau)
        return quadrants(self.correct, valid)


def quadrants(correct: SampleFlags, valid: SampleFlags) -> Counts:
    """Count the quadrants of two boolean columns.

    >>> quadrants(np.array([True, True, False]), np.array([True, False, False]))
    Counts(rr=1, rw=1, wr=0, ww=1, undefined_right=0, undefined_wrong=0, errors=0, capped=0)
    """
    return Counts(*np.bincount(quadrant_codes(correct, valid), minlength=len(QUADRANTS)).tolist())


def quadrant_codes(correct: SampleFlags, valid: SampleFlags) -> Annotated[Int64, "m"]:
    """Compute the index in `QUADRANTS` of every sample.

    >>> quadrant_codes(np.array([True, True, False]), np.array([True, False, False]))
    array([0, 1, 3])
    """
    return 2 * (~correct).astype(np.int64) + ~valid


def quadrant_of(correct: bool, valid: bool | None) -> str:
    """Name the quadrant of a sample; it is `UNDEFINED` if ``valid`` is None, without a verdict.

    >>> quadrant_of(correct=False, valid=True)
    'wr'
    """
    return UNDEFINED if valid is None else QUADRANTS[2 * (not correct) + (not valid)]


def kappa(both: int, only_first: int, only_second: int, neither: int) -> float | None:
    """Compute Cohen's kappa of two raters (1960); None if agreement by chance is certain, or without samples.

    >>> kappa(both=3, only_first=1, only_second=1, neither=3)
    0.5
    """
    n = both + only_first + only_second + neither
    if n == 0:
        return None
    first, second = (both + only_first) / n, (both + only_second) / n
    by_chance = first * second + (1 - first) * (1 - second)
    return ((both + neither) / n - by_chance) / (1 - by_chance) if by_chance < 1 else None


def rank_correlation(first: SampleValues, second: SampleValues) -> float | None:
    """Compute Spearman's rho of two columns, with ties at their mean rank; None if a column is constant.

    >>> rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([9.0, 5.0, 1.0]))
    -1.0
    """
    if len(first) < 2:
        return None
    one, other = (ranks - ranks.mean() for ranks in (_mean_ranks(first), _mean_ranks(second)))
    spread = math.sqrt(float(one @ one) * float(other @ other))
    return float(one @ other) / spread if spread > 0 else None


def _mean_ranks(values: SampleValues) -> SampleValues:
    _, position, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum()
    return np.asarray((last - (counts - 1) / 2.0)[position])


def sweep(verdicts: Verdicts, rule: str) -> list[tuple[float, float | None, float | None]]:
    """Compute (tau, PT, IR) over `SWEEP_TAUS`; every relevance mass must be of the same fixed number of masks."""
    counted = [(tau, verdicts.counts(rule, tau)) for tau in SWEEP_TAUS]
    return [(tau, pt(counts).value, ir(counts).value) for tau, counts in counted]


def verdict_noise(
    verdicts: Verdicts, standard_error: SampleValues, rule: str, tau: float
) -> tuple[float | None, float | None]:
    """Estimate the standard deviations of PT and of IR that the sampling of masks alone causes.

    Another draw of masks changes a verdict with probability Phi(-|RMA - threshold| / se). These changes are independent
    over samples, so their variances add. IR uses the delta method, since a change alters its denominator.

    Args:
        verdicts: the verdicts of m samples.
        standard_error: the standard error of each relevance mass.
        rule: ``midpoint`` or ``absolute``.
        tau: the threshold of the rule.
    """
    counts = verdicts.counts(rule, tau)
    gap = np.abs(verdicts.mass - verdicts.threshold(rule, tau))
    ratio = np.divide(gap, standard_error, out=np.full(len(gap), np.inf), where=standard_error > 0)
    change = np.fromiter((0.5 * math.erfc(r / math.sqrt(2.0)) for r in ratio), np.float64, len(ratio))
    variance = change * (1 - change)
    trust, reliability = pt(counts), ir(counts)
    right, wrong = float(variance[verdicts.correct].sum()), float(variance[~verdicts.correct].sum())
    noise_pt = math.sqrt(right) / trust.denominator if trust.denominator else None
    if reliability.value is None:
        return noise_pt, None
    share = reliability.value
    return noise_pt, math.sqrt((1 - share) ** 2 * right + share**2 * wrong) / reliability.denominator
