"""What the sampling noise of single verdicts does to PT and IR: how much they vary by it, and PT without it.

The evidence of a sample is valid where a value (localization, relevance mass or Shapley share) is at or above its
threshold. The value is measured from random masks or fills and has a standard error. Errors are taken as normal and
independent over samples.
"""

from __future__ import annotations

import math

import numpy as np

from rate.records import Record, Share
from rate.statistics.intervals import Spread, score_interval, spread_over
from rate.statistics.metrics import ir, pt, quadrants
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
    counts = quadrants(correct, value >= threshold)
    probability = _above(value, standard_error, threshold)
    variance = probability * (1 - probability)
    trust, reliability = pt(counts), ir(counts)
    right, wrong = float(variance[correct].sum()), float(variance[~correct].sum())
    noise_pt = math.sqrt(right) / trust.denominator if trust.denominator else None
    if reliability.value is None:
        return noise_pt, None
    share = reliability.value
    return noise_pt, math.sqrt((1 - share) ** 2 * right + share**2 * wrong) / reliability.denominator


def share_without_noise(
    value: SampleValues, standard_error: SampleValues, threshold: SampleValues, cluster: Codes | None = None
) -> NoiseFree | None:
    """Estimate the share of samples whose value is at or above its threshold when nothing is noisy; None of no samples.

    Noise moves more samples across the threshold from the side where there are more. As much noise once more would
    give the share ``mean(p)`` with ``p = Phi((value - threshold) / se)``; going back by the same step gives
    ``2 share - mean(p)`` (simulation extrapolation, Cook and Stefanski 1994, which needs no simulation here). What
    remains is of the fourth order in the noise: this is for noise of at most half the spread of the values
    (benchmarks/results/coverage.json).

    >>> share_without_noise(np.array([0.9, 0.8, 0.1]), np.zeros(3), np.full(3, 0.5)).value
    0.6666666666666666

    Args:
        value: the value of each of m samples.
        standard_error: the standard error of each value; 0 for one that is exact.
        threshold: the least valid value of each.
        cluster: the code of each sample's cluster; None without clusters.
    """
    if not len(value):
        return None
    weights = 2.0 * (value >= threshold) - _above(value, standard_error, threshold)
    share = min(1.0, max(0.0, float(weights.mean())))
    added = max(0.0, float(weights.var()) - share * (1 - share))
    spread = Spread(0) if cluster is None else spread_over(weights, cluster)
    low, high = score_interval(share, len(value) / spread.design_effect, spread.quantile, added)
    return NoiseFree(share, low, high)


def _above(value: SampleValues, standard_error: SampleValues, threshold: SampleValues) -> SampleValues:
    """Compute the probability that another draw, around each value, lies at or above its threshold."""
    distance = value - threshold
    exact = np.where(distance >= 0, np.inf, -np.inf)
    with np.errstate(over="ignore"):  # infinite is far enough
        z = np.divide(distance, standard_error, out=exact, where=standard_error > 0)
    return np.fromiter((0.5 * math.erfc(-one / math.sqrt(2.0)) for one in z), np.float64, len(z))
