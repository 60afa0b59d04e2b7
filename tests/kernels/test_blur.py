"""A declared blur gives regions the bounds of the method that blurs so, and maps of any size that of a region."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from rate.config import Measurement
from rate.errors import ConfigError
from rate.kernels import occlusion, relevance, rise
from rate.kernels.blur import SHARP, bounds_under
from rate.kernels.resize import resized
from rate.kernels.saliency import mass_inside

SIZE = 48


@pytest.fixture
def region() -> np.ndarray:
    region = np.zeros((SIZE, SIZE), bool)
    region[9:30, 14:41] = True
    return region


def test_bounds_are_those_of_the_methods(region: np.ndarray) -> None:
    ignored = np.zeros_like(region)
    ignored[30:33, 10:45] = True
    for left_out in (None, ignored):
        assert bounds_under("rise:7", SIZE)(region, left_out) == rise.from_settings(
            Measurement(saliency="rise"), SIZE, None
        ).bounds(region, left_out)
        assert bounds_under("window:8", SIZE)(region, left_out) == occlusion.from_settings(
            Measurement(saliency="occlusion"), SIZE, None
        ).bounds(region, left_out)
        cells, own = bounds_under("cells:6", SIZE)(region, left_out), relevance.bounds(region, 6, left_out)
        assert (cells.ceiling, cells.floor) == pytest.approx((own.ceiling, own.floor))
    assert bounds_under(None, SIZE)(region, None) == SHARP


def test_a_gaussian_is_that_of_scipy_away_from_the_border(region: np.ndarray) -> None:
    bounds = bounds_under("gaussian:1.5", SIZE)(region, None)
    smooth = gaussian_filter(region.astype(float), 1.5)
    assert bounds.ceiling == pytest.approx(mass_inside(smooth, region), abs=1e-4)
    assert bounds.floor == pytest.approx(mass_inside(1 - smooth, region), abs=1e-4)


@pytest.mark.parametrize("size", [(7, 9), (48, 48), (96, 48), (144, 12), (1, 30)])
def test_maps_are_resized_as_torch_does(size: tuple[int, int]) -> None:
    values = np.random.default_rng(0).normal(size=size)
    tensor = torch.from_numpy(values)[None, None]
    for axis in (2, 3):
        new = [SIZE if axis == 2 else tensor.shape[2], SIZE if axis == 3 else tensor.shape[3]]
        if tensor.shape[axis] > SIZE:
            tensor = torch.nn.functional.adaptive_avg_pool2d(tensor, new)
        else:
            tensor = torch.nn.functional.interpolate(tensor, new, mode="bilinear", align_corners=False)
    np.testing.assert_allclose(resized(values, SIZE), tensor[0, 0].numpy(), atol=1e-12)


def test_shares_of_the_sum_stay_where_a_map_is_averaged() -> None:
    values = np.random.default_rng(0).random((61, 53))
    smaller = resized(values, 16)
    assert smaller.mean() == pytest.approx(values.mean())


def test_a_blur_beyond_the_image_is_refused() -> None:
    with pytest.raises(ConfigError, match="blur window:50 is more than the 48 pixels"):
        bounds_under("window:50", SIZE)
