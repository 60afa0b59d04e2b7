"""Means of bounded values over samples, with intervals at 95 %: what swaps leave of the predictions.

Object-only accuracy is the accuracy on pictures of which only the region stays, background-only accuracy that on
pictures whose region was replaced, and their gap the difference (Xiao, Engstrom, Ilyas, Madry, "Noise or Signal", ICLR
2021, on ImageNet-9). Each sample has its share of fills, and the mean over the samples is the accuracy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated

import numpy as np
from msgspec import Meta

from rate.records import Count, Record, Signed
from rate.statistics.intervals import MIN_CLUSTERS, score_interval, spread_over, student_quantile
from rate.types import Codes, SampleValues

SWAP_METRICS = ("object_only", "background_only", "gap")
"""The means that runs by swaps are compared and gated by."""

MEAN_TITLES = {"object_only": "object-only", "background_only": "background-only", "gap": "gap"}
"""The names of `SWAP_METRICS` for readers."""

LEAST = {"object_only": 0.0, "background_only": 0.0, "gap": -1.0, "kept_alone": 0.0, "kept_without": 0.0}
"""The least value of a sample for each mean; the largest is 1."""

_CONSTANT = 1e-12  # a variance that is rounding


class SampleMean(Record, frozen=True):
    """The mean of a value over samples, with its interval at 95 %."""

    value: Signed | None  # None without samples
    low: Signed | None
    high: Signed | None
    samples: Count
    clusters: Annotated[
        Count | None, Meta(description=f"of the samples; the interval is over them from {MIN_CLUSTERS} on")
    ]

    @property
    def interval(self) -> tuple[float, float] | None:
        """The interval at 95 %; None without samples."""
        return None if self.low is None or self.high is None else (self.low, self.high)


class SwapMeans(Record, frozen=True):
    """What swaps leave of the predictions of a head, over the samples whose region leaves something to swap."""

    object_only: SampleMean  # accuracy where other pictures stand around the region
    background_only: SampleMean  # accuracy where other pictures stand in the region
    gap: SampleMean  # object-only less background-only accuracy
    kept_alone: SampleMean  # share of the predictions that stay where other pictures stand around the region
    kept_without: SampleMean  # share of the predictions that stay where other pictures stand in it
    fills: Annotated[float | None, Meta(description="mean number of other pictures that a sample met")]


def swap_means(column: Callable[[str], SampleValues], cluster: Codes | None) -> SwapMeans:
    """Compute the means over n samples.

    Args:
        column: gives the values [n] of a column of the samples; NaN where there are none.
        cluster: the code of each sample's cluster; None without clusters.
    """
    swapped = np.isfinite(column("object_only"))
    own = None if cluster is None else cluster[swapped]
    means = {name: mean_of(swap_values(name, column)[swapped], own, least) for name, least in LEAST.items()}
    fills = column("fills")[swapped]
    return SwapMeans(**means, fills=float(fills.mean()) if len(fills) else None)


def swap_values(metric: str, column: Callable[[str], SampleValues]) -> SampleValues:
    """Return the value of each sample for a mean; see `swap_means`."""
    return column("object_only") - column("background_only") if metric == "gap" else column(metric)


def mean_of(values: SampleValues, cluster: Codes | None = None, least: float = 0.0) -> SampleMean:
    """Compute the mean of values between ``least`` and 1.

    The interval is the score interval of a share, for the number of samples of which a share would vary as much as the
    mean does, with the quantile of Student's t. It stays between the bounds, and is skewed near them. Values that are
    all equal tell nothing of their spread, for which that of a share is taken, the largest that can be.

    >>> mean = mean_of(np.array([0.5, 1.0, 0.75, 0.75]))
    >>> mean.value, round(mean.low, 3), round(mean.high, 3)
    (0.75, 0.385, 0.935)

    Args:
        values: the value of each of m samples.
        cluster: the code of each sample's cluster; None without clusters.
        least: the least possible value.
    """
    clusters = None if cluster is None else len(np.unique(cluster))
    count = len(values)
    if not count:
        return SampleMean(None, None, None, 0, clusters)
    units = np.clip((values - least) / (1.0 - least), 0.0, 1.0)
    share, variance = float(units.mean()), float(units.var(ddof=1)) if count > 1 else 0.0
    samples = count if variance <= _CONSTANT else count * share * (1.0 - share) / variance
    quantile = student_quantile(max(1, count - 1))
    if cluster is not None and (clusters or 0) >= MIN_CLUSTERS:
        spread = spread_over(units, cluster)
        samples, quantile = samples / spread.design_effect, spread.quantile
    low, high = (least + (1.0 - least) * end for end in score_interval(share, samples, quantile))
    return SampleMean(float(values.mean()), low, high, count, clusters)


def residual_correlation(first: SampleValues, second: SampleValues, cluster: Codes | None = None) -> float:
    """Compute the correlation of two means over the same samples, which is over clusters if there are enough of them.

    >>> residual_correlation(np.array([0.0, 1.0, 0.5]), np.array([0.5, 1.0, 0.75]))
    1.0
    """
    one, other = (values - values.mean() for values in (first, second))
    if cluster is not None:
        _, member = np.unique(cluster, return_inverse=True)
        if member.max(initial=-1) + 1 >= MIN_CLUSTERS:
            one, other = (np.bincount(member, weights=values) for values in (one, other))
    size = float(one @ one) * float(other @ other)
    return min(1.0, max(-1.0, float(one @ other) / math.sqrt(size))) if size > _CONSTANT else 0.0
