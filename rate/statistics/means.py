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
from rate.statistics.intervals import MIN_CLUSTERS, score_interval, student_quantile
from rate.statistics.moments import Moments, covariance
from rate.types import Codes, Int64, SampleValues

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
    if cluster is None:
        return mean_of_units(Moments.of(units(values, least)), False, least)
    names, member = np.unique(cluster, return_inverse=True)
    return mean_of_units(Moments.of(units(values, least), member, len(names)), True, least)


def units(values: SampleValues, least: float) -> SampleValues:
    """Scale values between ``least`` and 1 to [0, 1].

    >>> units(np.array([-1.0, 0.0, 1.0]), least=-1.0)
    array([0. , 0.5, 1. ])
    """
    return np.clip((values - least) / (1.0 - least), 0.0, 1.0)


def mean_of_units(moments: Moments, clustered: bool, least: float = 0.0) -> SampleMean:
    """Compute the mean of values of which ``moments`` has the `units`; see `mean_of`.

    >>> mean_of_units(Moments.of(np.array([0.5, 1.0])), clustered=False).value
    0.75
    """
    count, clusters = moments.count, moments.clusters if clustered else None
    if not count:
        return SampleMean(None, None, None, 0, clusters)
    share, variance = moments.mean, moments.variance(ddof=1) if count > 1 else 0.0
    samples = count if variance <= _CONSTANT else count * share * (1.0 - share) / variance
    quantile = student_quantile(max(1, count - 1))
    if (clusters or 0) >= MIN_CLUSTERS:
        spread = moments.spread()
        samples, quantile = samples / spread.design_effect, spread.quantile
    low, high = (least + (1.0 - least) * end for end in score_interval(share, samples, quantile))
    return SampleMean(least + (1.0 - least) * share, low, high, count, clusters)


def residual_correlation(
    first: Moments, second: Moments, product: Annotated[Int64, "clusters 4"], clustered: bool
) -> float:
    """Compute the correlation of two means over the same samples, which is over clusters if there are enough of them.

    >>> moments = Moments.of(np.array([0.0, 1.0, 0.5]))
    >>> residual_correlation(moments, moments, moments.sums, clustered=False)
    1.0

    Args:
        first: the sums of the first column.
        second: the sums of the second.
        product: the sums of their products.
        clustered: whether the samples have clusters.
    """
    by_cluster = clustered and first.clusters >= MIN_CLUSTERS
    squares = [covariance(one, one, one.sums, by_cluster) for one in (first, second)]
    size = squares[0] * squares[1]
    both = covariance(first, second, product, by_cluster)
    return min(1.0, max(-1.0, both / math.sqrt(size))) if size > _CONSTANT else 0.0
