"""Sums of masks and masses on the device equal the oracles, and have one order."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import triton
from hypothesis import given, settings
from hypothesis import strategies as st
from triton_cases import DEVICE, EPS32, FAMILIES, SMALL, draw, on_device

from rate.errors import BackendError
from rate.kernels import fold as numpy_form
from rate.kernels import reference
from rate.kernels.separable import rise
from rate.kernels.triton import fold as module
from rate.kernels.triton.bound import bind
from rate.kernels.triton.fold import GROUP, fold, fold_groups, fold_kernel, mass
from rate.kernels.triton.tile import TILES


def weights_of(heads: int, count: int, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(heads, count)).astype(np.float32)


def slack(weights: np.ndarray, full: np.ndarray) -> float:
    """Rounding of f32 sums, whose terms are themselves sums: some units of the sum of magnitudes."""
    return float(16 * EPS32 * np.abs(weights).sum(axis=1).max() * np.abs(full).max())


@pytest.mark.parametrize("heads", [1, 5])
@pytest.mark.parametrize("family", FAMILIES)
def test_maps_equal_the_oracle(family: str, heads: int) -> None:
    perturbation, drawn, weights = FAMILIES[family], draw(FAMILIES[family], 2), weights_of(heads, 2)
    found = fold(on_device(weights), *drawn.tensors, bind(perturbation, DEVICE))
    full = reference.masks(perturbation, drawn.grid, drawn.offset)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.cpu().numpy(), reference.fold(weights, full), atol=slack(weights, full), rtol=0)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(size=st.integers(2, 20), side=st.integers(2, 5), count=st.integers(1, 4), heads=st.integers(1, 5))
def test_any_shape_equals_the_numpy_form(size: int, side: int, count: int, heads: int) -> None:
    perturbation = rise(size, min(size, side))
    drawn, weights = draw(perturbation, count, seed=size), weights_of(heads, count)
    found = fold(on_device(weights), *drawn.tensors, bind(perturbation, DEVICE))
    expected = numpy_form.fold(weights.astype(np.float64), drawn.grid, drawn.offset, perturbation)
    full = reference.masks(perturbation, drawn.grid, drawn.offset)
    np.testing.assert_allclose(found.cpu().numpy(), expected, atol=slack(weights, full), rtol=0)


@pytest.mark.parametrize("count", [GROUP, 2 * GROUP + 1])
def test_more_masks_than_one_program_sums(count: int) -> None:
    perturbation, weights = FAMILIES["side-2"], weights_of(2, count)
    drawn = draw(perturbation, count)
    found = fold(on_device(weights), *drawn.tensors, bind(perturbation, DEVICE))
    expected = numpy_form.fold(weights.astype(np.float64), drawn.grid, drawn.offset, perturbation)
    full = reference.masks(perturbation, drawn.grid, drawn.offset)
    np.testing.assert_allclose(found.cpu().numpy(), expected, atol=slack(weights, full), rtol=0)


def test_groups_are_folds_of_their_own_masks_bit_for_bit() -> None:
    perturbation, weights, drawn = SMALL, weights_of(3, 6), draw(SMALL, 6)
    grid, offset = drawn.tensors
    family, values = bind(perturbation, DEVICE), on_device(weights)
    bounds = [0, 2, 2, 5, 6]  # the second group is empty
    found = fold_groups(values, grid, offset, torch.tensor(bounds, device=DEVICE), family)
    assert found.shape == (3, 4, 19, 19)
    for group, (start, stop) in enumerate(itertools.pairwise(bounds)):
        own = slice(start, stop)
        alone = fold(values[:, own].contiguous(), grid[own], offset[own], family)
        assert torch.equal(found[:, group], alone)


def test_no_tile_changes_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = draw(SMALL, 2)
    inputs = (on_device(weights_of(5, 2)), *drawn.tensors, bind(SMALL, DEVICE))
    first = fold(*inputs)
    for y, x, _ in TILES:
        one = triton.autotune(configs=[triton.Config({"BLOCK_Y": y, "BLOCK_X": x})], key=[])(fold_kernel)
        monkeypatch.setattr(module, "_tuned", one)
        assert torch.equal(fold(*inputs), first), (y, x)


def test_no_weight_is_no_map_and_no_masks_are_none() -> None:
    drawn, family = draw(FAMILIES["occlusion"], 4), bind(FAMILIES["occlusion"], DEVICE)
    grid, offset = drawn.tensors
    assert not fold(torch.zeros((2, 4), device=DEVICE), grid, offset, family).any()
    assert not fold(torch.zeros((2, 0), device=DEVICE), grid[:0], offset[:0], family).any()
    assert fold(torch.zeros((0, 4), device=DEVICE), grid, offset, family).shape == (0, 21, 21)


@pytest.mark.parametrize("size", [1, 14, 32, 45])
@pytest.mark.parametrize("covered", [0.0, 0.3, 1.0])
def test_mass_equals_the_oracle(size: int, covered: float) -> None:
    rng = np.random.default_rng(size)
    maps = rng.normal(size=(3, size, size)).astype(np.float32)
    region = rng.random((size, size)) < covered
    inside, total = mass(on_device(maps), on_device(region))
    expected = np.array([reference.mass(one, region) for one in maps])
    np.testing.assert_allclose(inside.cpu().numpy(), expected[:, 0], rtol=1e-6)
    np.testing.assert_allclose(total.cpu().numpy(), expected[:, 1], rtol=1e-6)
    if covered in (0.0, 1.0):
        assert torch.equal(inside, total * covered)


def test_every_group_has_its_own_region_and_nothing_positive_is_no_mass() -> None:
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(2, 3, 9, 9)).astype(np.float32)
    maps[1, 2] = -1.0
    region = rng.random((3, 9, 9)) < 0.5
    inside, total = (one.cpu().numpy() for one in mass(on_device(maps), on_device(region)))
    for k, g in np.ndindex(2, 3):
        np.testing.assert_allclose((inside[k, g], total[k, g]), reference.mass(maps[k, g], region[g]), rtol=1e-6)
    assert (inside[1, 2], total[1, 2]) == (0.0, 0.0)


def test_what_the_kernels_would_misread_is_refused() -> None:
    drawn, family = draw(FAMILIES["side-2"], 4), bind(FAMILIES["side-2"], DEVICE)
    weights = on_device(weights_of(2, 4))
    with pytest.raises(BackendError, match=r"weights must be contiguous torch.float32 \(2, 4\).*got torch.float64"):
        fold(weights.double(), *drawn.tensors, family)
    with pytest.raises(BackendError, match="grid must be"):
        fold(weights[:, :3].contiguous(), *drawn.tensors, family)
    with pytest.raises(BackendError, match="region must be"):
        mass(torch.zeros((2, 3, 3), device=DEVICE), torch.zeros((3, 4), dtype=torch.bool, device=DEVICE))
