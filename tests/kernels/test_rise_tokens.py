"""RISE on patches: the sums of RISE, over masks that are constant on each patch and keep a fixed number of them."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rate.errors import ConfigError
from rate.kernels import reference
from rate.kernels.saliency import evidence
from rate.kernels.tokens import RiseTokens, patches


def method(size: int = 12, side: int = 3, keep: float = 0.5, count: int = 60, seed: int = 0) -> RiseTokens:
    return RiseTokens(size, side, (keep,), "fixed", count, seed)


def full(one: RiseTokens, sample_id: str = "a"):
    masks = one.draw(sample_id, 0, one.count)
    return masks, np.stack([reference.patch_mask(grid, one.size) for grid in masks.grid])


@settings(max_examples=30)
@given(side=st.integers(2, 8), patch=st.integers(1, 6), seed=st.integers(0, 1000))
def test_a_mask_is_constant_on_each_patch(side: int, patch: int, seed: int) -> None:
    bits = (np.random.default_rng(seed).random((side, side)) < 0.5).astype(np.float32)
    made = reference.mask(patches(side * patch, side), bits, np.zeros(2, np.int64))
    np.testing.assert_array_equal(made, reference.patch_mask(bits, side * patch))


@settings(max_examples=30)
@given(side=st.integers(2, 9), keep=st.floats(0.2, 0.8), start=st.integers(0, 50), seed=st.integers(0, 9))
def test_every_mask_keeps_the_same_number_and_is_a_function_of_its_number(
    side: int, keep: float, start: int, seed: int
) -> None:
    one = method(size=side * 4, side=side, keep=keep, seed=seed)
    some = one.draw("a", start, start + 10)
    assert (some.grid.sum(axis=(1, 2)) == round(keep * side**2)).all()
    assert (some.offset == 0).all()
    np.testing.assert_array_equal(one.draw("a", start + 4, start + 5).grid[0], some.grid[4])


def test_the_clean_grid_keeps_everything() -> None:
    one = patches(12, 3)
    np.testing.assert_array_equal(reference.mask(one, one.clean, np.zeros(2, np.int64)), np.ones((12, 12)))


@pytest.mark.parametrize("kept", [2, 4, 7])
def test_references_come_from_the_covariance_of_all_possible_masks(kept: int) -> None:
    every = np.zeros((0, 3, 3), np.float32)
    for chosen in combinations(range(9), kept):
        bits = np.zeros(9, np.float32)
        bits[list(chosen)] = 1
        every = np.concatenate([every, bits.reshape(1, 3, 3)])
    masks = np.stack([reference.patch_mask(bits, 12) for bits in every]).reshape(len(every), -1)
    covariance = (masks - masks.mean(axis=0)).T @ (masks - masks.mean(axis=0)) / len(masks)
    one = method(keep=kept / 9)
    region = np.zeros((12, 12), bool)
    region[1:6, 3:12] = True
    for seen, expected in ((region, one.bounds(region).ceiling), (~region, one.bounds(region).floor)):
        # Nine patches, of which a fixed number is kept: their covariance has no constant part.
        spread = kept / 9 * (1 - kept / 9) * 9 / 8
        observed = (covariance @ seen.ravel() / spread + seen.sum() / 9).reshape(12, 12)
        assert expected == pytest.approx(observed[region].sum() / observed.sum(), abs=1e-9)


def test_maps_are_those_of_the_slow_computation_and_constant_on_patches() -> None:
    one = method(count=40)
    masks, expanded = full(one)
    scores = np.random.default_rng(1).normal(size=(2, 40))
    maps = one.maps(np.array([4.0, 5.0]), np.full(2, np.nan), scores, masks)
    for k in range(2):
        contrasts = reference.contributions(scores[k], expanded, masks.level, one.shares, cells=9)
        constant = (4.0 + k - scores[k].mean()) / (5 / 9) / 9  # four of nine patches are kept
        np.testing.assert_allclose(maps.signal[k], contrasts + constant, atol=1e-12)
        saliency = reference.rise_saliency(scores[k], expanded, one.share)
        np.testing.assert_allclose(maps.saliency[k], saliency, atol=1e-12)
    corners = maps.signal[:, ::4, ::4]
    np.testing.assert_allclose(maps.signal, corners.repeat(4, axis=1).repeat(4, axis=2), atol=1e-12)


def test_a_score_that_reads_one_patch_is_found_there_and_noise_is_none() -> None:
    one = method(size=40, side=5, count=1000)
    masks, _ = full(one)
    noise = np.random.default_rng(2).normal(size=(200, 1000))
    scores = np.concatenate([masks.grid[:, 1, 3][None], noise])
    maps = one.maps(np.ones(201), np.zeros(201), scores, masks)
    above = one.strength(scores, masks, maps) >= 1
    assert above[0]
    assert above[1:].mean() < 0.03
    region = np.zeros((40, 40), bool)
    region[8:16, 24:32] = True
    positive = evidence(maps, "positive")[0]
    assert positive[region].sum() / positive.sum() > 0.75


def test_the_standard_error_is_the_spread_over_seeds() -> None:
    """Every second patch counts, so that none of them changes sides by chance."""
    counts = (np.arange(25) % 2).astype(float)
    region = np.zeros((10, 10), bool)
    region[:4, :6] = True
    masses, errors = [], []
    for seed in range(120):
        one = method(size=10, side=5, count=200, seed=seed)
        masks = one.draw("a", 0, 200)
        scores = (masks.grid.reshape(200, 25) @ counts + np.random.default_rng(seed).normal(0, 0.5, 200))[None]
        maps = one.maps(np.array([12.0]), np.zeros(1), scores, masks)
        positive = evidence(maps, "positive")[0]
        masses.append(positive[region].sum() / positive.sum())
        errors.append(one.standard_error(scores, masks, maps, region)[0])
    assert np.mean(errors) == pytest.approx(np.std(masses), rel=0.25)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((12, 3, (0.5,), "independent", 9, 0), "the same number of patches in every mask"),
        ((12, 3, (0.3, 0.5), "fixed", 9, 0), "the same number of patches in every mask"),
        ((12, 3, (0.01,), "fixed", 9, 0), "keeps 0 of 9"),
    ],
)
def test_masks_of_several_sizes_are_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RiseTokens(*arguments)


@pytest.mark.parametrize(("size", "side"), [(13, 3), (12, 1)])
def test_patches_must_tile_the_image(size: int, side: int) -> None:
    with pytest.raises(ConfigError, match="equal patches per side"):
        patches(size, side)
