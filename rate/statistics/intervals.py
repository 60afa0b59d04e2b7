"""Intervals of a share at 95 %, for independent samples, for clusters of similar samples, and with added variance.

A cluster is the unit of sampling where samples of one cluster are similar: its samples count as fewer independent ones,
by the design effect (Kish 1965), and the quantile is Student's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal

import numpy as np

from rate.types import Codes, Float64, SampleValues

Z95 = 1.959963984540054
"""The two-sided 95 % quantile of the normal distribution."""

MIN_CLUSTERS = 10
"""With fewer clusters than this, samples are taken as independent: so few say nothing about the spread among them."""

ByCluster = Annotated[Float64, "clusters"]


@dataclass(frozen=True, slots=True)
class Units:
    """What an interval takes as independent of each other."""

    clusters: int | None  # number of clusters; None if there are none, or clusters are ignored

    @property
    def name(self) -> Literal["clusters", "samples"]:
        """The unit: ``clusters`` if there are enough of them, else ``samples``."""
        return "clusters" if self.clusters is not None and self.clusters >= MIN_CLUSTERS else "samples"

    @property
    def too_few(self) -> str | None:
        """The reason why samples are the units in spite of clusters; None if clusters are the units, or absent."""
        if self.clusters is None or self.name == "clusters":
            return None
        return f"{self.clusters} clusters, fewer than {MIN_CLUSTERS}"

    def __str__(self) -> str:
        if self.name == "clusters":
            return f"over {self.clusters} clusters"
        return f"over samples ({self.too_few or 'no clusters'})"


@dataclass(frozen=True, slots=True)
class Spread:
    """How much wider an interval is because samples come in clusters."""

    clusters: int
    design_effect: float = 1.0  # number of samples that count as one independent sample, at least 1
    freedom: float = math.inf  # degrees of freedom of the design effect

    @property
    def quantile(self) -> float:
        """The two-sided 95 % quantile."""
        return Z95 if math.isinf(self.freedom) else student_quantile(self.freedom)


def score_interval(share: float, samples: float, quantile: float = Z95, added: float = 0.0) -> tuple[float, float]:
    """Compute the score interval of a share, which is Wilson's (1927) without added variance.

    It holds every p in [0, 1] with ``(share - p)^2 <= quantile^2 (p (1 - p) + added) / samples``.

    >>> low, high = score_interval(0.5, 10)
    >>> round(low, 4), round(high, 4)
    (0.2366, 0.7634)

    Args:
        share: the estimate, in [0, 1].
        samples: the number of independent samples, above 0.
        quantile: of the normal distribution, or of Student's t.
        added: the variance of one sample beside that of a share.
    """
    z = quantile * quantile / samples
    centre = share + z / 2
    half = math.sqrt(max(0.0, centre * centre - (1 + z) * (share * share - z * added)))
    low, high = (min(1.0, max(0.0, end / (1 + z))) for end in (centre - half, centre + half))
    # At these ends the limits are exactly 0 and 1, which rounding would miss.
    return (0.0 if share == 0.0 else low), (1.0 if share == 1.0 else high)


def spread_of(sizes: ByCluster, sums: ByCluster, squares: ByCluster) -> Spread:
    """Estimate the design effect of the mean of values in clusters, and its degrees of freedom.

    The larger of two estimates counts. The variance between clusters (linearized ratio estimator, with the CR2
    correction of Bell and McCaffrey 2002) assumes nothing, and is small by luck when no large cluster was hit by a rare
    event. The intracluster correlation of Fleiss and Cuzick (1979) is steadier, and takes it as equal for clusters of
    any size. The degrees of freedom are Satterthwaite's, from the fourth moment of the first. If all values are equal,
    nothing is known about the correlation, and each cluster counts as one sample.

    Coverage in simulations is in benchmarks/results/coverage.json.

    >>> same_within = spread_of(np.full(20, 10.0), np.repeat([10.0, 0.0], 10), np.repeat([10.0, 0.0], 10))
    >>> round(same_within.design_effect, 2)
    10.53

    Args:
        sizes: the number of values in each cluster.
        sums: the sum of the values of each cluster.
        squares: the sum of their squares.
    """
    order = np.lexsort((squares, sums, sizes))  # sums of floats depend on it, by which rows were read first
    order = order[sizes[order] > 0]
    sizes, sums, squares = sizes[order], sums[order], squares[order]
    count, total = len(sizes), float(sizes.sum())
    if count < MIN_CLUSTERS:
        return Spread(count)
    mean = float(sums.sum()) / total
    variance = float(squares.sum()) / total - mean * mean
    alone = float(sizes @ sizes) / total  # the design effect of clusters that count as one sample each
    if variance <= 1e-12:
        return Spread(count, alone, max(1.0, total / alone - 1))
    residuals = (sums - mean * sizes) / np.sqrt(1.0 - sizes / total)
    second, fourth = float((residuals**2).sum()), float((residuals**4).sum())
    within = float((squares - sums**2 / sizes).sum())
    correlation = 1.0 - within / ((total - count) * variance) if total > count else 0.0
    effect = max(1.0, second / (total * variance), 1.0 + min(1.0, correlation) * (alone - 1))
    freedom = 2.0 / max(fourth / second**2 - 1.0 / count, 2.0 / (count - 1)) if second > 0 else count - 1.0
    return Spread(count, effect, max(1.0, freedom))


def spread_over(values: SampleValues, cluster: Codes) -> Spread:
    """Estimate the spread of the mean of values over their clusters, given as codes; see `spread_of`.

    >>> spread_over(np.ones(6), np.array([0, 0, 0, 1, 1, 1])).clusters
    2
    """
    _, member = np.unique(cluster, return_inverse=True)
    sums = (np.bincount(member, weights=one).astype(np.float64) for one in (np.ones(len(values)), values, values**2))
    return spread_of(*sums)


@lru_cache(maxsize=4096)
def student_quantile(freedom: float) -> float:
    """Compute the two-sided 95 % quantile of Student's t with ``freedom`` >= 1 degrees of freedom, not always whole.

    With t = sqrt(freedom) tan(a) the density is that of cos(a)^(freedom - 1), which is summed over a fine grid.

    >>> round(student_quantile(9.0), 3), round(student_quantile(1.0), 2)
    (2.262, 12.71)
    """
    angle, mass = _student_mass(freedom)
    return math.sqrt(freedom) * math.tan(float(np.interp(0.95 * mass[-1], mass, angle)))


def student_tail(t: float, freedom: float) -> float:
    """Compute the probability that Student's t with ``freedom`` >= 1 degrees of freedom lies above ``t`` >= 0.

    >>> round(student_tail(2.262, 9.0), 4)
    0.025
    """
    angle, mass = _student_mass(freedom)
    return 0.5 * (1.0 - float(np.interp(math.atan(t / math.sqrt(freedom)), angle, mass)) / float(mass[-1]))


def _student_mass(freedom: float) -> tuple[Float64, Float64]:
    """Sum the density of the angle a = atan(t / sqrt(freedom)) from 0; returns angles and sums."""
    angle = np.linspace(0.0, min(math.pi / 2, 12.0 / math.sqrt(freedom)), 20_001)
    density = np.cos(angle) ** (freedom - 1)
    return angle, np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
