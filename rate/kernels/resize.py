"""Maps of any size at the size of a region: interpolated where they are smaller, averaged where they are larger."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated

import numpy as np

from rate.kernels.relevance import upsampling_weights
from rate.types import Float64, HeatMap, Int64


def resized(values: Annotated[Float64, "y x"], size: int) -> HeatMap:
    """Resize a map to ``size`` x ``size`` pixels, each axis by itself.

    A shorter axis is interpolated linearly, with half-pixel centres and repeated border values; a longer one is
    averaged over the area of each pixel, so that shares of its sum stay.

    >>> resized(np.array([[0.0, 4.0]]), size=4)[0]
    array([0., 1., 3., 4.])
    >>> resized(np.array([[0.0, 3.0, 6.0]] * 2), size=2)
    array([[1., 5.],
           [1., 5.]])
    """
    across = _along_rows(values, size)
    return np.ascontiguousarray(_along_rows(across.T, size).T)


def _along_rows(values: Annotated[Float64, "y x"], size: int) -> Annotated[Float64, "y s"]:
    if values.shape[1] == size:
        return values
    index, weight = _taps(values.shape[1], size)
    return np.asarray(sum(values[:, at] * by for at, by in zip(index, weight, strict=True)))


@lru_cache(maxsize=16)
def _taps(old: int, new: int) -> tuple[Annotated[Int64, "k new"], Annotated[Float64, "k new"]]:
    """Return the few old pixels that make each new one, and their weights."""
    weights = resizing_weights(old, new)
    first, most = (weights > 0).argmax(axis=1), int((weights > 0).sum(axis=1).max())
    index = first + np.arange(most)[:, None]
    weight = np.where(index < old, weights[np.arange(new), np.minimum(index, old - 1)], 0.0)
    return np.minimum(index, old - 1), weight


@lru_cache(maxsize=16)
def resizing_weights(old: int, new: int) -> Annotated[Float64, "new old"]:
    """Compute the weights of one axis; every row sums to 1.

    >>> resizing_weights(3, 2)
    array([[0.66666667, 0.33333333, 0.        ],
           [0.        , 0.33333333, 0.66666667]])
    """
    if old <= new:
        return upsampling_weights(old, new)
    edges = np.arange(new + 1) * old / new
    left, right = np.maximum.outer(edges[:-1], np.arange(old)), np.minimum.outer(edges[1:], np.arange(1, old + 1))
    weights = np.asarray(np.maximum(right - left, 0.0) * new / old)
    weights.setflags(write=False)  # all callers share the cached array
    return weights
