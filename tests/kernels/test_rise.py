"""RISE: masks from (seed, id, i) alone, maps equal to the definition, references equal to sampling."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rate.engine.verdicts.map_verdict import LUCK
from rate.errors import ConfigError
from rate.kernels import reference
from rate.kernels.rise import Rise, moments
from rate.kernels.saliency import Bounds, Masks, evidence
from rate.kernels.separable import rise

CELLS = ["fixed", "independent"]
KEEPS = [(0.5,), (0.2, 0.5, 0.8)]
NO_EFFECT = np.zeros(1), np.zeros(1)
"""Scores of an image that is worth as much as what hides it."""


def method(**changes) -> Rise:
    return dataclasses.replace(Rise(size=24, side=5, keep=(0.5,), cells="fixed", count=64, seed=0), **changes)


@pytest.mark.parametrize("cells", CELLS)
@settings(max_examples=25)
@given(start=st.integers(0, 500), length=st.integers(1, 20), seed=st.integers(0, 2**63 - 1), name=st.text(max_size=8))
def test_mask_i_depends_on_seed_id_and_i_alone(cells: str, start: int, length: int, seed: int, name: str) -> None:
    one = method(cells=cells, seed=seed)
    together = one.draw(name, start, start + length)
    for k in range(length):
        alone = one.draw(name, start + k, start + k + 1)
        np.testing.assert_array_equal(together.grid[k], alone.grid[0])
        np.testing.assert_array_equal(together.offset[k], alone.offset[0])


def test_the_words_are_those_of_philox_at_the_documented_counter() -> None:
    one = method(cells="independent", seed=9)
    masks = one.draw("bird/ü.jpg", 3, 4)
    digest = hashlib.blake2b((9).to_bytes(8, "little") + "bird/ü.jpg".encode(), digest_size=8).digest()
    blocks = 7  # ceil((25 + 2) / 4)
    stream = np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little"), counter=3 * blocks))
    np.testing.assert_array_equal(masks.grid[0].ravel(), stream.random(25) < 0.5)
    np.testing.assert_array_equal(masks.offset[0], stream.bit_generator.random_raw(2) % one.perturbation.offsets)


def test_other_ids_and_seeds_give_other_masks() -> None:
    grids = [method(seed=s).draw(i, 0, 8).grid for s in (0, 1) for i in ("a", "b")]
    assert all((grids[a] != grids[b]).any() for a in range(4) for b in range(a))


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9])
def test_fixed_cells_keep_the_same_number_in_every_mask(keep: float) -> None:
    grid = method(keep=(keep,)).draw("a", 0, 64).grid
    assert set(grid.sum(axis=(1, 2))) == {round(25 * keep)}


def test_independent_cells_keep_the_share_on_average_and_offsets_are_uniform() -> None:
    masks = method(keep=(0.3,), cells="independent", count=4000).draw("a", 0, 4000)
    assert masks.grid.mean() == pytest.approx(0.3, abs=4 * np.sqrt(0.21 / 100_000))
    counts = np.bincount(masks.offset.ravel(), minlength=5)
    assert len(counts) == 5
    np.testing.assert_allclose(counts / 8000, 0.2, atol=0.02)


def test_a_share_that_keeps_all_or_no_cell_is_refused() -> None:
    with pytest.raises(ConfigError, match="keeps 25 of 25 cells"):
        method(keep=(0.999,))


@pytest.mark.parametrize("cells", CELLS)
def test_masks_take_the_shares_in_turn(cells: str) -> None:
    one = method(keep=(0.2, 0.5, 0.8), cells=cells)
    masks = one.draw("a", 7, 3007)
    np.testing.assert_array_equal(masks.level, np.arange(7, 3007) % 3)
    for level, share in enumerate(one.shares):
        assert masks.grid[masks.level == level].mean() == pytest.approx(share, abs=0.02 * (cells == "independent"))


@pytest.mark.parametrize("keep", KEEPS)
@pytest.mark.parametrize("cells_are", CELLS)
def test_maps_equal_the_definitions_on_full_size_masks(cells_are: str, keep: tuple[float, ...]) -> None:
    one, rng = method(cells=cells_are, keep=keep), np.random.default_rng(0)
    masks = one.draw("a", 0, one.count)
    full = reference.masks(one.perturbation, masks.grid, masks.offset)
    scores, clean, nothing = rng.normal(size=(2, one.count)) + 3.0, rng.normal(size=2) + 4.0, rng.normal(size=2)
    maps = one.maps(clean, nothing, scores, masks)
    for k in range(2):
        np.testing.assert_allclose(maps.saliency[k], reference.rise_saliency(scores[k], full, one.share), rtol=1e-9)
        cells = 25 if cells_are == "fixed" else None
        expected = reference.contributions(scores[k], full, masks.level, one.shares, cells)
        constant = (clean[k] - nothing[k]) / 25 if cells_are == "fixed" else 0.0
        np.testing.assert_allclose(maps.signal[k], expected + constant, atol=1e-12)
        assert maps.constant[k] == pytest.approx(constant)


def every_mask(one: Rise) -> Masks:
    """All grids of all levels under all offsets: what is sampled, as often as it is likely."""
    grids, offsets, levels = [], [], []
    for bits in itertools.product((0.0, 1.0), repeat=one.side**2):
        for level, kept in enumerate(one._kept):
            if one.cells == "independent" or sum(bits) == kept:
                for offset in itertools.product(range(one.perturbation.offsets), repeat=2):
                    grids.append(np.array(bits, np.float32).reshape(one.side, one.side))
                    offsets.append(offset)
                    levels.append(level)
    return Masks(np.stack(grids), np.array(offsets), np.array(levels))


@pytest.mark.parametrize(("cells", "keep"), [("fixed", (0.5,)), ("fixed", (0.25, 0.5, 0.75)), ("independent", (0.5,))])
@settings(max_examples=10)
@given(seed=st.integers(0, 1000), nothing=st.floats(-5, 5))
def test_the_signal_of_a_sum_of_pixels_is_what_each_adds_as_blurred_as_the_masks(
    cells: str, keep: tuple[float, ...], seed: int, nothing: float
) -> None:
    one = method(size=6, side=2, cells=cells, keep=keep)
    masks = every_mask(one)
    weights = np.random.default_rng(seed).normal(size=(6, 6)) + 0.2
    scores = nothing + (reference.masks(one.perturbation, masks.grid, masks.offset) * weights).sum(axis=(1, 2))
    maps = one.maps(np.array([nothing + weights.sum()]), np.array([nothing]), scores[None], masks)
    kernel = moments(one.perturbation, cells == "fixed").kernel
    members = np.bincount(masks.level)
    # All masks are the whole population, whose covariance divides by their number and not by one less.
    seen = (maps.signal[0] - maps.constant[0]) * (1 - 1 / members.mean())
    if len(keep) == 1:
        np.testing.assert_allclose(seen + maps.constant[0], kernel @ weights @ kernel, atol=1e-6)
    region = np.zeros((6, 6), bool)
    region[:2, 1:5] = True
    for observed, bound in ((region, one.bounds(region).ceiling), (~region, one.bounds(region).floor)):
        blurred = kernel @ observed.astype(float) @ kernel
        assert bound == pytest.approx(reference.relevance_mass(blurred, region))


def test_the_order_of_the_masks_changes_no_map() -> None:
    one = method(keep=(0.2, 0.5, 0.8))
    masks, rng = one.draw("a", 0, one.count), np.random.default_rng(0)
    scores, order = rng.normal(size=(1, one.count)), rng.permutation(one.count)
    other = Masks(masks.grid[order], masks.offset[order], masks.level[order])
    first = one.maps(np.ones(1), np.zeros(1), scores, masks)
    second = one.maps(np.ones(1), np.zeros(1), scores[:, order], other)
    np.testing.assert_allclose(first.signal, second.signal, atol=1e-12)
    np.testing.assert_allclose(first.saliency, second.saliency, atol=1e-12)


def dense_covariance(one: Rise) -> np.ndarray:
    """Covariance of the masks over pixels by its definition: every offset pair, the cells' covariance in between."""
    table = rise(one.size, one.side).table.astype(np.float64)
    cells, share = one.side**2, one.share
    if one.cells == "fixed":
        among = share * (1 - share) * cells / (cells - 1) * (np.eye(cells) - 1 / cells)
    else:
        among = share * (1 - share) * np.eye(cells)
    total = np.zeros((one.size**2,) * 2)
    for tall in table:
        for wide in table:
            spread = np.kron(tall, wide)
            total += spread @ among @ spread.T
    return total / len(table) ** 2


