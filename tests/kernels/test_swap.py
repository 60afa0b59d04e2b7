"""Region and rest as players: against the definition of Shapley values, and on scores whose shares are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rate.kernels import reference, swap

SCORES = st.floats(-20, 20, width=32)


@given(arrays(np.float64, (1,), elements=SCORES), arrays(np.float64, (3, 1, 5), elements=SCORES))
def test_values_are_those_of_the_definition_and_add_up(whole, parts) -> None:
    found = swap.shapley_values(whole, *parts)
    region, rest = reference.shapley_values(float(whole[0]), *(part[0].tolist() for part in parts))
    np.testing.assert_allclose([found.region[0], found.rest[0]], [region, rest], atol=1e-9)
    np.testing.assert_allclose(found.region + found.rest, whole - parts[2].mean(axis=1), atol=1e-9)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_an_additive_score_gives_its_share(share: float) -> None:
    rng = np.random.default_rng(3)
    region, rest = rng.normal(0, 0.3, (2, 2, 400))  # what each fill brings of its own
    whole = np.array([1.0, 1.0])
    inside, outside, nothing = share + rest, (1 - share) + region, region + rest
    found = swap.shapley_values(whole, inside, outside, nothing)
    np.testing.assert_allclose(found.share, share, atol=0.03)
    assert (np.abs(found.share - share) <= 4 * np.maximum(found.share_se, 0.01)).all()


@given(arrays(np.float64, (3, 2, 6), elements=SCORES), st.floats(0.05, 0.95))
def test_the_sign_of_the_clearance_is_the_verdict(parts, tau: float) -> None:
    whole = np.array([4.0, -1.0])
    found, clear = swap.shapley_values(whole, *parts), swap.clearance(whole, *parts, tau)
    for k in range(2):
        if np.isfinite(found.share[k]) and abs(found.share[k] - tau) > 1e-9:
            assert (clear[k] > 0) == (found.share[k] >= tau)


def test_at_one_half_the_clearance_is_the_paired_t_statistic_of_inside_and_outside() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    inside, outside, nothing = rng.normal(size=(3, 1, 12))
    expected = stats.ttest_rel(inside[0], outside[0]).statistic
    np.testing.assert_allclose(swap.clearance(np.array([2.0]), inside, outside, nothing, 0.5), expected)


def test_the_standard_error_of_the_share_is_its_spread_over_draws_of_fills() -> None:
    rng = np.random.default_rng(1)
    fills, draws = 24, 4000
    region, rest = rng.normal(0, 0.4, (2, draws, fills))
    found = swap.shapley_values(np.ones(draws), 0.6 + rest, 0.4 + region, region + rest)
    assert found.share_se.mean() == pytest.approx(found.share.std(), rel=0.1)


def test_a_model_that_sees_neither_has_no_evidence() -> None:
    rng = np.random.default_rng(2)
    seen = 0
    for _ in range(300):
        parts = rng.normal(size=(3, 1, 16))
        seen += bool(swap.shapley_values(parts.mean(keepdims=True)[0, 0], *parts).has_evidence[0])
    assert seen < 60
    assert not swap.shapley_values(np.zeros(1), np.zeros((1, 4)), np.zeros((1, 4)), np.zeros((1, 4))).has_evidence[0]


def test_swapping_both_ways_puts_every_pixel_of_both_pictures_somewhere() -> None:
    rng = np.random.default_rng(4)
    x, b, r = rng.normal(size=(3, 8, 8)), rng.normal(size=(3, 8, 8)), rng.random((8, 8))
    inside, outside = reference.swap(x.astype(np.float32), r.astype(np.float32), b.astype(np.float32))
    np.testing.assert_allclose(inside + outside, x + b, atol=1e-6)
