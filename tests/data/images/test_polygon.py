"""The inside of polygons, against another library's point in polygon."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import points_in_poly

from rate.data.images.polygon import polygon_mask

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
@settings(max_examples=60, deadline=None)
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
