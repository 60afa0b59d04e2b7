"""Evidence is never negative, and constants are not evidence."""

from __future__ import annotations

import numpy as np
import pytest

from rate.kernels.saliency import Maps, evidence, mass_inside


def test_evidence_kinds_by_hand() -> None:
    saliency, signal = np.array([[[2.0, 4.0], [6.0, -2.0]]]), np.array([[[-1.0, 0.0], [3.0, -2.0]]])
    maps = Maps(signal, np.zeros(1), lambda: saliency)
    np.testing.assert_array_equal(evidence(maps, "positive"), [[[0, 0], [3, 0]]])
    np.testing.assert_array_equal(evidence(maps, "raw"), [[[2, 4], [6, 0]]])
    np.testing.assert_array_equal(evidence(maps, "minmax"), [[[0.5, 0.75], [1, 0]]])


def test_minmax_of_a_constant_map_is_no_evidence() -> None:
    flat = np.full((1, 3, 3), 7.0)
    np.testing.assert_array_equal(evidence(Maps(flat, np.zeros(1), lambda: flat), "minmax"), np.zeros((1, 3, 3)))


def test_mass_inside_counts_the_positive_part_and_is_zero_without_any() -> None:
    region = np.array([[True, False]])
    assert mass_inside(np.array([[3.0, 1.0]]), region) == pytest.approx(0.75)
    assert mass_inside(np.array([[-3.0, -1.0]]), region) == 0.0
