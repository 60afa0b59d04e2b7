"""Deletion and insertion images, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from rate.kernels.faithfulness import STEPS, area_under_curve, kept_pixels, pixel_order, random_order


def test_pixels_come_by_falling_evidence_and_equal_ones_in_an_order_of_the_sample() -> None:
    evidence = np.maximum(np.random.default_rng(0).normal(size=(20, 20)), 0)
    order = pixel_order(evidence, "a")
    assert sorted(order) == list(range(400))
    assert (np.diff(evidence.ravel()[order]) <= 0).all()
    ties = int((evidence == 0).sum())
    assert ties > 100
    assert abs(order[-ties:].mean() - np.flatnonzero(evidence.ravel() == 0).mean()) < 20
    assert abs(np.corrcoef(np.arange(ties), order[-ties:])[0, 1]) < 0.2, "not row by row"
    assert (order == pixel_order(evidence, "a")).all()
    assert (order != pixel_order(evidence, "b")).any()


def test_a_random_order_has_every_pixel_once_and_is_that_of_the_sample() -> None:
    assert sorted(random_order("a", 100)) == list(range(100))
    assert (random_order("a", 100) == random_order("a", 100)).all()
    assert (random_order("a", 100) != random_order("b", 100)).any()


@pytest.mark.parametrize("step", [0, 1, 7, STEPS // 2, STEPS])
def test_images_lose_the_first_pixels_or_have_nothing_else(step: int) -> None:
    order = random_order("x", 81)
    gone = set(order[: round(step * 81 / STEPS)].tolist())
    deleted, inserted = kept_pixels(order, step), kept_pixels(order, step, keep=True)
    for pixel in range(81):
        assert deleted[pixel] == (pixel not in gone)
        assert inserted[pixel] == (pixel in gone)
    assert (len(gone) == 81) == (step == STEPS)


def test_areas_are_those_under_the_curve() -> None:
    share = np.linspace(0, 1, STEPS + 1)
    assert area_under_curve(np.full(STEPS + 1, 0.3)) == pytest.approx(0.3)
    assert area_under_curve(share) == pytest.approx(0.5)
    assert area_under_curve(share**2) == pytest.approx(np.trapezoid(share**2, share))
