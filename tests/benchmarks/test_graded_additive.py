"""Additive models with known shares: verdicts turn over near one half on any region, and swaps recover the share."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.graded_additive import AREAS, RESTS, RISE, SHARES, blurred, localizations, model, sampled, swapped


@pytest.mark.parametrize("rest", RESTS)
@pytest.mark.parametrize("area", [AREAS[0], AREAS[3], AREAS[-1]])
def test_verdicts_of_maps_turn_over_near_one_half(rest: str, area: float) -> None:
    rng = np.random.default_rng(0)
    models = [model(rng, area, rest) for _ in range(12)]
    endless = [localizations(one, blurred(one), RISE.bounds(one.region)) for one in models]
    turns = SHARES[(np.stack(endless) >= 0.5).argmax(axis=1)]
    assert turns.mean() == pytest.approx(0.5, abs=0.12)
    drawn = np.stack([sampled(one, RISE) for one in models[:4]])
    assert np.abs(np.clip(drawn, 0, 1) - np.clip(endless[:4], 0, 1)).mean() < 0.08


@pytest.mark.parametrize("rest", RESTS)
def test_swaps_recover_known_shares(rest: str) -> None:
    rng = np.random.default_rng(1)
    for area in AREAS:
        one = model(rng, area, rest)
        for share in (0.0, 0.3, 0.5, 0.9, 1.0):
            assert swapped(one, share, rng).share[0] == pytest.approx(share, abs=0.02)
