"""Occlusion: maps equal to the definition, references from the windows' overlap."""

from __future__ import annotations

import numpy as np
import pytest

from rate.kernels import reference
from rate.kernels.occlusion import Occlusion
from rate.kernels.saliency import evidence


def test_maps_equal_the_definition() -> None:
    one = Occlusion(size=19, window=6, stride=4)
    masks = one.draw("any", 0, one.count)
    full = reference.masks(one.perturbation, masks.grid, masks.offset)
    scores = np.random.default_rng(0).normal(size=(2, one.count))
    clean = np.array([1.0, -2.0])
    maps = one.maps(clean, np.zeros(2), scores, masks)
    for k in range(2):
        np.testing.assert_allclose(maps.signal[k], reference.occlusion_saliency(clean[k], scores[k], full), atol=1e-12)


def test_windows_are_the_same_for_every_sample_and_any_range() -> None:
    one = Occlusion(size=16, window=4, stride=4)
    whole = one.draw("a", 0, one.count)
    part = one.draw("b", 5, 9)
    np.testing.assert_array_equal(whole.grid[5:9], part.grid)


def test_an_observer_of_the_region_reaches_the_ceiling_exactly() -> None:
    one = Occlusion(size=20, window=6, stride=3)
    region = np.zeros((20, 20), bool)
    region[3:11, 9:20] = True
    masks = one.draw("a", 0, one.count)
    full = reference.masks(one.perturbation, masks.grid, masks.offset)
    bounds = one.bounds(region)
    for seen, expected in ((region, bounds.ceiling), (~region, bounds.floor)):
        scores = (full * seen).sum(axis=(1, 2))[None]
        maps = one.maps(np.array([float(seen.sum())]), np.zeros(1), scores, masks)
        assert expected == pytest.approx(reference.relevance_mass(evidence(maps, "positive")[0], region), abs=1e-9)


def test_equal_scores_are_noise_and_a_fall_is_not() -> None:
    one = Occlusion(size=16, window=4, stride=4)
    masks = one.draw("a", 0, one.count)
    scores = np.full((2, one.count), 5.0)
    scores[1, 3] = 4.0
    maps = one.maps(np.full(2, 5.0), np.zeros(2), scores, masks)
    np.testing.assert_array_equal(one.strength(scores, masks, maps), [-np.inf, np.inf])
    assert one.standard_error(scores, masks, maps, np.ones((16, 16), bool)) is None
