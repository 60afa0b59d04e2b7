"""What maps of a declared coarseness can show of a region: those of two ideal observers, blurred as the maps are."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated

import numpy as np

from rate.config import Measurement
from rate.errors import ConfigError
from rate.judging import parse_blur
from rate.kernels import occlusion, rise
from rate.kernels.resize import resizing_weights
from rate.kernels.saliency import Bounds, bounds_of, rest_of
from rate.types import Float64, Region

SHARP = Bounds(ceiling=1.0, floor=0.0)
"""The bounds of maps that may differ from each pixel to the next."""

BoundsOf = Callable[[Region, Region | None], Bounds]
"""Computes the bounds of a region with its ignored pixels; see `rate.kernels.saliency.Method`."""


def bounds_under(blur: str | None, size: int) -> BoundsOf:
    """Return what computes the bounds of regions of ``size`` x ``size`` pixels under a blur.

    >>> bounds_under("cells:2", 2)(np.array([[True, False], [True, False]]), None)
    Bounds(ceiling=1.0, floor=0.0)

    Args:
        blur: in a form of `rate.judging.Judging`; None = none, so that every region can be told from its rest.
        size: side of the region, pixels.

    Raises:
        ConfigError: the blur is none of these forms, or longer than the side.
    """
    if blur is None:
        return lambda region, ignored: SHARP
    kind, length, step = parse_blur(blur)
    if length > size:
        raise ConfigError(
            f"blur {blur} is more than the {size} pixels at which maps and regions are compared; see --size"
        )
    if kind == "window":
        windows = Measurement(saliency="occlusion", window=int(length), stride=step)
        return occlusion.from_settings(windows, size, None).bounds
    if kind == "rise":
        return rise.from_settings(Measurement(saliency="rise", grid=int(length)), size, None).bounds
    return partial(_bounds, _cells(int(length), size) if kind == "cells" else _gaussian(length, size))


def _bounds(table: Annotated[Float64, "h h"], region: Region, ignored: Region | None = None) -> Bounds:
    inside, outside = (table @ seen.astype(np.float64) @ table.T for seen in (region, rest_of(region, ignored)))
    return bounds_of(inside, outside, region, ignored)


def _cells(cells: int, size: int) -> Annotated[Float64, "h h"]:
    """Average over cells and interpolate between them."""
    return np.asarray(resizing_weights(cells, size) @ resizing_weights(size, cells))


def _gaussian(sigma: float, size: int) -> Annotated[Float64, "h h"]:
    """Smooth by a Gaussian that is cut at the border; every row sums to 1."""
    distance = np.subtract.outer(np.arange(size), np.arange(size)) / sigma
    weights = np.exp(-0.5 * distance**2)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))
