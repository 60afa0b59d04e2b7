"""Gradient-weighted attention as numbers, against matrices and torch's own interpolation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rate.kernels.relevance import bounds, class_relevance, patch_maps, upsample
from rate.kernels.saliency import mass_inside


@pytest.mark.parametrize("layers", [1, 2, 5])
def test_the_row_of_the_class_token_is_that_of_the_whole_matrix(layers: int) -> None:
    rng = np.random.default_rng(layers)
    weights = [rng.random((3, 7, 7)) for _ in range(layers)]
    for b in range(3):
        whole = np.eye(7)
        for layer in weights:
            whole = whole + layer[b] @ whole
        np.testing.assert_allclose(class_relevance(weights)[b], whole[0], rtol=1e-12)


def test_patches_follow_the_prefix_row_by_row() -> None:
    relevance = np.arange(2 * 11, dtype=np.float64).reshape(2, 11)
    assert patch_maps(relevance, 2)[1].tolist() == [[13, 14, 15], [16, 17, 18], [19, 20, 21]]


@pytest.mark.parametrize(("side", "size"), [(2, 2), (2, 9), (4, 32), (7, 224), (14, 224)])
def test_maps_are_enlarged_as_torch_does_it(side: int, size: int) -> None:
    maps = np.random.default_rng(0).normal(size=(2, side, side))
    expected = torch.nn.functional.interpolate(torch.from_numpy(maps)[None], size=(size, size), mode="bilinear")[0]
    np.testing.assert_allclose(upsample(maps, size), expected.numpy(), atol=1e-12)


def test_references_are_what_observers_of_patches_would_see() -> None:
    region = np.zeros((32, 32), np.bool_)
    region[4:20, 8:18] = True
    found = bounds(region, 4)
    shares = np.array([[region[8 * i : 8 * i + 8, 8 * j : 8 * j + 8].mean() for j in range(4)] for i in range(4)])
    assert found.ceiling == pytest.approx(mass_inside(upsample(shares[None], 32)[0], region))
    assert found.floor == pytest.approx(mass_inside(upsample(1 - shares[None], 32)[0], region))
    assert 0 < found.floor < region.mean() < found.ceiling < 1
