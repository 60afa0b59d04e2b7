"""The noise of verdicts: as verdicts drawn again, and PT without it as the noise-free values give it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import norm

from rate.statistics.intervals import score_interval
from rate.statistics.metrics import ir, pt, quadrants
from rate.statistics.noise import share_without_noise, verdict_noise

HALF = np.full(400, 0.5)


def test_verdict_noise_is_the_spread_of_redrawn_verdicts() -> None:
    rng = np.random.default_rng(1)
    correct, value, error = rng.random(400) < 0.7, rng.random(400), np.full(400, 0.08)
    expected_pt, expected_ir = verdict_noise(correct, value, error, HALF)
    # Redraw each verdict with the flip probability that the observed value implies.
    stay = norm.cdf(np.abs(value - 0.5) / error)
    drawn = [quadrants(correct, (value >= 0.5) ^ (rng.random(400) > stay)) for _ in range(4000)]
    assert expected_pt == pytest.approx(np.std([pt(c).value for c in drawn]), rel=0.1)
    assert expected_ir == pytest.approx(np.std([ir(c).value for c in drawn]), rel=0.1)


def test_verdicts_that_cannot_flip_carry_no_noise() -> None:
    rng = np.random.default_rng(0)
    assert verdict_noise(rng.random(400) < 0.7, rng.random(400), np.zeros(400), HALF) == (0.0, 0.0)
    assert verdict_noise(np.zeros(0, bool), *[np.zeros(0)] * 3) == (None, None)
    assert share_without_noise(*[np.zeros(0)] * 3) is None


@given(arrays(np.float64, st.integers(1, 60), elements=st.floats(0, 1)))
def test_of_exact_values_it_is_the_share_with_wilsons_interval(value: np.ndarray) -> None:
    found = share_without_noise(value, np.zeros(len(value)), np.full(len(value), 0.5))
    share = float((value >= 0.5).mean())
    assert found.value == pytest.approx(share)
    assert (found.low, found.high) == pytest.approx(score_interval(share, len(value)))


@given(
    arrays(np.float64, 40, elements=st.floats(0, 1)),
    arrays(np.float64, 40, elements=st.floats(0, 0.5)),
    st.sampled_from([1, 2, 40]),
)
def test_the_interval_holds_the_estimate(value: np.ndarray, error: np.ndarray, size: int) -> None:
    for cluster in (None, np.arange(40) // size):
        found = share_without_noise(value, error, HALF[:40], cluster)
        assert 0 <= found.low <= found.value + 1e-12
        assert found.value <= found.high + 1e-12 <= 1 + 1e-12


def test_only_distances_in_standard_errors_count() -> None:
    rng = np.random.default_rng(2)
    value, error = rng.random(400), rng.uniform(0.02, 0.2, 400)
    z = (value - 0.5) / error
    assert share_without_noise(value, error, HALF) == share_without_noise(z, np.ones(400), np.zeros(400))


def coverage(error: float, n: int, cluster_size: int, draws: int) -> tuple[float, float]:
    """Of the PT of noise-free values, .95: by the corrected interval, and by Wilson's of the verdicts as drawn."""
    rng, inside, place = np.random.default_rng(3), np.zeros(2), 0.5 + 0.25 * norm.ppf(0.95)
    half, cluster = np.full(n, 0.5), np.arange(n) // cluster_size
    for _ in range(draws):
        shared = np.repeat(rng.normal(size=n // cluster_size), cluster_size) if cluster_size > 1 else 0.0
        own = rng.normal(size=n)
        true = place + 0.25 * (own if cluster_size == 1 else np.sqrt(0.3) * shared + np.sqrt(0.7) * own)
        value = true + error * rng.normal(size=n)
        found = share_without_noise(value, np.full(n, error), half, cluster if cluster_size > 1 else None)
        low, high = score_interval(float((value >= 0.5).mean()), n)
        inside += [found.low <= 0.95 <= found.high, low <= 0.95 <= high]
    return tuple(inside / draws)


def test_pt_of_noise_free_values_is_covered_where_wilsons_interval_misses_it() -> None:
    """500 draws: the standard error of a coverage of .95 is .01."""
    corrected, plain = coverage(0.1, 1600, 1, 500)
    assert corrected >= 0.9
    assert plain < 0.4


def test_it_is_covered_over_clusters_too() -> None:
    corrected, _ = coverage(0.05, 400, 10, 500)
    assert corrected >= 0.92