@pytest.mark.parametrize("cells", CELLS)
def test_references_come_from_the_exact_covariance(cells: str) -> None:
    one = method(size=12, side=3, cells=cells)
    covariance = dense_covariance(one)
    region = np.zeros((12, 12), bool)
    region[2:7, 4:12] = True
    scale = one.share * (1 - one.share) * (9 / 8 if cells == "fixed" else 1.0)
    for seen, expected in ((region, one.bounds(region).ceiling), (~region, one.bounds(region).floor)):
        constant = seen.sum() / 9 if cells == "fixed" else 0.0
        observed = (covariance @ seen.ravel() / scale + constant).reshape(12, 12)
        assert expected == pytest.approx(observed[region].sum() / observed.sum(), abs=1e-9)
    known = moments(rise(12, 3), cells == "fixed")
    assert scale * known.trace == pytest.approx(np.trace(covariance), rel=1e-6)
    assert scale**2 * known.trace_of_square == pytest.approx(np.trace(covariance @ covariance), rel=1e-6)


def test_what_depends_on_the_number_of_visible_cells_alone_is_everywhere_alike() -> None:
    one = method(keep=(0.2, 0.5, 0.8), count=300)
    masks = one.draw("a", 0, one.count)
    scores = 5.0 * masks.grid.sum(axis=(1, 2))[None].astype(np.float64)
    maps = one.maps(np.array([125.0]), np.zeros(1), scores, masks)
    np.testing.assert_allclose(maps.signal, 5.0, atol=1e-9)


