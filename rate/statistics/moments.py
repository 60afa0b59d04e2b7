"""Number, sum and sum of squares of values: exact sums of integers, so that no order of the values changes a bit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from rate.statistics.intervals import ByCluster, Spread, spread_of
from rate.types import Codes, Int64, SampleValues

_BITS = 30
_ONE = 1 << _BITS
"""Values count in steps of 2^-30."""


@dataclass(slots=True)
class Moments:
    """Sums over values in [0, 1], for each of some clusters; all values are of one cluster where there are none."""

    sums: Annotated[Int64, "clusters 4"]  # number, sum, and sum of squares in two parts

    @classmethod
    def of(cls, values: SampleValues, cluster: Codes | None = None, clusters: int = 1) -> Moments:
        """Sum m values; ``cluster`` holds their codes below ``clusters``."""
        moments = cls(np.zeros((clusters, 4), np.int64))
        moments.take(values, cluster)
        return moments

    def take(self, values: SampleValues, cluster: Codes | None = None) -> None:
        """Add m values of the clusters with these codes, or all of the first one."""
        add_products(self.sums, values, values, cluster)

    def add(self, other: Moments) -> None:
        """Add the sums of other values of the same clusters, and of more."""
        self.sums = _added(self.sums, other.sums)

    @property
    def count(self) -> int:
        """The number of values."""
        return int(self.sums[:, 0].sum())

    @property
    def clusters(self) -> int:
        """The number of clusters with a value."""
        return int((self.sums[:, 0] > 0).sum())

    @property
    def mean(self) -> float:
        """The mean of at least one value."""
        return int(self.sums[:, 1].sum()) / (_ONE * self.count)

    def variance(self, ddof: int = 0) -> float:
        """Compute the variance of more than ``ddof`` values."""
        count, total, high, low = (int(part) for part in self.sums.sum(axis=0))
        squares = (high << _BITS) + low
        return (count * squares - total * total) / (count * (count - ddof) * _ONE * _ONE)

    def spread(self, scale: float = 1.0, offset: float = 0.0) -> Spread:
        """Estimate how the values ``scale * value + offset`` spread over the clusters."""
        sizes, total, squares = (np.asarray(part, np.float64) for part in self.parts())
        sums = scale * total + offset * sizes
        return spread_of(sizes, sums, scale * scale * squares + 2 * scale * offset * total + offset * offset * sizes)

    def parts(self) -> tuple[Annotated[Int64, "clusters"], ByCluster, ByCluster]:
        """Return the number, the sum and the sum of squares of each cluster."""
        return self.sums[:, 0], self.sums[:, 1] / _ONE, (self.sums[:, 2] + self.sums[:, 3] / _ONE) / _ONE


def _added(one: Annotated[Int64, "k 4"], other: Annotated[Int64, "k 4"]) -> Annotated[Int64, "k 4"]:
    """Add two arrays of sums, of which one may have more rows."""
    if len(one) < len(other):
        one, other = other, one
    total = one.copy()
    total[: len(other)] += other
    return total


def add_products(
    sums: Annotated[Int64, "clusters 4"], first: SampleValues, second: SampleValues, cluster: Codes | None = None
) -> None:
    """Add the values and products of two columns [m] in [0, 1]: number, sum of the first, products in two parts.

    >>> sums = np.zeros((1, 4), np.int64)
    >>> add_products(sums, np.array([0.5, 1.0]), np.array([1.0, 0.25]))
    >>> (sums / [1, 2**30, 2**30, 2**60]).tolist()
    [[2.0, 1.5, 0.75, 0.0]]
    """
    one, other = (np.rint(np.clip(values, 0.0, 1.0) * _ONE).astype(np.int64) for values in (first, second))
    product = one * other
    columns = np.stack([np.ones_like(one), one, product >> _BITS, product & (_ONE - 1)], axis=1)
    if cluster is None:
        sums[0] += columns.sum(axis=0)
    else:
        np.add.at(sums, cluster, columns)


def covariance(first: Moments, second: Moments, product: Annotated[Int64, "clusters 4"], by_cluster: bool) -> float:
    """Compute the sum of the products of the residuals of two columns, of each value or of each cluster's sum.

    >>> moments = Moments.of(np.array([0.25, 0.75]))
    >>> covariance(moments, moments, moments.sums, by_cluster=False)
    0.125
    """
    means = first.mean, second.mean
    sizes, one, _ = first.parts()
    other = second.parts()[1]
    if by_cluster:
        return math.fsum((one - sizes * means[0]) * (other - sizes * means[1]))  # exact, so that no order changes it
    count, first_sum, second_sum = first.count, int(first.sums[:, 1].sum()), int(second.sums[:, 1].sum())
    both = (int(product[:, 2].sum()) << _BITS) + int(product[:, 3].sum())
    return (count * both - first_sum * second_sum) / (count * _ONE * _ONE)
