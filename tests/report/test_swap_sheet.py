"""Swaps as pictures are exactly what the model was given."""

from __future__ import annotations

import numpy as np

from rate.kernels import reference
from rate.kernels.region import cut_of_swaps
from rate.kernels.separable import rise
from rate.report.heatmap import GAP, swap_sheet, swapped
from rate.types import INSIDE, OUTSIDE, Rows

SIDE = 24


def pictures(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(count)
    return [rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8) for _ in range(count)]


def test_a_swap_is_the_picture_that_a_backend_is_given() -> None:
    view, other = pictures(2)
    region = np.zeros((SIDE, SIDE), np.bool_)
    region[4:10, 6:15] = True
    cut = cut_of_swaps(region, boxed=False, margin=0.1, ramp=0.2)
    assert ((cut > 0) & (cut < 255)).any()
    slots = np.stack([one.transpose(2, 0, 1) for one in (view, other)]).astype(np.float32)
    perturbation, one = rise(SIDE, 2), np.ones(2, np.int64)
    grid, offset = np.repeat(perturbation.clean[None], 2, axis=0), np.zeros((2, 2), np.int64)
    rows = Rows(0 * one, grid, offset, one, np.array([INSIDE, OUTSIDE]))
    given = reference.perturb(slots, np.stack([cut, 0 * cut]), rows, perturbation)
    for drawn, pixels in zip(swapped(view, other, cut), given, strict=True):
        assert np.abs(drawn - pixels.transpose(1, 2, 0)).max() <= 0.5 + 1e-4


def test_boxes_are_cut_as_they_are() -> None:
    region = np.zeros((SIDE, SIDE), np.bool_)
    region[4:10, 6:15] = True
    view, other = pictures(2)
    inside, outside = swapped(view, other, cut_of_swaps(region, boxed=True, margin=0.1, ramp=0.2))
    assert (inside == np.where(region[..., None], view, other)).all()
    assert (outside == np.where(region[..., None], other, view)).all()


def test_the_sheet_has_a_column_for_each_other_picture() -> None:
    view, *others = pictures(4)
    cut = np.zeros((SIDE, SIDE), np.uint8)
    cut[:12] = 255
    sheet = np.asarray(swap_sheet(view, others, [cut], SIDE))
    assert sheet.shape == (2 * SIDE + GAP, 3 * SIDE + 2 * GAP, 4)
    for column, other in enumerate(others):
        left = column * (SIDE + GAP)
        for row, expected in enumerate(swapped(view, other, cut)):
            top = row * (SIDE + GAP)
            assert (sheet[top : top + SIDE, left : left + SIDE, :3] == expected).all()
    assert (sheet[..., 3] == 0).sum() == sheet[..., 3].size - 6 * SIDE * SIDE
