"""Holm's correction and the score test, against figures of statsmodels 0.15 and distributions of scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rate.statistics.intervals import Spread, student_tail
from rate.statistics.metrics import Ratio
from rate.statistics.multiplicity import chance_below, holm

PUBLISHED = [
    0.0001,
    0.0004,
    0.0019,
    0.0095,
    0.0201,
    0.0278,
    0.0298,
    0.0344,
    0.0459,
    0.324,
    0.4262,
    0.5719,
    0.6528,
    0.759,
    1.0,
]
"""The fifteen p values of Benjamini and Hochberg (1995)."""

ADJUSTED = [0.0015, 0.0056, 0.0247, 0.114, 0.2211, 0.278, 0.278, 0.278, 0.3213, *[1.0] * 6]
"""multipletests(PUBLISHED, method="holm") of statsmodels."""


def test_holm_is_that_of_statsmodels() -> None:
    assert holm(np.array(PUBLISHED)) == pytest.approx(ADJUSTED, abs=1e-12)
    assert holm(np.array([0.04, 0.01, 0.04, 0.5, 0.02])) == pytest.approx([0.12, 0.05, 0.12, 0.5, 0.08])
    assert len(holm(np.array([]))) == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.randoms())
def test_the_order_does_not_matter_and_no_p_falls(values: list[float], shuffled) -> None:
    order = list(range(len(values)))
    shuffled.shuffle(order)
    one, other = holm(np.array(values)), holm(np.array(values)[order])
    assert np.array_equal(one[order], other)
    assert (one >= np.array(values)).all()
    assert one.max() <= 1.0


@pytest.mark.parametrize(
    ("counted", "samples", "limit", "expected"),  # proportions_ztest(..., alternative="smaller", prop_var=limit)
    [(40, 100, 0.5, 0.022750131948179216), (17, 20, 0.6, 0.9887605633169374), (3, 50, 0.2, 0.006664164390408773)],
)
def test_the_score_test_is_that_of_statsmodels(counted: int, samples: int, limit: float, expected: float) -> None:
    assert chance_below(counted / samples, samples, limit) == pytest.approx(expected, rel=1e-9)


@given(st.integers(0, 60), st.integers(1, 60), st.floats(0.02, 0.98), st.none() | st.floats(1.5, 40))
def test_it_is_small_exactly_where_the_interval_lies_below(counted, samples, limit, freedom) -> None:
    spread = None if freedom is None else Spread(12, 2.5, freedom)
    ratio = Ratio(min(counted, samples), samples, spread)
    assert ratio.value is not None
    assert ratio.high is not None
    chance = chance_below(ratio.value, samples, limit, spread)
    if abs(ratio.high - limit) > 1e-4:
        assert (2 * chance < 0.05) == (ratio.high < limit)


@pytest.mark.parametrize("freedom", [1.0, 2.5, 9.0, 30.0, 400.0])
@pytest.mark.parametrize("t", [0.0, 0.7, 2.0, 4.0])
def test_the_tail_is_that_of_scipy(freedom: float, t: float) -> None:
    assert student_tail(t, freedom) == pytest.approx(stats.t.sf(t, freedom), abs=2e-6)
