"""PT, IR and everything beside them, as pure functions of numbers already measured.

PT, prediction trustworthiness: of the correct predictions, the share on valid evidence.
IR, inference reliability: of the predictions on valid evidence, the share that is correct.
Source: Wang, Li, Nguyen, Peng, "Beyond Accuracy", AAAI 2025 (arXiv 2412.13333).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rate.types import Bool, Float64, Int64

Z95 = 1.959963984540054
"""Two-sided 95 % quantile of the normal distribution."""

UNRESOLVABLE_BELOW = 0.2
"""With ceiling - floor below this, the perturbation cannot tell inside from outside."""

UNDEFINED_REASONS = ("empty-region", "full-region", "zero-evidence", "unresolvable", "no-evidence")
"""Why a prediction has no verdict, in the order in which they are looked for."""

QUADRANTS = ("rr", "rw", "wr", "ww")
"""Prediction, then rationale: r right, w wrong."""

UNDEFINED = "undefined"
"""Beside the quadrants: predictions without a verdict."""

SWEEP_TAUS = tuple(round(0.05 * k, 2) for k in range(1, 20))


def relevance_mass(evidence: Float64, region: Bool) -> float | None:
    """RMA = sum(E R) / sum(E) of evidence >= 0 [h,w] and region [h,w]; None where there is no evidence.

    Source: Arras, Osman, Samek, "CLEVR-XAI" (2022), relevance mass accuracy.
    """
    total = float(evidence.sum())
    return float(evidence[region].sum()) / total if total > 0 else None


def localization(mass: float, ceiling: float, floor: float) -> float | None:
    """(RMA - floor) / (ceiling - floor): 0 = all evidence outside the region, 1 = all inside, whatever its size."""
    return (mass - floor) / (ceiling - floor) if ceiling > floor else None


def undefined_reason(area: float, mass: float | None, ceiling: float, floor: float, above_noise: bool) -> str | None:
    """The first of `UNDEFINED_REASONS` that holds, or None: the verdict is defined.

    Args:
        area: share of the image inside the region, [0, 1].
        mass: relevance mass of the run's evidence, None where there is none.
        ceiling: reference of an observer of the region.
        floor: reference of an observer of the rest.
        above_noise: whether the map is more than its own noise.
    """
    holds = (area == 0.0, area == 1.0, mass is None, ceiling - floor < UNRESOLVABLE_BELOW, not above_noise)
    return next((reason for reason, it_does in zip(UNDEFINED_REASONS, holds, strict=True) if it_does), None)


def threshold(ceiling: float, floor: float, rule: str, tau: float) -> float:
    """Least valid relevance mass: ``midpoint``: where localization is tau; ``absolute`` (the paper): tau."""
    return floor + tau * (ceiling - floor) if rule == "midpoint" else tau


def is_valid(mass: float, ceiling: float, floor: float, rule: str, tau: float) -> bool:
    """Whether evidence with this relevance mass is valid under a rule; see `threshold`."""
    return mass >= threshold(ceiling, floor, rule, tau)


@dataclass(frozen=True, slots=True)
class Counts:
    """Samples by state; addable. See `QUADRANTS`."""

    rr: int = 0
    rw: int = 0
    wr: int = 0
    ww: int = 0
    undefined_right: int = 0  # predictions without a verdict, by whether they are correct
    undefined_wrong: int = 0
    errors: int = 0
    capped: int = 0  # among the defined ones: sampling stopped undecided

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(a + b for a, b in zip(self._values(), other._values(), strict=True)))

    def _values(self) -> tuple[int, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    @property
    def undefined(self) -> int:
        """Predictions without a verdict: they count in accuracy, not in PT or IR."""
        return self.undefined_right + self.undefined_wrong

    @property
    def predictions(self) -> int:
        """Samples that were predicted at all."""
        return self.rr + self.rw + self.wr + self.ww + self.undefined


@dataclass(frozen=True, slots=True)
class Ratio:
    """A share with its denominator and its Wilson interval at 95 %; all None when the denominator is 0."""

    numerator: int
    denominator: int

    @property
    def value(self) -> float | None:
        """The share, None when it is undefined."""
        return self.numerator / self.denominator if self.denominator else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Wilson interval at 95 %, None when the share is undefined."""
        return wilson(self.numerator, self.denominator)


def pt(counts: Counts) -> Ratio:
    """PT = RR / (RR + RW): of the correct predictions, the share on valid evidence."""
    return Ratio(counts.rr, counts.rr + counts.rw)


def ir(counts: Counts) -> Ratio:
    """IR = RR / (RR + WR): of the predictions on valid evidence, the share that is correct."""
    return Ratio(counts.rr, counts.rr + counts.wr)


def accuracy(counts: Counts) -> Ratio:
    """Correct predictions among all predictions; undefined verdicts count, errors do not."""
    return Ratio(counts.rr + counts.rw + counts.undefined_right, counts.predictions)