@pytest.mark.parametrize("keep", KEEPS)
@pytest.mark.parametrize("cells", CELLS)
def test_an_observer_of_the_region_reaches_the_ceiling_by_sampling(cells: str, keep: tuple[float, ...]) -> None:
    one = method(cells=cells, keep=keep, count=6000)
    region = np.zeros((24, 24), bool)
    region[3:12, 6:20] = True
    masks = one.draw("a", 0, one.count)
    full = np.einsum(
        "nhs,nst,nwt->nhw",
        one.perturbation.table[masks.offset[:, 0]],
        masks.grid,
        one.perturbation.table[masks.offset[:, 1]],
    )
    scores = np.stack([full[:, region].sum(axis=1), full[:, ~region].sum(axis=1)]).astype(np.float64)
    whole = np.array([region.sum(), (~region).sum()], float)
    positive = evidence(one.maps(whole, np.zeros(2), scores, masks), "positive")
    mass = positive[:, region].sum(axis=1) / positive.sum(axis=(1, 2))
    bounds = one.bounds(region)
    assert mass[0] == pytest.approx(bounds.ceiling, abs=0.02)
    assert mass[1] == pytest.approx(bounds.floor, abs=0.02)


@pytest.mark.parametrize("cells", CELLS)
def test_bounds_of_a_region_without_a_rest_and_of_an_empty_one_are_exact(cells: str) -> None:
    for side in (24, 224):
        one = Rise(side, 7, KEEPS[0], cells, 64, 0)
        assert one.bounds(np.ones((side, side), bool)) == Bounds(ceiling=1.0, floor=0.0)
        assert one.bounds(np.zeros((side, side), bool)) == Bounds(ceiling=0.0, floor=0.0)


@pytest.mark.parametrize("keep", KEEPS)
@pytest.mark.parametrize("cells", CELLS)
def test_scores_unrelated_to_the_masks_have_no_strength(cells: str, keep: tuple[float, ...]) -> None:
    one, rng = method(size=32, side=7, cells=cells, keep=keep, count=128), np.random.default_rng(0)
    masks = one.draw("a", 0, one.count)
    noise = rng.normal(size=(1000, one.count))
    found = one.strength(noise, masks, one.maps(np.zeros(1000), np.zeros(1000), noise, masks))
    assert found.mean() == pytest.approx(0.0 if len(keep) == 1 else 0.1, abs=0.06), (
        "the larger of two where levels differ"
    )
    assert (found >= 1).mean() <= 0.004
    assert (found > LUCK).mean() == pytest.approx(0.1, abs=0.07)
    for signal in (2.0 * masks.grid[:, 3, 3] + 0.3 * noise[0], 9.0 * masks.level + noise[0]):
        strength = one.strength(signal[None], masks, one.maps(*NO_EFFECT, signal[None], masks))
        assert strength[0] >= 1 or np.ptp(9.0 * masks.level) == 0


def test_strength_grows_with_the_masks() -> None:
    one = method(size=32, side=7, keep=(0.2, 0.5, 0.8), count=3200)
    found = []
    for count in (200, 800, 3200):
        masks = one.draw("a", 0, count)
        scores = masks.grid[:, 3, 3][None] + np.random.default_rng(0).normal(0, 0.5, (1, count))
        found.append(one.strength(scores, masks, one.maps(*NO_EFFECT, scores, masks))[0])
    assert found[1] / found[0] == pytest.approx(4, rel=0.4)
    assert found[2] / found[1] == pytest.approx(4, rel=0.4)


def test_rounding_is_no_evidence_even_when_it_follows_the_masks() -> None:
    one = method()
    masks = one.draw("a", 0, one.count)
    scores = 12.0 + 1e-7 * masks.grid[:, 2, 2][None].astype(np.float64)
    assert one.strength(scores, masks, one.maps(*NO_EFFECT, scores, masks)) == -np.inf


@pytest.mark.parametrize("keep", KEEPS)
@pytest.mark.parametrize("cells", CELLS)
def test_the_standard_error_of_the_mass_is_that_of_repeated_draws(cells: str, keep: tuple[float, ...]) -> None:
    one = method(size=32, side=5, cells=cells, keep=keep, count=800)
    region = np.zeros((32, 32), bool)
    region[8:24, 8:20] = True
    rng = np.random.default_rng(0)
    masses, errors = [], []
    for repeat in range(60):
        masks = one.draw(f"sample {repeat}", 0, one.count)
        scores = (masks.grid[:, 2, 2] + 0.8 * masks.grid[:, 0, 4] + 0.2 * rng.normal(size=one.count))[None]
        maps = one.maps(np.array([1.8]), np.zeros(1), scores, masks)
        positive = evidence(maps, "positive")[0]
        masses.append(positive[region].sum() / positive.sum())
        errors.append(one.standard_error(scores, masks, maps, region)[0])
    assert np.mean(errors) == pytest.approx(np.std(masses), rel=0.3)
