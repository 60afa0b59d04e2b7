"""How often intervals over clusters hold the true share, and how often tests over clusters reject a true hypothesis.

The samples of a cluster are right with a probability of its own, from a beta distribution with the intracluster
correlation that is asked for. A part of `python -m benchmarks.coverage`.
"""

from __future__ import annotations

import itertools

import numpy as np

from rate.statistics.intervals import score_interval, spread_of
from rate.statistics.paired import mcnemar, sign_flip
from rate.types import Float64, Int64

SIZES: dict[str, Int64] = {
    "40 of 10": np.full(40, 10),
    "10 of 30, 30 of 3": np.repeat([30, 3], [10, 30]),
    "10 of 40": np.full(10, 40),
    "200 of 5": np.full(200, 5),
}
CORRELATIONS = (0.0, 0.1, 0.3, 0.5)
SHARES = (0.5, 0.85, 0.9, 0.95)
LEVEL = 0.05


def shares(draws: int, rng: np.random.Generator) -> list[dict[str, object]]:
    """Coverage of the interval over clusters, and of Wilson's over samples."""
    rows: list[dict[str, object]] = []
    for (name, sizes), share, correlation in itertools.product(SIZES.items(), SHARES, CORRELATIONS):
        hits = np.zeros(2)
        for sums in rng.binomial(sizes, _chances(share, correlation, (draws, len(sizes)), rng)).astype(np.float64):
            value, total = float(sums.sum() / sizes.sum()), int(sizes.sum())
            spread = spread_of(sizes.astype(np.float64), sums, sums)
            over_clusters = score_interval(value, total / spread.design_effect, spread.quantile)
            hits += [low <= share <= high for low, high in (over_clusters, score_interval(value, total))]
        over, samples = (round(float(value), 4) for value in hits / draws)
        rows.append(
            {"clusters": name, "share": share, "correlation": correlation, "coverage": over, "as_samples": samples}
        )
    return rows


def tests(draws: int, rng: np.random.Generator) -> list[dict[str, object]]:
    """How often two heads that are right equally often are told apart at `LEVEL`, by clusters and by samples."""
    rows: list[dict[str, object]] = []
    for (name, sizes), share, correlation in itertools.product(SIZES.items(), (0.85, 0.95), CORRELATIONS):
        rejected = np.zeros(2)
        for _ in range(draws):
            one, other = rng.binomial(sizes, _chances(share, correlation, (2, len(sizes)), rng))
            both = rng.hypergeometric(one, sizes - one, other)
            p = sign_flip(one - other), mcnemar(int((one - both).sum()), int((other - both).sum()))
            rejected += [value <= LEVEL for value in p]
        over, samples = (round(float(value), 4) for value in rejected / draws)
        rows.append(
            {"clusters": name, "share": share, "correlation": correlation, "rejected": over, "as_samples": samples}
        )
    return rows


def _chances(share: float, correlation: float, shape: tuple[int, int], rng: np.random.Generator) -> Float64:
    if not correlation:
        return np.full(shape, share)
    strength = 1 / correlation - 1
    return rng.beta(share * strength, (1 - share) * strength, shape)