def wilson(successes: int, trials: int, z: float = Z95) -> tuple[float, float] | None:
    """Wilson score interval (Wilson 1927) of a binomial share; None for no trials."""
    if trials == 0:
        return None
    share, shrink = successes / trials, 1.0 + z * z / trials
    centre = (share + z * z / (2 * trials)) / shrink
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / shrink
    # The ends are exactly 0 and 1 there; rounding would put them a hair off.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == trials else min(1.0, centre + half)
    return low, high


@dataclass(frozen=True, slots=True, eq=False)
class Verdicts:
    """Predictions of one head that have a verdict, as columns over m samples."""

    correct: Bool  # [m]
    mass: Float64  # [m] relevance mass
    ceiling: Float64  # [m]
    floor: Float64  # [m]

    def threshold(self, rule: str, tau: float) -> Float64:
        """[m] the relevance mass from which a sample is valid."""
        if rule == "midpoint":
            return self.floor + tau * (self.ceiling - self.floor)
        return np.full(len(self.mass), tau)

    def counts(self, rule: str, tau: float, mass: Float64 | None = None) -> Counts:
        """The four quadrants under a rule; ``mass`` [m] replaces the relevance mass (chance, shuffled)."""
        valid = (self.mass if mass is None else mass) >= self.threshold(rule, tau)
        return quadrants(self.correct, valid)


def quadrants(correct: Bool, valid: Bool) -> Counts:
    """Counts of two boolean columns [m]."""
    return Counts(*np.bincount(quadrant_codes(correct, valid), minlength=len(QUADRANTS)).tolist())


def quadrant_codes(correct: Bool, valid: Bool) -> Int64:
    """Places [m] in `QUADRANTS` of two boolean columns [m]."""
    return 2 * (~correct).astype(np.int64) + ~valid


def quadrant_of(correct: bool, valid: bool | None) -> str:
    """One of `QUADRANTS`, or `UNDEFINED` where ``valid`` is None: there is no verdict."""
    return UNDEFINED if valid is None else QUADRANTS[2 * (not correct) + (not valid)]


def kappa(both: int, only_first: int, only_second: int, neither: int) -> float | None:
    """Agreement of two raters beyond that of their own shares of yes (Cohen 1960); None where these leave no room."""
    n = both + only_first + only_second + neither
    if n == 0:
        return None
    first, second = (both + only_first) / n, (both + only_second) / n
    by_chance = first * second + (1 - first) * (1 - second)
    return ((both + neither) / n - by_chance) / (1 - by_chance) if by_chance < 1 else None


def rank_correlation(first: Float64, second: Float64) -> float | None:
    """Spearman's rho of two columns [m], ties at their mean rank; None where one of them is constant."""
    if len(first) < 2:
        return None
    one, other = (ranks - ranks.mean() for ranks in (_mean_ranks(first), _mean_ranks(second)))
    spread = math.sqrt(float(one @ one) * float(other @ other))
    return float(one @ other) / spread if spread > 0 else None


def _mean_ranks(values: Float64) -> Float64:
    _, position, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum()
    return np.asarray((last - (counts - 1) / 2.0)[position])


def sweep(verdicts: Verdicts, rule: str) -> list[tuple[float, float | None, float | None]]:
    """(tau, PT, IR) over `SWEEP_TAUS`. Only for relevance masses from a number of masks fixed beforehand."""
    counted = [(tau, verdicts.counts(rule, tau)) for tau in SWEEP_TAUS]
    return [(tau, pt(counts).value, ir(counts).value) for tau, counts in counted]


def verdict_noise(
    verdicts: Verdicts, standard_error: Float64, rule: str, tau: float
) -> tuple[float | None, float | None]:
    """Standard deviations that the sampling of masks alone gives to PT and to IR.

    A verdict flips when another draw of masks would put the relevance mass on the other side of its threshold: with
    probability Phi(-|RMA - threshold| / se). Flips are independent over samples, so their variances add; IR by the
    delta method, since a flip changes its denominator.

    Args:
        verdicts: of m samples.
        standard_error: [m] of the relevance mass.
        rule: ``midpoint`` or ``absolute``.
        tau: its threshold.
    """
    counts = verdicts.counts(rule, tau)
    gap = np.abs(verdicts.mass - verdicts.threshold(rule, tau))
    ratio = np.divide(gap, standard_error, out=np.full(len(gap), np.inf), where=standard_error > 0)
    flips = np.fromiter((0.5 * math.erfc(r / math.sqrt(2.0)) for r in ratio), np.float64, len(ratio))
    variance = flips * (1 - flips)
    trust, reliability = pt(counts), ir(counts)
    right, wrong = float(variance[verdicts.correct].sum()), float(variance[~verdicts.correct].sum())
    noise_pt = math.sqrt(right) / trust.denominator if trust.denominator else None
    if reliability.value is None:
        return noise_pt, None
    share = reliability.value
    return noise_pt, math.sqrt((1 - share) ** 2 * right + share**2 * wrong) / reliability.denominator
