"""Growing a region: against the exact distance transform of scipy."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from rate.kernels.region import cut_of_swaps, cuts_of_swaps, hidden_steps, sketch, soften_region


@given(
    arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=24)),
    st.floats(0, 9),
    st.just(0.0) | st.floats(0.1, 5),
)
def test_the_weights_follow_the_distance_to_the_region(region, by: float, soft: float) -> None:
    found = soften_region(region, by, soft) / 255
    if not region.any():
        assert not found.any()
        return
    distance = ndimage.distance_transform_edt(~region)
    if by + soft == 0:
        np.testing.assert_array_equal(found, region)
    elif soft <= 0:
        near = np.abs(distance - by) < 1e-5
        np.testing.assert_array_equal(found[~near], (distance <= by)[~near])
    else:
        np.testing.assert_allclose(found, np.clip((by + soft - distance) / soft, 0, 1), atol=0.5001 / 255)


@given(arrays(np.int8, (17, 13), elements=st.integers(0, 2)), st.floats(0, 0.3), st.just(0.0) | st.floats(0.01, 0.2))
def test_a_pixel_is_shown_with_a_side_that_is_its_own_whether_ignored_pixels_are_object_or_not(
    parts, margin: float, ramp: float
) -> None:
    region, ignored = parts == 1, parts == 2
    shown, hidden = cuts_of_swaps(region, ignored, False, margin, ramp)
    readings = [cut_of_swaps(one, False, margin, ramp) for one in (region, region | ignored)]
    np.testing.assert_array_equal(shown, np.minimum(*readings))
    np.testing.assert_array_equal(255 - hidden, np.minimum(*(255 - one for one in readings)))
    if margin == ramp == 0:
        assert not shown[ignored].any()
        assert (hidden[ignored] == 255).all()


def test_without_ignored_pixels_there_is_one_cut() -> None:
    region = np.eye(8, dtype=bool)
    [cut] = cuts_of_swaps(region, None, False, 0.1, 0.1)
    np.testing.assert_array_equal(cut, cut_of_swaps(region, False, 0.1, 0.1))


def test_a_region_is_part_of_what_it_grows_to() -> None:
    region = np.zeros((30, 30), np.bool_)
    region[10:14, 8:20] = True
    assert (soften_region(region, 3, 2)[region] == 255).all()
    assert (soften_region(region, 3, 2) >= soften_region(region, 2, 2)).all()


def test_what_a_region_hides_of_others_is_told_in_eighths() -> None:
    rng = np.random.default_rng(3)
    regions = [np.zeros((64, 64), np.bool_) for _ in range(12)]
    for region in regions:
        top, left = rng.integers(0, 24, 2) * 2
        region[top : top + 16, left : left + 16] = True
    own, others = regions[0], np.stack(regions)
    expected = [int(8 * (other & own).sum() / other.sum() + 1e-4) for other in others]
    assert hidden_steps(np.stack([sketch(other) for other in others]), sketch(own)).tolist() == expected
    assert hidden_steps(np.zeros((1, 32, 32), np.float32), sketch(own)).tolist() == [0]
