"""PT, IR and intervals against hand counts, scipy and Quantus."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from rate.statistics.intervals import MIN_CLUSTERS, score_interval
from rate.statistics.metrics import (
    METRICS,
    QUADRANTS,
    STATES,
    UNDEFINED,
    Counts,
    Ratio,
    accuracy,
    ir,
    kappa,
    pt,
    pt_bounds,
    quadrant_codes,
    quadrant_of,
    quadrants,
    rank_correlation,
    ratio,
    sample_ratio,
)

counts = st.builds(Counts, *[st.integers(0, 50)] * 8)


def test_pt_and_ir_by_hand() -> None:
    correct = np.array([1, 1, 1, 0, 0, 1, 0, 1], bool)
    valid = np.array([1, 0, 1, 1, 0, 1, 0, 1], bool)
    c = quadrants(correct, valid)
    assert (c.rr, c.rw, c.wr, c.ww) == (4, 1, 1, 2)
    assert pt(c) == Ratio(4, 5)
    assert ir(c) == Ratio(4, 5)
    assert accuracy(c) == Ratio(5, 8)


def test_undefined_counts_in_accuracy_only_and_errors_nowhere() -> None:
    c = Counts(rr=3, rw=1, wr=1, ww=1, undefined_right=2, undefined_wrong=1, errors=5)
    assert accuracy(c) == Ratio(6, 9)
    assert (pt(c), ir(c), c.undefined) == (Ratio(3, 4), Ratio(3, 4), 3)


def test_a_zero_denominator_is_undefined_never_zero_or_one() -> None:
    for one in (pt(Counts(wr=3)), ir(Counts(rw=3)), accuracy(Counts(errors=2))):
        assert (one.value, one.interval, one.denominator) == (None, None, 0)


@given(counts, counts, counts)
def test_counts_add_up_in_any_grouping(a: Counts, b: Counts, c: Counts) -> None:
    assert (a + b) + c == a + (b + c)
    assert a + Counts() == a
    assert (a + b).predictions == a.predictions + b.predictions


@given(counts)
def test_pt_lies_between_its_bounds_which_meet_without_undefined_correct_predictions(c: Counts) -> None:
    found, value = pt_bounds(c), pt(c).value
    assert (found is None) == (c.rr + c.rw + c.undefined_right == 0)
    if found is not None:
        assert 0 <= found[0] <= found[1] <= 1
        assert found[1] - found[0] == pytest.approx(c.undefined_right / (c.rr + c.rw + c.undefined_right))
        if value is not None:
            assert found[0] - 1e-12 <= value <= found[1] + 1e-12


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3)), max_size=60))
def test_ratios_of_samples_are_those_of_their_counts(rows: list[tuple[int, int]]) -> None:
    states, clusters = (np.array([row[k] for row in rows], np.int64) for k in (0, 1))
    c = Counts.of(states)
    assert [getattr(c, name) for name in Counts.__slots__] == [*np.bincount(states, minlength=7).tolist(), 0]
    for metric in METRICS:
        expected = ratio(metric, c)
        assert sample_ratio(metric, states, None) == expected
        found = sample_ratio(metric, states, clusters)
        assert (found.numerator, found.denominator) == (expected.numerator, expected.denominator)
        assert found.interval == expected.interval, "these are at most four clusters"
    assert ratio("judged_accuracy", c) == Ratio(c.rr + c.rw, c.rr + c.rw + c.wr + c.ww)


def test_copies_of_a_sample_in_one_cluster_add_nothing_to_what_is_known() -> None:
    """Five copies of 60 samples are worth 60, but for the quantile."""
    states = np.array([STATES.index("rr")] * 45 + [STATES.index("rw")] * 15)
    alone = sample_ratio("pt", states, None)
    copied = sample_ratio("pt", np.repeat(states, 5), np.repeat(np.arange(60), 5))
    assert copied.value == alone.value
    assert copied.clusters == 60
    assert copied.interval == pytest.approx(alone.interval, abs=0.006)
    assert copied.high - copied.low > alone.high - alone.low


def test_clusters_without_a_sample_in_the_denominator_do_not_count() -> None:
    """PT of 12 clusters of which 9 have a correct prediction: fewer than 10, so samples are taken as independent."""
    states = np.array([STATES.index("rr"), STATES.index("ww")] * 12)
    states[np.arange(24) // 2 >= MIN_CLUSTERS - 1] = STATES.index("ww")
    clusters = np.arange(24) // 2
    found = sample_ratio("pt", states, clusters)
    assert found.clusters == MIN_CLUSTERS - 1
    assert found.interval == score_interval(1.0, 9)
    assert sample_ratio("accuracy", states, clusters).clusters == 12


@pytest.mark.parametrize("levels", [3, 10, 1000])
def test_rank_correlation_equals_scipy_ties_included(levels: int) -> None:
    rng = np.random.default_rng(levels)
    one = rng.integers(0, levels, 200).astype(float)
    other = one + rng.integers(0, levels, 200)
    assert rank_correlation(one, other) == pytest.approx(spearmanr(one, other).statistic, abs=1e-12)
    assert rank_correlation(one, -one) == pytest.approx(-1)


def test_rank_correlation_of_nothing_that_varies_is_nothing() -> None:
    assert rank_correlation(np.ones(5), np.arange(5.0)) is None
    assert rank_correlation(np.ones(1), np.ones(1)) is None
    assert rank_correlation(np.empty(0), np.empty(0)) is None


def test_kappa_is_the_agreement_beyond_chance() -> None:
    """20, 5, 10, 15: observed 0.7, by chance 0.5 * 0.6 + 0.5 * 0.4 = 0.5."""
    assert kappa(20, 5, 10, 15) == pytest.approx(0.4)
    assert kappa(3, 0, 0, 9) == 1.0
    assert kappa(0, 5, 5, 0) == pytest.approx(-1)
    assert kappa(25, 25, 25, 25) == 0.0
    assert kappa(7, 0, 0, 0) is None
    assert kappa(0, 0, 0, 0) is None


def test_a_sample_its_code_and_its_count_are_of_one_quadrant() -> None:
    for k, (name, correct, valid) in enumerate(
        [("rr", True, True), ("rw", True, False), ("wr", False, True), ("ww", False, False)]
    ):
        assert QUADRANTS[k] == quadrant_of(correct, valid) == name
        columns = np.array([correct]), np.array([valid])
        assert quadrant_codes(*columns).tolist() == [k]
        assert quadrants(*columns) == Counts(**{name: 1})
    assert quadrant_of(True, None) == UNDEFINED
