"""Rules and the verdicts of many samples: against hand counts and Quantus."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rate.kernels import reference
from rate.statistics.metrics import quadrants
from rate.statistics.validity import (
    Verdicts,
    is_valid,
    localization,
    relevance_mass,
    sweep,
    undefined_reason,
)


def test_relevance_mass_equals_quantus() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Quantus and of what it imports
        import quantus

        metric = quantus.RelevanceMassAccuracy(normalise=False, disable_warnings=True)
        rng = np.random.default_rng(0)
        maps = rng.random((6, 32, 32)) ** 4
        regions = np.zeros((6, 32, 32), bool)
        for k in range(6):
            regions[k, k : 10 + 3 * k, 2 * k : 31 - k] = True
        theirs = metric(
            model=None,
            x_batch=np.zeros((6, 3, 32, 32)),
            y_batch=np.zeros(6, int),
            a_batch=maps[:, None],
            s_batch=regions[:, None],
        )
    ours = [relevance_mass(m, r) for m, r in zip(maps, regions, strict=True)]
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    np.testing.assert_allclose(ours[0], reference.relevance_mass(maps[0], regions[0]), atol=1e-12)


def test_a_map_without_evidence_has_no_mass() -> None:
    assert relevance_mass(np.zeros((4, 4)), np.ones((4, 4), bool)) is None


@pytest.mark.parametrize(
    ("area", "mass", "ceiling", "floor", "above", "reason"),
    [
        (0.0, None, 0.0, 0.0, False, "empty-region"),
        (1.0, 1.0, 1.0, 1.0, True, "full-region"),
        (0.5, None, 0.8, 0.2, True, "zero-evidence"),
        (0.5, 0.5, 0.59, 0.4, True, "unresolvable"),
        (0.5, 0.9, 0.8, 0.2, False, "no-evidence"),
        (0.5, 0.9, 0.8, 0.2, True, None),
    ],
)
def test_undefined_by_name(area, mass, ceiling, floor, above, reason) -> None:
    assert undefined_reason(area, mass, ceiling, floor, above) == reason


@given(st.floats(0, 1), st.floats(0.5, 1), st.floats(0, 0.49), st.floats(0.01, 0.99))
def test_midpoint_is_a_threshold_on_localization(mass: float, ceiling: float, floor: float, tau: float) -> None:
    position = localization(mass, ceiling, floor)
    assert position is not None
    if abs(position - tau) > 1e-9:
        assert is_valid(mass, ceiling, floor, "midpoint", tau) == (position >= tau)
    assert is_valid(mass, ceiling, floor, "absolute", tau) == (mass >= tau)


def test_localization_is_zero_at_the_floor_one_at_the_ceiling() -> None:
    assert localization(0.2, 0.8, 0.2) == 0.0
    assert localization(0.8, 0.8, 0.2) == 1.0
    assert localization(0.5, 0.3, 0.3) is None


def some_verdicts(count: int = 300, seed: int = 0) -> Verdicts:
    rng = np.random.default_rng(seed)
    floor = rng.uniform(0, 0.4, count)
    return Verdicts(rng.random(count) < 0.7, rng.random(count), floor + rng.uniform(0.2, 0.5, count), floor)


def test_verdicts_agree_with_one_sample_at_a_time() -> None:
    v = some_verdicts()
    for rule in ("midpoint", "absolute"):
        one_by_one = [is_valid(*values, rule, 0.4) for values in zip(v.mass, v.ceiling, v.floor, strict=True)]
        assert v.counts(rule, 0.4) == quadrants(v.correct, np.array(one_by_one))


def test_pt_falls_as_the_threshold_rises() -> None:
    values = [p for _, p, _ in sweep(some_verdicts(), "midpoint") if p is not None]
    assert len(values) == 19
    assert values == sorted(values, reverse=True)
    assert values[0] > values[-1]
