"""Masks as two small matrices are exactly the masks that other people's code makes."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.transform import resize

from rate.errors import ConfigError
from rate.kernels import reference
from rate.kernels.separable import occlusion, rise, window_starts


@pytest.mark.parametrize(("size", "side"), [(2, 2), (5, 2), (16, 3), (23, 7), (64, 8)])
def test_rise_masks_equal_the_pixel_by_pixel_reference(size: int, side: int) -> None:
    perturbation = rise(size, side)
    rng = np.random.default_rng(size)
    for offset in [(0, 0), (perturbation.offsets - 1, 0), tuple(rng.integers(0, perturbation.offsets, 2))]:
        bits = rng.integers(0, 2, (side, side)).astype(np.float32)
        ours = reference.mask(perturbation, bits, np.array(offset))
        np.testing.assert_allclose(ours, reference.rise_mask(bits, np.array(offset), size), atol=1e-6)


def test_rise_masks_and_map_equal_the_published_code() -> None:
    """The loop of the RISE authors' `generate_masks` and `forward`, with its own random numbers."""
    size, side, share, count = 224, 8, 0.5, 16
    random = np.random.RandomState(7)
    cell = int(np.ceil(size / side))
    grid = (random.rand(count, side, side) < share).astype("float32")
    published, offsets = np.empty((count, size, size)), np.empty((count, 2), np.int64)
    for n in range(count):
        x, y = random.randint(0, cell), random.randint(0, cell)
        up = resize(grid[n], ((side + 1) * cell,) * 2, order=1, mode="reflect", anti_aliasing=False)
        published[n], offsets[n] = up[x : x + size, y : y + size], (x, y)
    ours = reference.masks(rise(size, side), grid, offsets)
    np.testing.assert_allclose(ours, published, atol=2e-7)

    scores = random.rand(count)
    theirs = (scores @ published.reshape(count, -1)).reshape(size, size) / count / share
    np.testing.assert_allclose(reference.rise_saliency(scores, ours, share), theirs, rtol=1e-6)


@pytest.mark.parametrize(("size", "window", "stride"), [(8, 1, 1), (10, 4, 3), (32, 8, 4), (33, 8, 8), (5, 4, 4)])
def test_occlusion_hides_exactly_one_window_and_covers_every_pixel(size: int, window: int, stride: int) -> None:
    perturbation = occlusion(size, window, stride)
    starts = window_starts(size, window, stride)
    covered = np.zeros((size, size))
    for j, top in enumerate(starts):
        for i, left in enumerate(starts):
            grid = np.zeros((len(starts),) * 2, np.float32)
            grid[j, i] = 1
            expected = np.ones((size, size))
            expected[top : top + window, left : left + window] = 0
            np.testing.assert_array_equal(reference.mask(perturbation, grid, np.zeros(2, np.int64)), expected)
            covered += 1 - expected
    assert covered.min() >= 1


@pytest.mark.parametrize("perturbation", [rise(17, 3), occlusion(17, 5, 3)], ids=["rise", "occlusion"])
def test_the_clean_grid_changes_nothing(perturbation) -> None:
    ones = reference.mask(perturbation, perturbation.clean, np.zeros(2, np.int64))
    np.testing.assert_allclose(ones, 1.0, atol=1e-6)


def test_tables_are_shared_and_cannot_be_changed() -> None:
    assert rise(16, 4) is rise(16, 4)
    with pytest.raises(ValueError, match="read-only"):
        rise(16, 4).table[0, 0, 0] = 2.0


def test_impossible_sizes_are_refused_with_what_was_expected() -> None:
    with pytest.raises(ConfigError, match="between 2 and the image size 16, got 1"):
        rise(16, 1)
    with pytest.raises(ConfigError, match="between 1 and 15 pixels, got 16"):
        occlusion(16, 16, 4)
    with pytest.raises(ConfigError, match=r"window \(4\), got 5"):
        occlusion(16, 4, 5)
