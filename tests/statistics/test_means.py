"""Means of bounded values: their intervals hold what they should, over samples and over clusters, and paired."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rate.statistics.intervals import score_interval, student_quantile
from rate.statistics.means import mean_of, residual_correlation
from rate.statistics.moments import Moments, add_products
from rate.statistics.paired import mean_difference
from rate.types import Codes, Float64

DRAWS = 500
SHARES = st.integers(0, 8).map(lambda k: k / 8)


def population(kind: str, size: int, rng: np.random.Generator) -> np.ndarray:
    """The shares over 8 fills of samples that are about even, mostly 0, or 0 or 1."""
    even, rare, ends = rng.beta(3, 1.5, size), np.where(rng.random(size) < 0.1, rng.beta(2, 2, size), 0), (0.3, 0.3)
    return rng.binomial(8, {"even": even, "rare": rare, "ends": rng.beta(*ends, size)}[kind]) / 8


def holds(limits: tuple[float | None, float | None], truth: float) -> bool:
    low, high = limits
    return low is not None and high is not None and low <= truth <= high


@pytest.mark.parametrize(("kind", "count"), [("even", 12), ("even", 200), ("rare", 100), ("ends", 40)])
def test_the_interval_of_a_mean_holds_it_in_19_of_20_draws(kind: str, count: int) -> None:
    rng = np.random.default_rng(3)
    values = population(kind, 200_000, rng)
    found = [mean_of(rng.choice(values, count)) for _ in range(DRAWS)]
    assert 0.92 <= np.mean([holds((one.low, one.high), values.mean()) for one in found]) <= 0.98


@pytest.mark.parametrize("clusters", [12, 60])
def test_over_clusters_it_holds_the_mean_where_over_samples_it_does_not(clusters: int) -> None:
    rng = np.random.default_rng(4)

    def drawn(count: int) -> tuple[np.ndarray, np.ndarray]:
        common, own = population("even", count, rng)[:, None], population("even", 8 * count, rng).reshape(count, 8)
        return np.where(rng.random((count, 8)) < 0.6, common, own).ravel(), np.repeat(np.arange(count), 8)

    truth = drawn(50_000)[0].mean()
    pairs = [drawn(clusters) for _ in range(DRAWS)]
    over = [mean_of(values, codes) for values, codes in pairs]
    apart = [mean_of(values) for values, _ in pairs]
    assert 0.92 <= np.mean([holds((one.low, one.high), truth) for one in over]) <= 0.98
    assert np.mean([holds((one.low, one.high), truth) for one in apart]) < 0.85


@pytest.mark.parametrize(("kind", "changing"), [("even", 0.6), ("even", 0.1), ("rare", 0.6), ("ends", 0.3)])
@pytest.mark.parametrize("clustered", [False, True])
def test_the_interval_of_a_difference_holds_it(kind: str, changing: float, clustered: bool) -> None:
    rng = np.random.default_rng(5)

    def drawn(count: int) -> tuple[np.ndarray, np.ndarray]:
        first = population(kind, count, rng)
        lower = np.where(rng.random(count) < 0.5, np.clip(first - 0.25, 0, 1), population(kind, count, rng))
        return first, np.where(rng.random(count) < changing, lower, first)

    first, second = drawn(200_000)
    truth, codes = second.mean() - first.mean(), np.repeat(np.arange(40), 3) if clustered else None
    hits = []
    for _ in range(DRAWS):
        one, other = drawn(40 if clustered else 120)
        if clustered:
            one, other = np.repeat(one, 3), np.repeat(other, 3)
        change = mean_difference("object_only", one, other, codes)
        hits.append(holds((change.low, change.high), truth))
    assert np.mean(hits) >= 0.92


@given(arrays(np.float64, st.integers(1, 30), elements=st.sampled_from([0.0, 1.0])))
def test_of_zeros_and_ones_it_is_about_wilsons_interval(values: np.ndarray) -> None:
    mean, count = mean_of(values), len(values)
    low, high = score_interval(float(values.mean()), count, student_quantile(max(1, count - 1)))
    shrunk = (count - 1) / count if 0 < mean.value < 1 else 1.0
    assert (mean.low, mean.high) == pytest.approx(
        score_interval(float(values.mean()), count * shrunk, student_quantile(max(1, count - 1)))
    )
    assert mean.low <= low + 1e-12
    assert mean.high >= high - 1e-12


@given(arrays(np.float64, st.integers(1, 40), elements=SHARES), st.sampled_from([1, 2, 40]))
def test_the_interval_holds_the_mean_and_stays_between_the_bounds(values: np.ndarray, size: int) -> None:
    for cluster in (None, np.arange(len(values)) // size):
        for least, shown in ((0.0, values), (-1.0, 2 * values - 1)):
            mean = mean_of(shown, cluster, least)
            assert mean.value == pytest.approx(shown.mean())
            assert least <= mean.low <= mean.value + 1e-12
            assert mean.value <= mean.high + 1e-12 <= 1 + 1e-12
            assert mean.samples == len(values)


@given(arrays(np.float64, st.integers(2, 40), elements=SHARES))
def test_a_difference_with_oneself_is_zero_and_swapping_mirrors_it(values: np.ndarray) -> None:
    same = mean_difference("gap", values, values, least=-1.0)
    assert same.value == 0
    assert same.low <= 0 <= same.high
    other = values[::-1]
    there, back = (mean_difference("gap", *pair, least=-1.0) for pair in ((values, other), (other, values)))
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))


def test_without_samples_nothing_is_known() -> None:
    nothing = np.zeros(0)
    mean = mean_of(nothing)
    assert (mean.value, mean.low, mean.high, mean.samples, mean.interval) == (None, None, None, 0, None)
    change = mean_difference("gap", nothing, nothing)
    assert (change.value, change.low, change.high, change.method) == (None, None, None, "undefined")


def correlation(one: Float64, other: Float64, codes: Codes | None = None) -> float:
    clusters = 1 if codes is None else int(codes.max()) + 1
    product = np.zeros((clusters, 4), np.int64)
    add_products(product, one, other, codes)
    sums = (Moments.of(values, codes, clusters) for values in (one, other))
    return residual_correlation(*sums, product, codes is not None)


def test_the_correlation_of_means_is_that_of_samples_or_of_clusters() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.random(60), rng.random(60)
    assert correlation(one, other) == pytest.approx(np.corrcoef(one, other)[0, 1])
    codes = np.arange(60) // 3
    sums = [np.bincount(codes, weights=values - values.mean()) for values in (one, other)]
    assert correlation(one, other, codes) == pytest.approx(
        float(sums[0] @ sums[1]) / np.sqrt(float(sums[0] @ sums[0]) * float(sums[1] @ sums[1]))
    )
    assert correlation(one, other, np.arange(60) // 30) == correlation(one, other)
    assert correlation(one, np.ones(60)) == 0


def test_equal_values_have_no_variance() -> None:
    assert Moments.of(np.full(1000, 2 / 3)).variance(1) == 0.0
