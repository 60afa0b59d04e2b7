"""Two heads over the same samples: the difference of a ratio with its interval, and McNemar's test.

Everything is a function of the joint table of states: how many samples are in state i of the first head and in state j
of the second. The interval of a difference is at 95 % and one of

    bootstrap          samples resampled in pairs: a multinomial draw of the joint table
    cluster-bootstrap  whole clusters resampled, where samples of a cluster are alike; percentiles further out the
                       fewer clusters there are (Hesterberg 2015, "expanded percentile")
    mover              where few samples decide and the bootstrap is too narrow: Wilson limits of both ratios, combined
                       with their correlation (Zou and Donner 2008; Newcombe 1998, method 10)
    undefined          a ratio has no denominator, in the samples or in too many of the resamples

Fewer than `MIN_CLUSTERS` clusters cannot be resampled: samples are then, each as if it were independent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rate.metrics import QUADRANTS, Z95, Ratio
from rate.types import Float64, Int64

STATES = (*QUADRANTS, "undefined_right", "undefined_wrong", "error")
"""A sample's state in one head: prediction and rationale right or wrong, no verdict, or no prediction at all."""

RESAMPLES = 10_000
"""Half of them drawn from the table and half from its transpose: swapping the heads mirrors the interval exactly."""

SMALL_CELL = 10
"""With fewer samples on a side of either ratio, or fewer that the heads treat differently, the percentile bootstrap is
too narrow: it covers 0.70 at PT .98, n = 60, and 0.64 where one sample of 1,000 is expected to differ. MOVER covers
0.93 to 1 in both."""

MIN_CLUSTERS = 10
"""Fewer clusters than this are not resampled: of two clusters that agree, every resample would agree."""

_UNDEFINED_RESAMPLES = 0.01  # share of resamples without a denominator that may be left out
_BLOCK = 4_000_000  # numbers drawn at a time

_SIDES = {  # metric -> states that count for it, states that count against it
    "accuracy": (("rr", "rw", "undefined_right"), ("wr", "ww", "undefined_wrong")),
    "pt": (("rr",), ("rw",)),
    "ir": (("rr",), ("wr",)),
}
METRICS = tuple(_SIDES)


@dataclass(frozen=True, slots=True)
class Difference:
    """A metric of two heads over the same samples, and the 95 % interval of second - first."""

    metric: str
    first: Ratio
    second: Ratio
    low: float | None
    high: float | None
    method: str  # bootstrap | mover | cluster-bootstrap | undefined

    @property
    def value(self) -> float | None:
        """second - first, in [-1, 1]; None when either is undefined."""
        if self.first.value is None or self.second.value is None:
            return None
        return self.second.value - self.first.value


def joint(first: Int64, second: Int64) -> Int64:
    """Table [7,7] of two columns of state codes [n]: entry i, j counts the samples in `STATES` i, then j."""
    side = len(STATES)
    return np.bincount(side * first + second, minlength=side * side).astype(np.int64).reshape(side, side)


def joint_by_cluster(first: Int64, second: Int64, cluster: Int64) -> Int64:
    """Tables [k,7,7], one a cluster, of state codes [n] and cluster codes [n] in 0 .. k-1."""
    side = len(STATES)
    tables = np.zeros((int(cluster.max(initial=-1)) + 1, side, side), np.int64)
    np.add.at(tables, (cluster, first, second), 1)
    return tables


def difference(metric: str, tables: Int64) -> Difference:
    """The difference of a metric between two heads with its 95 % interval; same input, same result.

    Resamples in which a ratio has no denominator are left out while they are at most 1 in 100; otherwise the interval
    is undefined. Fewer than `MIN_CLUSTERS` clusters are taken as their sum: samples are resampled. Where clusters and a
    small cell meet, the interval holds the cluster bootstrap and MOVER's: neither alone is wide enough.

    Args:
        metric: ``accuracy``, ``pt`` or ``ir``.
        tables: joint table [7,7], or [k,7,7], one a cluster.
    """
    marks = _marks(metric)
    table = tables if tables.ndim == 2 else tables.sum(axis=0)
    if tables.ndim == 3 and len(tables) < MIN_CLUSTERS:
        tables = table
    first, second = _ratio(table.sum(axis=1) @ marks), _ratio(table.sum(axis=0) @ marks)
    limits, method = _limits(tables, marks, first, second)
    low, high = limits or (None, None)
    return Difference(metric, first, second, low, high, method if limits else "undefined")


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p that samples which differ favour either head equally (McNemar 1947); 1 where none differs.

    Args:
        only_first: samples for which only the first head has the property.
        only_second: samples for which only the second head has it.
    """
    total, fewer = only_first + only_second, min(only_first, only_second)
    if 2 * fewer == total:
        return 1.0
    k = np.arange(1, fewer + 1)
    log_terms = np.concatenate([[0.0], np.cumsum(np.log((total - k + 1) / k))]) - total * math.log(2.0)
    largest = float(log_terms.max())
    return min(1.0, 2.0 * math.exp(largest) * float(np.exp(log_terms - largest).sum()))


def _marks(metric: str) -> Int64:
    """[7,2] whether a state counts in the metric's numerator, and in its denominator."""
    counted, against = _SIDES[metric]
    return np.array([(state in counted, state in counted + against) for state in STATES], np.int64)


def _ratio(sums: Int64) -> Ratio:
    return Ratio(int(sums[0]), int(sums[1]))


