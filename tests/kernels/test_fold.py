"""Folding without masks equals folding full-size masks."""

from __future__ import annotations

import numpy as np
import pytest

from rate.kernels import reference
from rate.kernels.fold import fold, project
from rate.kernels.occlusion import Occlusion
from rate.kernels.rise import Rise

METHODS = [
    Rise(size=23, side=7, keep=(0.5,), cells="fixed", count=9, seed=1),
    Rise(size=16, side=2, keep=(0.3,), cells="independent", count=1, seed=1),
    Occlusion(size=17, window=6, stride=5),
]


@pytest.mark.parametrize("method", METHODS, ids=["rise", "rise-one-mask", "occlusion"])
@pytest.mark.parametrize("heads", [1, 3])
def test_fold_and_project_match_the_reference(method, heads: int) -> None:
    rng = np.random.default_rng(0)
    masks = method.draw("a", 0, method.count)
    full = reference.masks(method.perturbation, masks.grid, masks.offset)
    weights = rng.normal(size=(heads, len(masks)))
    np.testing.assert_allclose(
        fold(weights, masks.grid, masks.offset, method.perturbation), reference.fold(weights, full), atol=1e-9
    )
    maps = rng.normal(size=(heads, method.size, method.size))
    np.testing.assert_allclose(
        project(maps, masks.grid, masks.offset, method.perturbation), reference.project(maps, full), atol=1e-9
    )


def test_chunking_changes_nothing() -> None:
    method = Rise(size=32, side=4, keep=(0.5,), cells="fixed", count=50, seed=3)
    masks = method.draw("x", 0, 50)
    weights = np.random.default_rng(1).normal(size=(2, 50))
    maps = np.random.default_rng(2).normal(size=(2, 32, 32))
    whole = fold(weights, masks.grid, masks.offset, method.perturbation)
    products = project(maps, masks.grid, masks.offset, method.perturbation)
    by_row = fold(weights, masks.grid, masks.offset, method.perturbation, chunk_bytes=1)
    np.testing.assert_allclose(by_row, whole, atol=1e-12)
    by_row = project(maps, masks.grid, masks.offset, method.perturbation, chunk_bytes=1)
    np.testing.assert_allclose(by_row, products, atol=1e-9)


def test_project_is_the_adjoint_of_fold() -> None:
    method = METHODS[0]
    masks = method.draw("b", 0, method.count)
    rng = np.random.default_rng(4)
    weights, one = rng.normal(size=(1, method.count)), rng.normal(size=(1, method.size, method.size))
    left = (fold(weights, masks.grid, masks.offset, method.perturbation) * one).sum()
    right = (project(one, masks.grid, masks.offset, method.perturbation) * weights).sum()
    assert left == pytest.approx(right, rel=1e-10)
