"""Intervals of shares: Wilson's for independent samples, and their coverage over clusters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from scipy.stats import t as student

from rate.statistics.intervals import MIN_CLUSTERS, Spread, Units, score_interval, spread_of, student_quantile


@given(st.integers(0, 3000), st.integers(1, 3000))
def test_the_score_interval_is_wilsons(successes: int, trials: int) -> None:
    share = min(successes, trials) / trials
    expected = binomtest(min(successes, trials), trials).proportion_ci(method="wilson")
    assert score_interval(share, trials) == pytest.approx((expected.low, expected.high), abs=1e-12)


@given(st.floats(0, 1), st.floats(1, 1e6), st.floats(1, 13), st.floats(0, 2))
def test_the_ends_are_where_the_score_is_the_quantile(share: float, samples: float, q: float, added: float) -> None:
    low, high = score_interval(share, samples, q, added)
    assert 0 <= low <= high <= 1
    for end in (low, high):
        if 1e-6 < end < 1 - 1e-6:
            assert (share - end) ** 2 == pytest.approx(q * q * (end * (1 - end) + added) / samples, rel=1e-4, abs=1e-9)


@given(st.floats(1, 1e5))
def test_students_quantile_equals_scipy(freedom: float) -> None:
    assert student_quantile(freedom) == pytest.approx(student.ppf(0.975, freedom), rel=2e-4)


def columns(values: np.ndarray, cluster: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sizes, sums and sums of squares by cluster."""
    return tuple(np.bincount(cluster, weights=one).astype(float) for one in (values**0, values, values**2))


def test_few_clusters_say_nothing_and_equal_values_count_once_a_cluster() -> None:
    sizes = np.full(MIN_CLUSTERS - 1, 5.0)
    assert spread_of(sizes, sizes / 5, sizes / 5) == Spread(MIN_CLUSTERS - 1)
    sizes = np.full(20, 5.0)
    for sums in (sizes, sizes * 0):
        found = spread_of(sizes, sums, sums)
        assert (found.clusters, found.design_effect, found.freedom) == (20, 5.0, 19.0)


def test_clusters_of_one_sample_are_independent_samples() -> None:
    values = (np.arange(400) % 4 == 0).astype(float)
    found = spread_of(*columns(values, np.arange(400)))
    assert found.design_effect == pytest.approx(1, abs=0.01)
    assert found.quantile == pytest.approx(1.96, abs=0.01)


def test_the_design_effect_is_that_of_the_intracluster_correlation() -> None:
    """Kish: 1 + (size - 1) correlation."""
    rng = np.random.default_rng(0)
    for correlation in (0.1, 0.3, 0.6):
        a = 1 / correlation - 1
        values = rng.random((4000, 10)) < rng.beta(0.7 * a, 0.3 * a, (4000, 1))
        found = spread_of(*columns(values.ravel().astype(float), np.repeat(np.arange(4000), 10)))
        assert found.design_effect == pytest.approx(1 + 9 * correlation, rel=0.06)


def test_an_order_of_clusters_and_an_empty_one_change_nothing() -> None:
    rng = np.random.default_rng(1)
    sizes = rng.integers(1, 30, 40).astype(float)
    sums = rng.binomial(sizes.astype(int), 0.8).astype(float)
    order = rng.permutation(40)
    found = spread_of(sizes, sums, sums)
    again = spread_of(np.append(sizes[order], 0.0), np.append(sums[order], 0.0), np.append(sums[order], 0.0))
    assert (again.clusters, again.design_effect) == (40, pytest.approx(found.design_effect))
    assert again.freedom == pytest.approx(found.freedom)


def coverage(share: float, correlation: float, sizes: np.ndarray, draws: int) -> float:
    rng = np.random.default_rng(int(1000 * share + 100 * correlation))
    inside = 0
    for _ in range(draws):
        a = 1 / correlation - 1 if correlation else 0
        chance = rng.beta(share * a, (1 - share) * a, len(sizes)) if correlation else share
        sums = rng.binomial(sizes, chance).astype(float)
        spread = spread_of(sizes.astype(float), sums, sums)
        low, high = score_interval(sums.sum() / sizes.sum(), sizes.sum() / spread.design_effect, spread.quantile)
        inside += low <= share <= high
    return inside / draws


EQUAL, UNEQUAL = np.full(40, 10), np.where(np.arange(40) % 4 == 0, 30, 3)


@pytest.mark.parametrize("sizes", [EQUAL, UNEQUAL], ids=["equal", "unequal"])
@pytest.mark.parametrize("share", [0.85, 0.95])
def test_the_interval_over_clusters_covers_as_often_as_it_says(share: float, sizes: np.ndarray) -> None:
    """1,000 draws: the standard error of a coverage of .95 is .007. Samples taken as independent cover .5 to .75."""
    assert 0.93 <= coverage(share, 0.3, sizes, 1000) <= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [EQUAL, UNEQUAL, np.full(15, 20), np.full(300, 4)], ids=str)
@pytest.mark.parametrize("share", [0.5, 0.85, 0.9, 0.95])
@pytest.mark.parametrize("correlation", [0.0, 0.1, 0.3, 0.5])
def test_coverage_over_clusters_in_many_draws(correlation: float, share: float, sizes: np.ndarray) -> None:
    assert 0.92 <= coverage(share, correlation, sizes, 4000) <= 0.99


def test_units_say_what_is_taken_as_independent() -> None:
    assert str(Units(40)) == "over 40 clusters"
    assert str(Units(4)) == "over samples (4 clusters, fewer than 10)"
    assert str(Units(None)) == "over samples (no clusters)"
    assert [Units(k).name for k in (None, 9, 10)] == ["samples", "samples", "clusters"]
