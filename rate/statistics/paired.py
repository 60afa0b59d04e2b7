"""Comparison of two heads over the same samples: differences of ratios with intervals, and tests of who has a property.

All results are functions of the joint table of states, which counts the samples in state i of the first head and state
j of the second. The interval of a difference is at 95 % and has one of these methods:

    bootstrap          Pairs of samples are resampled, by multinomial draws of the joint table.
    cluster-bootstrap  Whole clusters are resampled, because samples of a cluster are similar. The percentiles are
                       wider for fewer clusters (Hesterberg 2015, "expanded percentile").
    mover              The Wilson limits of both ratios are combined with their correlation (Zou and Donner 2008;
                       Newcombe 1998, method 10), because the bootstrap is too narrow for few deciding samples.
    undefined          A ratio has no denominator, in the samples or in too many of the resamples.

With fewer than `MIN_CLUSTERS` clusters, samples are resampled as if they were independent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, TypeAlias

import numpy as np

from rate.statistics.intervals import MIN_CLUSTERS, score_interval, student_quantile
from rate.statistics.means import SampleMean, mean_of_units, residual_correlation, units
from rate.statistics.metrics import STATES, Ratio, membership, share_by_cluster
from rate.statistics.moments import Moments, add_products
from rate.types import Bool, Codes, Float64, Int64, SampleValues

JointTable: TypeAlias = Annotated[Int64, "7 7"]
Tables: TypeAlias = Annotated[Int64, "7 7"] | Annotated[Int64, "clusters 7 7"]
Membership: TypeAlias = Annotated[Bool, "7 2"]

RESAMPLES = 10_000
"""The number of resamples. Half are drawn from the table and half from its transpose, so swapping the heads mirrors the
interval exactly."""

SMALL_CELL = 10
"""The percentile bootstrap is too narrow with fewer samples on a side of either ratio, or fewer samples on which the
heads differ: it covers 0.70 at PT .98, n = 60, and 0.64 where one sample of 1,000 is expected to differ. MOVER covers
0.93 to 1 in both."""

_UNDEFINED_RESAMPLES = 0.01  # share of resamples without a denominator that may be left out
_BLOCK = 4_000_000  # numbers drawn at a time


@dataclass(frozen=True, slots=True)
class Difference:
    """A share or mean of two heads over the same samples, with the 95 % interval of second - first."""

    metric: str
    first: Ratio | SampleMean
    second: Ratio | SampleMean
    low: float | None
    high: float | None
    method: str  # bootstrap | mover | cluster-bootstrap | undefined

    @property
    def value(self) -> float | None:
        """The difference second - first; None if one of the two is undefined."""
        if self.first.value is None or self.second.value is None:
            return None
        return self.second.value - self.first.value


def joint(first: Codes, second: Codes) -> JointTable:
    """Count the samples in each pair of `STATES`; entry i, j is state i of the first head and j of the second.

    >>> table = joint(np.array([0, 0, 1]), np.array([0, 1, 1]))
    >>> table[:2, :2]
    array([[1, 1],
           [0, 1]])
    """
    side = len(STATES)
    return np.bincount(side * first + second, minlength=side * side).astype(np.int64).reshape(side, side)


def joint_by_cluster(first: Codes, second: Codes, cluster: Codes) -> Annotated[Int64, "clusters 7 7"]:
    """Compute one table for each cluster; cluster codes count from 0.

    >>> joint_by_cluster(np.array([0, 1]), np.array([0, 1]), np.array([0, 1]))[:, :2, :2].tolist()
    [[[1, 0], [0, 0]], [[0, 0], [0, 1]]]
    """
    side = len(STATES)
    tables = np.zeros((int(cluster.max(initial=-1)) + 1, side, side), np.int64)
    np.add.at(tables, (cluster, first, second), 1)
    return tables


def difference(metric: str, tables: Tables) -> Difference:
    """Compute the difference of a metric between two heads with its 95 % interval; equal inputs give equal results.

    Resamples in which a ratio has no denominator are left out if they are at most 1 in 100; otherwise the interval is
    undefined. Fewer than `MIN_CLUSTERS` clusters are summed, and samples are resampled. With clusters and a small cell,
    the interval covers both the cluster bootstrap and MOVER, since neither alone is wide enough.

    >>> table = np.zeros((7, 7), np.int64)
    >>> table[0, 0], table[0, 1] = 60, 40  # the first head has 100 samples in rr; 40 of them move to rw
    >>> change = difference("pt", table)
    >>> change.first.value, change.second.value, change.value, change.method
    (1.0, 0.6, -0.4, 'mover')

    Args:
        metric: ``accuracy``, ``pt`` or ``ir``.
        tables: one joint table, or one for each cluster.
    """
    marks = membership(metric)
    table = tables if tables.ndim == 2 else tables.sum(axis=0)
    if tables.ndim == 3 and len(tables) < MIN_CLUSTERS:
        tables = table
    first, second = _ratio(tables, 0, marks), _ratio(tables, 1, marks)
    limits, method = _limits(tables, marks, first, second)
    low, high = limits or (None, None)
    return Difference(metric, first, second, low, high, method if limits else "undefined")


def mean_difference(
    metric: str, first: SampleValues, second: SampleValues, cluster: Codes | None = None, least: float = 0.0
) -> Difference:
    """Compute the difference of the means of two heads over the same samples, with the interval of MOVER.

    >>> change = mean_difference("gap", np.array([0.5, 0.75, 1.0]), np.array([0.25, 0.5, 0.75]), least=-1.0)
    >>> change.value
    -0.25

    Args:
        metric: its name.
        first: the value of each sample for the first head, between ``least`` and 1.
        second: the value for the second head.
        cluster: the code of each sample's cluster; None without clusters.
        least: the least possible value.
    """
    names, member = (None, None) if cluster is None else np.unique(cluster, return_inverse=True)
    clusters = 1 if names is None else len(names)
    scaled = [units(values, least) for values in (first, second)]
    one, other = (Moments.of(values, member, clusters) for values in scaled)
    product = np.zeros((clusters, 4), np.int64)
    add_products(product, scaled[0], scaled[1], member)
    return difference_of_units(metric, one, other, product, cluster is not None, least)


def difference_of_units(
    metric: str,
    first: Moments,
    second: Moments,
    product: Annotated[Int64, "clusters 4"],
    clustered: bool,
    least: float,
) -> Difference:
    """Compute the difference of means of columns of which the `units`, and their products, were summed.

    >>> moments = Moments.of(np.array([0.25, 0.75]))
    >>> difference_of_units("gap", moments, moments, moments.sums, clustered=False, least=0.0).value
    0.0
    """
    one, other = (mean_of_units(moments, clustered, least) for moments in (first, second))
    if one.value is None or other.value is None or one.interval is None or other.interval is None:
        return Difference(metric, one, other, None, None, "undefined")
    correlation = residual_correlation(first, second, product, clustered)
    (low_1, high_1), (low_2, high_2) = one.interval, other.interval
    value = other.value - one.value
    low = value - _combined_distance(other.value - low_2, high_1 - one.value, correlation)
    high = value + _combined_distance(high_2 - other.value, one.value - low_1, correlation)
    widest = 1.0 - least
    return Difference(metric, one, other, max(-widest, low), min(widest, high), "mover")


def mcnemar(only_first: int, only_second: int) -> float:
    """Compute the exact two-sided p of McNemar's test (1947); it is 1 if no sample differs.

    The null hypothesis is that the samples on which the heads differ favour either head equally.

    >>> mcnemar(0, 5)  # 2 / 2**5
    0.0625

    Args:
        only_first: the number of samples for which only the first head has the property.
        only_second: the number of samples for which only the second head has it.
    """
    total, fewer = only_first + only_second, min(only_first, only_second)
    if 2 * fewer == total:
        return 1.0
    k = np.arange(1, fewer + 1)
    log_terms = np.concatenate([[0.0], np.cumsum(np.log((total - k + 1) / k))]) - total * math.log(2.0)
    largest = float(log_terms.max())
    return min(1.0, 2.0 * math.exp(largest) * float(np.exp(log_terms - largest).sum()))


def sign_flip(differences: Annotated[Int64, "clusters"]) -> float:
    """Compute the exact two-sided p of the sum of differences when the sign of each is a fair coin; 1 if all are 0.

    The difference of a cluster is the number of its samples for which only the first head has the property, less the
    number for which only the second has it. With one sample in each cluster this is McNemar's test. p is exact to
    1e-12; a smaller one is 0 or that large.

    >>> round(sign_flip(np.array([2, 1, 1, 1])), 12)  # all of one sign: 2 of 2**4 outcomes
    0.125
    """
    sizes = np.abs(differences[differences != 0])
    total, observed = int(sizes.sum()), abs(int(differences.sum()))
    if observed == 0:
        return 1.0
    # The sum is total - 2 J, and J a sum of independent terms, each 0 or a size with probability 1/2. The Fourier
    # transform of such a term is (1 + exp(2 i a size)) / 2 = cos(a size) exp(i a size).
    angle = -np.pi / (total + 1) * np.arange((total + 1) // 2 + 1)
    transform = np.exp(1j * angle * total)
    for size, count in zip(*np.unique(sizes, return_counts=True), strict=True):
        transform *= np.cos(angle * size) ** count
    probability = np.fft.irfft(transform, total + 1)
    return float(np.clip(2.0 * probability[: (total - observed) // 2 + 1].sum(), 0.0, 1.0))


def _ratio(tables: Tables, head: int, marks: Membership) -> Ratio:
    """Compute the ratio of the first head, 0, or of the second, 1."""
    counted, among = np.atleast_2d(tables.sum(axis=-1 if head == 0 else -2) @ marks).T
    return share_by_cluster(counted, among, tables.ndim == 3)


def _limits(tables: Tables, marks: Membership, first: Ratio, second: Ratio) -> tuple[tuple[float, float] | None, str]:
    if not (first.denominator and second.denominator):
        return None, "undefined"
    table = tables if tables.ndim == 2 else tables.sum(axis=0)
    sides = [side for ratio in (first, second) for side in (ratio.numerator, ratio.denominator - ratio.numerator)]
    few = min(*sides, _differing(table, marks)) < SMALL_CELL
    if tables.ndim == 2:
        return (_mover(table, marks, first, second), "mover") if few else (_bootstrap(table, marks), "bootstrap")
    limits = _bootstrap(tables, marks)
    if limits is not None and few:
        low, high = _mover(table, marks, first, second)
        limits = min(low, limits[0]), max(high, limits[1])
    return limits, "cluster-bootstrap"


def _differing(table: JointTable, marks: Membership) -> int:
    """Count the samples that enter the two ratios differently; all others cancel in the difference."""
    return int(table[(marks[:, None] != marks[None]).any(axis=2)].sum())


def _bootstrap(tables: Tables, marks: Membership) -> tuple[float, float] | None:
    """Compute the percentile interval of the difference over resampled samples or clusters."""
    units, weights = _units(tables, marks)
    drawn = np.concatenate([_resampled(units, weights), -_resampled(units[:, [2, 3, 0, 1]], weights)])
    kept = np.sort(drawn[~np.isnan(drawn)])
    if len(kept) < (1 - _UNDEFINED_RESAMPLES) * len(drawn):
        return None
    tail = int((0.025 if tables.ndim == 2 else _expanded_tail(len(tables))) * len(kept))
    return float(kept[tail]), float(kept[len(kept) - 1 - tail])


def _expanded_tail(clusters: int) -> float:
    """Compute the share of resamples outside each limit that covers a mean of few clusters as Student's t does.

    In simulations with 10 to 15 clusters the coverage is 0.94 to 0.96; with 2.5 % on each side it is 0.90 to 0.92.
    """
    quantile = student_quantile(clusters - 1) * math.sqrt(clusters / (clusters - 1))
    return 0.5 * math.erfc(quantile / math.sqrt(2.0))


def _units(tables: Tables, marks: Membership) -> tuple[Annotated[Int64, "u 4"], Annotated[Int64, "u"]]:
    """List the units of resampling as (numerator, denominator) of both heads, and the number of each.

    Samples in one cell of a table contribute the same, so the units of one table are its cells; otherwise each cluster
    is a unit.
    """
    if tables.ndim == 2:
        side = len(marks)
        return np.hstack([np.repeat(marks, side, axis=0), np.tile(marks, (side, 1))]), tables.ravel()
    units = np.hstack([tables.sum(axis=2) @ marks, tables.sum(axis=1) @ marks])
    return units, np.ones(len(units), np.int64)


def _resampled(units: Annotated[Int64, "u 4"], weights: Annotated[Int64, "u"]) -> Annotated[Float64, "RESAMPLES/2"]:
    """Draw differences; they are NaN where a ratio of the resample has no denominator.

    Equal units are one cell of a multinomial. This has the distribution of drawing indices, at the cost of the
    distinct units only.
    """
    kinds, inverse = np.unique(units, axis=0, return_inverse=True)
    counts = np.bincount(inverse.ravel(), weights=weights)
    total, share = int(counts.sum()), counts / counts.sum()
    generator = np.random.default_rng(0)
    differences, block = [], max(1, _BLOCK // len(kinds))
    for start in range(0, RESAMPLES // 2, block):
        draws = generator.multinomial(total, share, size=min(block, RESAMPLES // 2 - start))
        sums = (draws @ kinds).astype(np.float64)
        differences.append(_shares(sums[:, 2:]) - _shares(sums[:, :2]))
    return np.concatenate(differences)


def _shares(sums: Annotated[Float64, "u 2"]) -> Annotated[Float64, "u"]:
    undefined = np.full(len(sums), np.nan)
    return np.asarray(np.divide(sums[:, 0], sums[:, 1], out=undefined, where=sums[:, 1] > 0))


def _mover(table: JointTable, marks: Membership, first: Ratio, second: Ratio) -> tuple[float, float]:
    """Compute the limits of second - first from the Wilson limits of both (Zou and Donner 2008, equations 8 and 9)."""
    correlation = _correlation(marks.T @ table @ marks, first, second)
    low_1, high_1 = _distances_to_limits(first)
    low_2, high_2 = _distances_to_limits(second)
    value = second.numerator / second.denominator - first.numerator / first.denominator
    low = value - _combined_distance(low_2, high_1, correlation)
    high = value + _combined_distance(high_2, low_1, correlation)
    return max(-1.0, low), min(1.0, high)


def _distances_to_limits(ratio: Ratio) -> tuple[float, float]:
    """Compute the distances of the Wilson limits over samples below and above the share."""
    share = ratio.numerator / ratio.denominator
    low, high = score_interval(share, ratio.denominator)
    return share - low, high - share


def _combined_distance(one: float, other: float, correlation: float) -> float:
    # This order of operations gives the same bits when the two are swapped.
    return math.sqrt(max(0.0, one * one + other * other - 2.0 * correlation * (one * other)))


def _correlation(shared: Annotated[Int64, "2 2"], first: Ratio, second: Ratio) -> float:
    """Compute the correlation of two ratios over the same samples by the delta method; it is 0 if one does not vary.

    The influence of a sample on N/D is proportional to n D - N d, with n and d 0 or 1. The sum over the samples is in
    integers; ``shared`` counts the samples in numerator or denominator of the first and of the second.
    """
    (both, first_in), (second_in, either) = ((int(x) for x in row) for row in shared)
    n1, d1, n2, d2 = first.numerator, first.denominator, second.numerator, second.denominator
    covariance = both * d1 * d2 - (first_in * d1 * n2 + second_in * n1 * d2) + either * n1 * n2
    variances = n1 * d1 * (d1 - n1) * n2 * d2 * (d2 - n2)
    return max(-1.0, min(1.0, covariance / math.sqrt(variances))) if variances else 0.0