def _limits(tables: Int64, marks: Int64, first: Ratio, second: Ratio) -> tuple[tuple[float, float] | None, str]:
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


def _differing(table: Int64, marks: Int64) -> int:
    """Samples that count otherwise in the second ratio than in the first; the rest cancel in the difference."""
    return int(table[(marks[:, None] != marks[None]).any(axis=2)].sum())


def _bootstrap(tables: Int64, marks: Int64) -> tuple[float, float] | None:
    """Percentile interval of the difference over resampled samples or clusters."""
    units, weights = _units(tables, marks)
    drawn = np.concatenate([_resampled(units, weights), -_resampled(units[:, [2, 3, 0, 1]], weights)])
    kept = np.sort(drawn[~np.isnan(drawn)])
    if len(kept) < (1 - _UNDEFINED_RESAMPLES) * len(drawn):
        return None
    tail = int((0.025 if tables.ndim == 2 else _expanded_tail(len(tables))) * len(kept))
    return float(kept[tail]), float(kept[len(kept) - 1 - tail])


def _expanded_tail(clusters: int) -> float:
    """Share of resamples outside each limit, such that a mean of few clusters is covered as by Student's t.

    Simulated with 10 to 15 clusters: 0.94 to 0.96, where 2.5 % on each side cover 0.90 to 0.92. The quantile of t is
    Fisher's expansion (Abramowitz and Stegun 26.7.5), right to 1 in 1,000 from `MIN_CLUSTERS` clusters.
    """
    v, z = clusters - 1, Z95
    quantile = z + (z**3 + z) / (4 * v) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
    quantile += (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
    return 0.5 * math.erfc(quantile * math.sqrt(clusters / v) / math.sqrt(2.0))


def _units(tables: Int64, marks: Int64) -> tuple[Int64, Int64]:
    """What is resampled, as rows (numerator, denominator of the first; of the second) [u,4], and how many of each [u].

    A sample contributes the marks of its cell, so the cells of one table are the units; a cluster is its own unit.
    """
    if tables.ndim == 2:
        side = len(marks)
        return np.hstack([np.repeat(marks, side, axis=0), np.tile(marks, (side, 1))]), tables.ravel()
    units = np.hstack([tables.sum(axis=2) @ marks, tables.sum(axis=1) @ marks])
    return units, np.ones(len(units), np.int64)


def _resampled(units: Int64, weights: Int64) -> Float64:
    """[RESAMPLES / 2] differences; NaN where a resample leaves a ratio without a denominator.

    Units that contribute the same are one cell of a multinomial: the same distribution as drawing indices, at the cost
    of the different units only.
    """
    kinds, inverse = np.unique(units, axis=0, return_inverse=True)
    counts = np.bincount(inverse.ravel(), weights=weights)
    total, share = int(counts.sum()), counts / counts.sum()
    generator = np.random.default_rng(0)
    found, block = [], max(1, _BLOCK // len(kinds))
    for start in range(0, RESAMPLES // 2, block):
        draws = generator.multinomial(total, share, size=min(block, RESAMPLES // 2 - start))
        sums = (draws @ kinds).astype(np.float64)
        found.append(_shares(sums[:, 2:]) - _shares(sums[:, :2]))
    return np.concatenate(found)


def _shares(sums: Float64) -> Float64:
    undefined = np.full(len(sums), np.nan)
    return np.asarray(np.divide(sums[:, 0], sums[:, 1], out=undefined, where=sums[:, 1] > 0))


def _mover(table: Int64, marks: Int64, first: Ratio, second: Ratio) -> tuple[float, float]:
    """Limits of second - first from the Wilson limits of both (Zou and Donner 2008, equations 8 and 9)."""
    correlation = _correlation(marks.T @ table @ marks, first, second)
    low_1, high_1 = _reach(first)
    low_2, high_2 = _reach(second)
    value = second.numerator / second.denominator - first.numerator / first.denominator
    low = value - _combined(low_2, high_1, correlation)
    high = value + _combined(high_2, low_1, correlation)
    return max(-1.0, low), min(1.0, high)


def _reach(ratio: Ratio) -> tuple[float, float]:
    """How far the Wilson limits lie below and above the share."""
    low, high = ratio.interval or (0.0, 1.0)
    share = ratio.numerator / ratio.denominator
    return share - low, high - share


def _combined(one: float, other: float, correlation: float) -> float:
    # Written so that swapping the two changes not even the last bit.
    return math.sqrt(max(0.0, one * one + other * other - 2.0 * correlation * (one * other)))


def _correlation(shared: Int64, first: Ratio, second: Ratio) -> float:
    """Correlation of two ratios of sums over the same samples, by the delta method; 0 where one does not vary.

    The influence of a sample on N/D is proportional to n D - N d, with n and d 0 or 1. Summed over the samples in
    integers; ``shared`` [2,2] counts those in numerator or denominator of the first and of the second.
    """
    (both, first_in), (second_in, either) = ((int(x) for x in row) for row in shared)
    n1, d1, n2, d2 = first.numerator, first.denominator, second.numerator, second.denominator
    covariance = both * d1 * d2 - (first_in * d1 * n2 + second_in * n1 * d2) + either * n1 * n2
    variances = n1 * d1 * (d1 - n1) * n2 * d2 * (d2 - n2)
    return max(-1.0, min(1.0, covariance / math.sqrt(variances))) if variances else 0.0
