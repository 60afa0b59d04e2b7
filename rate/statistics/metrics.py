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
from msgspec import Meta

from rate.records import Count, Record, Share
from rate.statistics.intervals import MIN_CLUSTERS, Spread, score_interval, spread_of, spread_over
from rate.types import Bool, Codes, Int64, SampleFlags, SampleValues

QUADRANTS = ("rr", "rw", "wr", "ww")
"""The first letter is the prediction, the second the rationale; r is right, w is wrong."""

UNDEFINED = "undefined"
"""The quadrant of a prediction without a verdict."""

STATES = (*QUADRANTS, "undefined_right", "undefined_wrong", "error")
"""The states of a sample in one head: a quadrant, no verdict, or an error without a prediction."""

_SIDES = {  # metric -> states that count for it, states that count against it
    "accuracy": (("rr", "rw", "undefined_right"), ("wr", "ww", "undefined_wrong")),
    "pt": (("rr",), ("rw",)),
    "ir": (("rr",), ("wr",)),
    "judged_accuracy": (("rr", "rw"), ("wr", "ww")),
}
METRICS = tuple(_SIDES)
"""The shares of a head. IR is read beside ``judged_accuracy``, the accuracy of the predictions with a verdict."""


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

    @classmethod
    def of(cls, states: Codes, capped: int = 0) -> Counts:
        """Count codes of `STATES`."""
        return cls(*(*np.bincount(states, minlength=len(STATES)).tolist(), capped))

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
    """A share with its denominator and its interval at 95 %, Wilson's where samples are independent.

    >>> print(Ratio(3, 4))
    0.750 (0.301 to 0.954), 3/4
    """

    numerator: int
    denominator: int
    spread: Spread | None = None  # of clusters; None if the samples have none

    def __str__(self) -> str:
        """Format value, interval and both numbers: `0.750 (0.301 to 0.954), 3/4`."""
        of = f"{self.numerator}/{self.denominator}"
        return (
            f"undefined, {of}" if self.value is None else f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f}), {of}"
        )

    @property
    def value(self) -> float | None:
        """The share; None if the denominator is 0."""
        return self.numerator / self.denominator if self.denominator else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The interval at 95 %; None if the denominator is 0."""
        if self.value is None:
            return None
        if self.spread is None:
            return score_interval(self.value, self.denominator)
        return score_interval(self.value, self.denominator / self.spread.design_effect, self.spread.quantile)

    @property
    def low(self) -> float | None:
        """Lower end of the interval."""
        return self.interval[0] if self.interval else None

    @property
    def high(self) -> float | None:
        """Upper end of the interval."""
        return self.interval[1] if self.interval else None

    @property
    def clusters(self) -> int | None:
        """The number of clusters in the denominator; None if the samples have none."""
        return None if self.spread is None else self.spread.clusters


class RatioRecord(Record, frozen=True):
    """A `Ratio` in a document."""

    value: Share | None
    low: Share | None
    high: Share | None
    numerator: Count
    denominator: Count
    clusters: Annotated[
        Count | None, Meta(description=f"of the denominator; the interval is over them from {MIN_CLUSTERS} on")
    ]


def membership(metric: str) -> Annotated[Bool, "7 2"]:
    """Mark the states of `STATES` that count in the numerator of a metric, and those that count in its denominator.

    >>> membership("pt")[:3].tolist()
    [[True, True], [False, True], [False, False]]
    """
    counted, against = _SIDES[metric]
    return np.array([(state in counted, state in counted + against) for state in STATES], np.bool_)


def ratio(metric: str, counts: Counts) -> Ratio:
    """Compute one of `METRICS` from counts, which know no clusters.

    >>> ratio("judged_accuracy", Counts(rr=3, rw=1, wr=2, undefined_right=1))
    Ratio(numerator=4, denominator=6, spread=None)
    """
    counted, against = (sum(getattr(counts, state) for state in side) for side in _SIDES[metric])
    return Ratio(counted, counted + against)


def sample_ratio(metric: str, states: Codes, cluster: Codes | None) -> Ratio:
    """Compute one of `METRICS` over samples.

    >>> sample_ratio("pt", np.array([0, 0, 1, 3]), None)
    Ratio(numerator=2, denominator=3, spread=None)

    Args:
        metric: one of `METRICS`.
        states: the code of each sample in `STATES`.
        cluster: the code of each sample's cluster; None without clusters.
    """
    counted, among = membership(metric)[states].T
    return share_of(counted[among], None if cluster is None else cluster[among])


def share_of(counted: SampleFlags, cluster: Codes | None) -> Ratio:
    """Compute the share of samples that count, with the spread of their clusters if they have some.

    >>> share_of(np.array([True, True, False]), None).value
    0.6666666666666666
    """
    spread = None if cluster is None else spread_over(counted.astype(np.float64), cluster)
    return Ratio(int(counted.sum()), len(counted), spread)


def share_by_cluster(
    counted: Annotated[Int64, "clusters"], among: Annotated[Int64, "clusters"], clustered: bool
) -> Ratio:
    """Compute the share of samples that count, from the number of these and of all in each cluster.

    >>> share_by_cluster(np.array([3, 1]), np.array([4, 2]), clustered=False)
    Ratio(numerator=4, denominator=6, spread=None)
    """
    sizes, sums = among.astype(np.float64), counted.astype(np.float64)
    return Ratio(int(counted.sum()), int(among.sum()), spread_of(sizes, sums, sums) if clustered else None)


def pt(counts: Counts) -> Ratio:
    """Compute PT = RR / (RR + RW): of the correct predictions, the share on valid evidence.

    >>> pt(Counts(rr=3, rw=1, wr=2)).value
    0.75
    """
    return ratio("pt", counts)


def pt_bounds(counts: Counts) -> tuple[float, float] | None:
    """Compute PT if all correct predictions without a verdict were on invalid evidence, and if all were on valid.

    >>> pt_bounds(Counts(rr=2, rw=1, undefined_right=1))
    (0.5, 0.75)
    """
    right = ratio("accuracy", counts).numerator
    return (counts.rr / right, (counts.rr + counts.undefined_right) / right) if right else None


def ir(counts: Counts) -> Ratio:
    """Compute IR = RR / (RR + WR): of the predictions on valid evidence, the share that is correct.

    >>> ir(Counts(rr=3, rw=1, wr=2)).value
    0.6
    """
    return ratio("ir", counts)


def accuracy(counts: Counts) -> Ratio:
    """Compute the share of correct predictions; undefined verdicts count, errors do not.

    >>> accuracy(Counts(rr=3, rw=1, wr=2, undefined_right=2, errors=9)).value
    0.75
    """
    return ratio("accuracy", counts)


def quadrants(correct: SampleFlags, valid: SampleFlags) -> Counts:
    """Count the quadrants of two boolean columns.

    >>> quadrants(np.array([True, True, False]), np.array([True, False, False]))
    Counts(rr=1, rw=1, wr=0, ww=1, undefined_right=0, undefined_wrong=0, errors=0, capped=0)
    """
    return Counts.of(quadrant_codes(correct, valid))


def quadrant_codes(correct: SampleFlags, valid: SampleFlags) -> Codes:
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
