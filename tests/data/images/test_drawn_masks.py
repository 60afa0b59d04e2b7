"""The inside of polygons, against another library's point in polygon."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import points_in_poly

from rate.data.images.drawn_masks import polygon_mask, union_mask

COORDINATE = st.floats(-10, 40, allow_nan=False)


def distance(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """From each point [h,w,2] to the nearest edge."""
    nearest = np.full(points.shape[:2], np.inf)
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        along, to = end - start, points - start
        share = (to @ along / max(along @ along, 1e-12)).clip(0, 1)
        nearest = np.minimum(nearest, np.linalg.norm(to - share[..., None] * along, axis=2))
    return nearest


@given(st.lists(st.tuples(COORDINATE, COORDINATE), min_size=3, max_size=12))
@settings(max_examples=60)
def test_a_pixel_is_inside_where_its_centre_is(corners):
    width, height = 25, 17
    y, x = np.mgrid[0:height, 0:width] + 0.5
    expected = points_in_poly(np.stack([x.ravel(), y.ravel()], axis=1), corners).reshape(height, width)
    clear = distance(np.stack([x, y], axis=2), np.array(corners)) > 1e-6  # a centre on an edge may go either way
    np.testing.assert_array_equal(polygon_mask(np.array(corners), (width, height))[clear], expected[clear])


@pytest.mark.parametrize("turned", [False, True])
def test_a_rectangle_fills_its_pixels_whatever_its_direction(turned):
    corners = np.array([[3, 2], [9, 2], [9, 7], [3, 7]], float)
    mask = polygon_mask(corners[::-1] if turned else corners, (12, 10))
    expected = np.zeros((10, 12), bool)
    expected[2:7, 3:9] = True
    np.testing.assert_array_equal(mask, expected)


@given(st.lists(st.lists(st.tuples(COORDINATE, COORDINATE), min_size=3, max_size=6), min_size=1, max_size=4))
@settings(max_examples=40)
def test_a_union_holds_what_one_of_its_polygons_holds(polygons):
    outlines = [np.array(corners) for corners in polygons]
    expected = np.logical_or.reduce([polygon_mask(corners, (25, 17)) for corners in outlines])
    np.testing.assert_array_equal(union_mask(outlines, (25, 17)), expected)


def test_many_polygons_of_a_large_image_cost_one_pass():
    corners = np.array([[1, 1], [4999, 3], [4998, 4999], [2, 4990]], float)
    one, many = [], []
    for seconds, count in ((one, 1), (many, 60)):
        began = time.process_time()
        union_mask([corners] * count, (5000, 5000))
        seconds.append(time.process_time() - began)
    assert many[0] < 10 * one[0] + 0.2, "60 polygons took 60 passes over the image"


def test_outlines_that_would_take_minutes_are_refused():
    zigzag = np.array([[k % 100, (k % 2) * 10_000] for k in range(20_000)], float)
    with pytest.raises(ValueError, match=r"cross 200,000,000 rows.*10,000,000"):
        union_mask([zigzag], (100, 10_000))
