"""What the sampling noise of single verdicts does to PT and IR: how much they vary by it, and PT without it.

The evidence of a sample is valid where a value (localization, relevance mass or Shapley share) is at or above its
threshold. The value is measured from random masks or fills and has a standard error. Errors are taken as normal and
independent over samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rate.records import Record, Share
from rate.statistics.intervals import Spread, score_interval
from rate.statistics.metrics import Counts, ir, pt, quadrants
from rate.statistics.moments import Moments
from rate.types import Codes, SampleFlags, SampleValues


class NoiseFree(Record, frozen=True):
    """A share as endless sampling would give it, with its interval at 95 %."""

    value: Share
    low: Share
    high: Share


def verdict_noise(
    correct: SampleFlags, value: SampleValues, standard_error: SampleValues, threshold: SampleValues
) -> tuple[float | None, float | None]:
    """Estimate the standard deviations of PT and of IR over other draws of the masks or fills of the same samples.

    Another draw changes a verdict with probability Phi(-|value - threshold| / se). These changes are independent over
    samples, so their variances add. IR uses the delta method, since a change alters its denominator.

    Args:
        correct: which of m samples are predicted right.
        value: the value of each.
        standard_error: the standard error of each value; 0 for one that is exact.
        threshold: the least valid value of each.
    """
    return NoiseSums.of(correct, value, standard_error, threshold).deviations


def share_without_noise(
    value: SampleValues, standard_error: SampleValues, threshold: SampleValues, cluster: Codes | None = None
) -> NoiseFree | None:
    """Estimate the share of samples whose value is at or above its threshold when nothing is noisy; None of no samples.

    Noise moves more samples across the threshold from the side where there are more. As much noise once more would
    give the share ``mean(p)`` with ``p = Phi((value - threshold) / se)``; going back by the same step gives
    ``2 share - mean(p)`` (simulation extrapolation, Cook and Stefanski 1994, which needs no simulation here). What
    remains is of the fourth order in the noise: this is for noise of at most half the spread of the values
    (benchmarks/results/coverage.json).

    >>> round(share_without_noise(np.array([0.9, 0.8, 0.1]), np.zeros(3), np.full(3, 0.5)).value, 6)
    0.666667

    Args:
        value: the value of each of m samples.
        standard_error: the standard error of each value; 0 for one that is exact.
        threshold: the least valid value of each.
        cluster: the code of each sample's cluster; None without clusters.
    """
    clusters = 1 if cluster is None else int(cluster.max(initial=-1)) + 1
    right = np.ones(len(value), np.bool_)
    return NoiseSums.of(right, value, standard_error, threshold, cluster, clusters).without_noise(cluster is not None)


@dataclass(slots=True)
class NoiseSums:
    """What both estimates need of any number of samples: sums, which can be added."""

    counts: Counts
    changes: Moments  # variance of a verdict; of right predictions, and of wrong ones
    weights: Moments  # of right predictions, by cluster; scaled from [-1, 2] to [0, 1]

    @classmethod
    def of(
        cls,
        correct: SampleFlags,
        value: SampleValues,
        standard_error: SampleValues,
        threshold: SampleValues,
        cluster: Codes | None = None,
        clusters: int = 1,
    ) -> NoiseSums:
        """Sum over m samples; ``cluster`` holds codes below ``clusters``."""
        probability, valid = _above(value, standard_error, threshold), value >= threshold
        weights = (2.0 * valid - probability + 1.0) / 3.0
        own = None if cluster is None else cluster[correct]
        return cls(
            quadrants(correct, valid),
            Moments.of(probability * (1 - probability), (~correct).astype(np.int64), 2),
            Moments.of(weights[correct], own, clusters),
        )

    def add(self, other: NoiseSums) -> None:
        """Add the sums of other samples."""
        self.counts += other.counts
        self.changes.add(other.changes)
        self.weights.add(other.weights)

    @property
    def deviations(self) -> tuple[float | None, float | None]:
        """The standard deviations of PT and IR; see `verdict_noise`."""
        trust, reliability = pt(self.counts), ir(self.counts)
        right, wrong = self.changes.parts()[1].tolist()
        noise_pt = math.sqrt(right) / trust.denominator if trust.denominator else None
        if reliability.value is None:
            return noise_pt, None
        share = reliability.value
        return noise_pt, math.sqrt((1 - share) ** 2 * right + share**2 * wrong) / reliability.denominator

    def without_noise(self, clustered: bool) -> NoiseFree | None:
        """Estimate the share of right predictions on valid evidence without noise; see `share_without_noise`."""
        if not self.weights.count:
            return None
        share = min(1.0, max(0.0, 3.0 * self.weights.mean - 1.0))
        beyond = max(0.0, 9.0 * self.weights.variance() - share * (1 - share))
        spread = self.weights.spread(3.0, -1.0) if clustered else Spread(0)
        low, high = score_interval(share, self.weights.count / spread.design_effect, spread.quantile, beyond)
        return NoiseFree(share, low, high)


def _above(value: SampleValues, standard_error: SampleValues, threshold: SampleValues) -> SampleValues:
    """Compute the probability that another draw, around each value, lies at or above its threshold."""
    distance = value - threshold
    exact = np.where(distance >= 0, np.inf, -np.inf)
    with np.errstate(over="ignore"):  # infinite is far enough
        z = np.divide(distance, standard_error, out=exact, where=standard_error > 0)
    return np.fromiter((0.5 * math.erfc(-one / math.sqrt(2.0)) for one in z), np.float64, len(z))
