"""Differences of paired ratios: mirrored by swapping, 0 for the same, and covering as often as they say."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import binomtest, norm
from scipy.stats import t as student

from rate.statistics.intervals import MIN_CLUSTERS
from rate.statistics.metrics import METRICS, STATES, Counts, ratio
from rate.statistics.paired import Difference, difference, joint, joint_by_cluster, mcnemar, sign_flip

# A fine-tuned head against a zero-shot one: rows the first's state, columns the second's.
TYPICAL = np.zeros((7, 7))
TYPICAL[:4, :4] = [
    [0.40, 0.06, 0.02, 0.01],
    [0.04, 0.10, 0.01, 0.02],
    [0.06, 0.02, 0.06, 0.02],
    [0.02, 0.06, 0.02, 0.06],
]
TYPICAL[4, 4], TYPICAL[5, 0], TYPICAL[6, 6] = 0.01, 0.005, 0.005

tables = arrays(np.int64, (7, 7), elements=st.integers(0, 60))
metrics = st.sampled_from(METRICS)
quick = settings(max_examples=25)


def codes(states: list[str]) -> np.ndarray:
    return np.array([STATES.index(state) for state in states], np.int64)


def drawn(n: int, seed: int, shares: np.ndarray = TYPICAL) -> np.ndarray:
    return np.random.default_rng(seed).multinomial(n, shares.ravel() / shares.sum()).reshape(7, 7)


def counts_of(column: np.ndarray) -> Counts:
    rr, rw, wr, ww, undefined_right, undefined_wrong, errors = (int(x) for x in column)
    return Counts(rr, rw, wr, ww, undefined_right, undefined_wrong, errors)


def limits(found: Difference) -> tuple[float, float]:
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high


def test_joint_counts_pairs_of_states() -> None:
    table = joint(codes(["rr", "rr", "ww", "error"]), codes(["rr", "rw", "undefined_right", "error"]))
    assert table.sum() == 4
    assert (table[0, 0], table[0, 1], table[3, 4], table[6, 6]) == (1, 1, 1, 1)
    assert joint(codes([]), codes([])).shape == (7, 7)


def test_tables_of_clusters_add_up_to_the_joint_table() -> None:
    rng = np.random.default_rng(0)
    first, second, cluster = rng.integers(0, 7, 200), rng.integers(0, 7, 200), rng.integers(0, 9, 200)
    by_cluster = joint_by_cluster(first, second, cluster)
    assert by_cluster.shape == (9, 7, 7)
    np.testing.assert_array_equal(by_cluster.sum(axis=0), joint(first, second))
    np.testing.assert_array_equal(by_cluster[3], joint(first[cluster == 3], second[cluster == 3]))


@quick
@given(tables, metrics)
def test_both_ratios_are_those_of_each_head_alone(table: np.ndarray, metric: str) -> None:
    found = difference(metric, table)
    assert found.first == ratio(metric, counts_of(table.sum(axis=1)))
    assert found.second == ratio(metric, counts_of(table.sum(axis=0)))


@quick
@given(tables, metrics)
@example(drawn(2000, 0), "pt")
@example(drawn(40, 0), "ir")
def test_swapping_the_heads_mirrors_everything(table: np.ndarray, metric: str) -> None:
    one, other = difference(metric, table), difference(metric, table.T)
    assert (one.first, one.second, one.method) == (other.second, other.first, other.method)
    if one.method != "undefined":
        assert one.value == -other.value
        assert (one.low, one.high) == (-other.high, -other.low)


def test_swapping_mirrors_resampled_clusters() -> None:
    clusters = np.stack([drawn(n, n) for n in range(5, 45)])
    one, other = (difference("pt", t) for t in (clusters, clusters.transpose(0, 2, 1)))
    assert one.method == "cluster-bootstrap"
    assert (one.low, one.high) == (-other.high, -other.low)


@quick
@given(tables, metrics)
def test_the_interval_holds_the_difference_and_stays_between_minus_1_and_1(table: np.ndarray, metric: str) -> None:
    found = difference(metric, table)
    if found.method != "undefined":
        low, high = limits(found)
        assert -1 <= low <= found.value <= high <= 1


@quick
@given(arrays(np.int64, 7, elements=st.integers(0, 300)), metrics)
@example(np.array([50, 0, 0, 0, 0, 0, 0]), "pt")
def test_a_head_against_itself_differs_by_exactly_0(states: np.ndarray, metric: str) -> None:
    found = difference(metric, np.diag(states))
    if found.method != "undefined":
        low, high = limits(found)
        assert found.value == 0
        assert low <= 0 <= high


def test_the_same_input_gives_the_same_interval() -> None:
    assert difference("ir", drawn(900, 1)) == difference("ir", drawn(900, 1))


def test_samples_that_decide_no_ratio_change_nothing() -> None:
    """Errors in both heads are no evidence about either."""
    table = drawn(800, 2)
    more = table.copy()
    more[6, 6] += 5000
    for metric in METRICS:
        one, other = difference(metric, table), difference(metric, more)
        assert limits(one) == pytest.approx(limits(other), abs=0.004)
        assert (one.first, one.second) == (other.first, other.second)


def test_a_ratio_without_a_denominator_is_undefined() -> None:
    table = np.zeros((7, 7), np.int64)
    table[0, 2] = 30  # the second head is never right
    found = difference("pt", table)
    assert (found.value, found.low, found.high, found.method) == (None, None, None, "undefined")
    assert difference("ir", table).value == -1.0
    for metric in METRICS:
        assert difference(metric, np.zeros((7, 7), np.int64)).method == "undefined"
        assert difference(metric, np.zeros((0, 7, 7), np.int64)).method == "undefined"


@pytest.mark.parametrize(
    ("metric", "state"), [("accuracy", "ww"), ("pt", "rw"), ("ir", "wr"), ("judged_accuracy", "ww")]
)
def test_a_small_cell_decides_the_method(metric: str, state: str) -> None:
    k = STATES.index(state)
    table = np.zeros((7, 7), np.int64)
    table[0, 0], table[k, k], table[0, k], table[k, 0] = 200, 2, 8, 8
    assert difference(metric, table).method == "bootstrap"
    table[k, k] = 1
    assert difference(metric, table).method == "mover"


@pytest.mark.parametrize(("differing", "method"), [(0, "mover"), (9, "mover"), (10, "bootstrap")])
def test_heads_that_hardly_differ_are_not_bootstrapped(differing: int, method: str) -> None:
    table = np.diag([400, 100, 50, 50, 0, 0, 0])
    table[0, 1] = differing
    assert difference("pt", table).method == method


def index_bootstrap(table: np.ndarray, metric: str, cluster: np.ndarray | None = None) -> tuple[float, float]:
    """The plain form: draw samples (or clusters) with replacement, count, take percentiles."""
    cells = np.repeat(np.arange(49), table.ravel())
    units = (
        [np.array([cell]) for cell in cells] if cluster is None else [cells[cluster == g] for g in np.unique(cluster)]
    )
    rng = np.random.default_rng(7)
    values: list[float] = []
    for _ in range(4000):
        some = np.concatenate([units[k] for k in rng.integers(0, len(units), len(units))])
        again = np.bincount(some, minlength=49).reshape(7, 7)
        one, other = (ratio(metric, counts_of(again.sum(axis=axis))).value for axis in (1, 0))
        values.append(other - one)
    tail = 0.025
    if cluster is not None:
        tail = norm.cdf(-math.sqrt(len(units) / (len(units) - 1)) * student.ppf(0.975, len(units) - 1))
    return tuple(np.quantile(values, [tail, 1 - tail]))


def influences(table: np.ndarray, metric: str) -> np.ndarray:
    """[2,n] influence of every sample on the ratio of the first and of the second, one cell at a time."""
    ratios = [ratio(metric, counts_of(table.sum(axis=axis))) for axis in (1, 0)]
    found = []
    for i, j in np.ndindex(7, 7):
        own = [ratio(metric, counts_of(np.eye(7, dtype=int)[k])) for k in (i, j)]
        both = [(o.numerator - r.value * o.denominator) / r.denominator for o, r in zip(own, ratios, strict=True)]
        found += [both] * int(table[i, j])
    return np.array(found).T


def delta_method(table: np.ndarray, metric: str) -> tuple[float, float]:
    one, other = influences(table, metric)
    half, value = 1.96 * math.sqrt(np.square(other - one).sum()), difference(metric, table).value
    return value - half, value + half


@pytest.mark.parametrize("metric", METRICS)
def test_the_bootstrap_agrees_with_drawing_indices_and_with_the_delta_method(metric: str) -> None:
    table = drawn(1200, 3)
    found = difference(metric, table)
    low, high = limits(found)
    assert found.method == "bootstrap"
    assert (low, high) == pytest.approx(index_bootstrap(table, metric), abs=0.05 * (high - low))
    assert (low, high) == pytest.approx(delta_method(table, metric), abs=0.05 * (high - low))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_mover_joins_wilson_limits_by_the_correlation_of_the_influences(metric: str, seed: int) -> None:
    table = drawn(24, seed)
    table[0, :4] += [9, 1, 1, 0]  # so that every ratio varies
    table[1:4, 0] += 1
    found = difference(metric, table)
    assert found.method == "mover"
    one, other = influences(table, metric)
    correlation = (one * other).sum() / math.sqrt((one * one).sum() * (other * other).sum())
    (l1, u1), (l2, u2) = found.first.interval, found.second.interval
    p1, p2 = found.first.value, found.second.value
    low = (p2 - l2) ** 2 + (u1 - p1) ** 2 - 2 * correlation * (p2 - l2) * (u1 - p1)
    high = (u2 - p2) ** 2 + (p1 - l1) ** 2 - 2 * correlation * (u2 - p2) * (p1 - l1)
    assert limits(found) == pytest.approx((p2 - p1 - math.sqrt(low), p2 - p1 + math.sqrt(high)), abs=1e-12)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [((9, 10), (3, 10), (0.1705, 0.8090)), ((6, 7), (2, 7), (0.0582, 0.8062)), ((5, 56), (0, 29), (-0.0381, 0.1926))],
)
def test_mover_of_unrelated_ratios_has_newcombes_published_limits(one, other, expected) -> None:
    """Over disjoint samples nothing is correlated: Newcombe (1998), table II, method 10, p1 - p2."""
    table = np.zeros((7, 7), np.int64)
    table[0, 6], table[1, 6] = one[0], one[1] - one[0]
    table[6, 0], table[6, 1] = other[0], other[1] - other[0]
    found = difference("pt", table)
    low, high = limits(found)
    assert found.method == "mover"
    assert (-high, -low) == pytest.approx(expected, abs=6e-5)


def test_clusters_of_one_are_samples() -> None:
    table = drawn(600, 5)
    cells = np.repeat(np.arange(49), table.ravel())
    singles = joint_by_cluster(cells // 7, cells % 7, np.arange(len(cells)))
    for metric in METRICS:
        one, other = difference(metric, table), difference(metric, singles)
        assert other.method == "cluster-bootstrap"
        assert limits(one) == pytest.approx(limits(other), abs=0.005)


def test_copies_of_a_sample_in_one_cluster_are_no_more_evidence_than_one() -> None:
    table = drawn(600, 6)
    cells = np.repeat(np.arange(49), table.ravel())
    copied, owner = np.repeat(cells, 4), np.repeat(np.arange(len(cells)), 4)
    found = difference("pt", joint_by_cluster(copied // 7, copied % 7, owner))
    assert limits(found) == pytest.approx(limits(difference("pt", table)), abs=0.005)
    low, high = limits(found)
    naive_low, naive_high = limits(difference("pt", 4 * table))
    assert high - low > 1.8 * (naive_high - naive_low)


@pytest.mark.parametrize("count", [MIN_CLUSTERS, 150])
def test_resampled_clusters_agree_with_drawing_indices_and_students_t(count: int) -> None:
    table = drawn(1500, 8)
    order = np.repeat(np.arange(49), table.ravel())
    cluster = np.random.default_rng(0).integers(0, count, len(order))
    found = difference("pt", joint_by_cluster(order // 7, order % 7, cluster))
    low, high = limits(found)
    assert (low, high) == pytest.approx(index_bootstrap(table, "pt", cluster), abs=0.06 * (high - low))


@pytest.mark.parametrize("metric", METRICS)
def test_of_too_few_clusters_samples_are_resampled(metric: str) -> None:
    clusters = np.stack([drawn(100, k) for k in range(MIN_CLUSTERS)])
    assert difference(metric, clusters).method == "cluster-bootstrap"
    for count in range(1, MIN_CLUSTERS):
        assert difference(metric, clusters[:count]) == difference(metric, clusters[:count].sum(axis=0))


def test_clusters_with_a_small_cell_are_at_least_as_wide_as_mover() -> None:
    clusters = np.stack([np.diag([20, 0, 0, 0, 0, 0, 0])] * 20)
    low, high = limits(difference("pt", clusters))
    assert low < 0 < high


def test_resamples_without_a_denominator_make_the_interval_undefined() -> None:
    """All correct predictions lie in one of 20 clusters: a third of the resamples miss it."""
    clusters = np.zeros((20, 7, 7), np.int64)
    clusters[:, 3, 3] = 10
    clusters[0, 0, 0], clusters[0, 1, 1] = 30, 30
    found = difference("pt", clusters)
    assert (found.value, found.method) == (0.0, "undefined")


@given(st.integers(0, 400), st.integers(0, 400))
@example(0, 0)
@example(0, 1)
@example(3000, 2500)
@example(30_000, 29_000)
def test_mcnemar_equals_the_exact_binomial_test(only_first: int, only_second: int) -> None:
    n = only_first + only_second
    expected = binomtest(only_first, n, 0.5).pvalue if n else 1.0
    assert mcnemar(only_first, only_second) == pytest.approx(expected, rel=1e-8, abs=1e-300)
    assert mcnemar(only_first, only_second) == mcnemar(only_second, only_first)


@given(arrays(np.int64, st.integers(0, 9), elements=st.integers(-4, 4)))
def test_the_sign_flip_test_is_the_share_of_flips_that_are_as_far(differences: np.ndarray) -> None:
    flips = [abs(sum(signs * differences)) for signs in itertools.product((1, -1), repeat=len(differences))]
    assert sign_flip(differences) == pytest.approx(np.mean(np.array(flips) >= abs(differences.sum())), abs=1e-12)


@given(st.integers(0, 300), st.integers(0, 300))
def test_of_clusters_of_one_sample_the_sign_flip_test_is_mcnemars(only_first: int, only_second: int) -> None:
    differences = np.repeat([1, 0, -1], [only_first, 5, only_second])
    assert sign_flip(differences) == pytest.approx(mcnemar(only_first, only_second), abs=1e-11)


def test_the_sign_flip_test_rejects_as_often_as_it_says_where_mcnemars_does_not() -> None:
    """No difference between the heads, 40 clusters of 10, intracluster correlation .3: at level .05."""
    rng, draws, rejected = np.random.default_rng(0), 1000, np.zeros(2)
    for _ in range(draws):
        share = rng.beta(0.85 * 7 / 3, 0.15 * 7 / 3, (2, 40))
        one, other = rng.binomial(10, share)
        both = rng.hypergeometric(one, 10 - one, other)
        rejected[0] += sign_flip(one - other) <= 0.05
        rejected[1] += mcnemar(int((one - both).sum()), int((other - both).sum())) <= 0.05
    assert 0.03 <= rejected[0] / draws <= 0.07
    assert rejected[1] / draws > 0.2


def test_mcnemar_of_very_many_is_no_error() -> None:
    assert mcnemar(100_000, 0) == 0.0
    assert mcnemar(500_000, 500_000) == 1.0


SHARP = np.zeros((7, 7))  # PT .98 against .96, accuracy .9: where the plain bootstrap covers 70 %
SHARP[:4, :4] = [[0.845, 0.031, 0.004, 0], [0.014, 0.004, 0, 0], [0.004, 0, 0.046, 0], [0.001, 0.001, 0, 0.05]]


def coverage(metric: str, n: int, shares: np.ndarray, draws: int) -> float:
    one, other = (shares.sum(axis=axis) for axis in (1, 0))
    scale = 10**9
    truth = [ratio(metric, counts_of(np.round(scale * side))).value for side in (one, other)]
    inside = 0
    for seed in range(draws):
        low, high = limits(difference(metric, drawn(n, 1000 + seed, shares)))
        inside += low <= truth[1] - truth[0] <= high
    return inside / draws


ALIKE = np.diag([0.59, 0.15, 0.06, 0.19, 0, 0, 0])  # 1 in 100 is expected to differ, always the same way
ALIKE[0, 1] = 0.01


@pytest.mark.parametrize(
    ("metric", "n", "shares"),
    [("pt", 60, SHARP), ("pt", 200, ALIKE)],
    ids=["sharp", "alike"],
)
def test_the_interval_covers_as_often_as_it_says(metric: str, n: int, shares: np.ndarray) -> None:
    """400 draws: the standard error of a coverage of .95 is .011."""
    assert coverage(metric, n, shares, 400) >= 0.915


@pytest.mark.slow
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("n", [60, 200, 1000])
@pytest.mark.parametrize("shares", [TYPICAL, SHARP, ALIKE], ids=["typical", "sharp", "alike"])
def test_coverage_over_many_draws(metric: str, n: int, shares: np.ndarray) -> None:
    assert coverage(metric, n, shares, 4000) >= 0.935
