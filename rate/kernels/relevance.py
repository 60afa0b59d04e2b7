"""Relevance from gradient-weighted attention (Chefer, Gur, Wolf 2021, "Generic Attention-model Explainability").

This is the saliency method of the paper whose metrics `rate` reports. It needs the gradients of a vision transformer
and does not perturb the input; the functions here start from the weighted attention of each layer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated

import numpy as np

from rate.kernels.saliency import Bounds, bounds_of, rest_of
from rate.types import Float64, Region


def class_relevance(weights: Sequence[Annotated[Float64, "b l l"]]) -> Annotated[Float64, "b l"]:
    """Compute the relevance of every token to the class token.

    R starts as the identity and becomes R + A R for each layer (equation 6 of the source); the result is the class
    token's row of R. One layer alone gives its own row of A, as in the source for dual encoders.

    >>> class_relevance([np.array([[[0.0, 0.25], [0.0, 0.0]]])])
    array([[1.  , 0.25]])

    Args:
        weights: A = mean over attention heads of max(0, gradient * attention) of each layer, in the order of the
            forward; the class token is the first token.
    """
    row = np.zeros(weights[0].shape[:2])
    row[:, 0] = 1.0
    for layer in reversed(weights):  # multiplying the row from the left avoids products of matrices
        row = row + np.einsum("bi,bij->bj", row, layer)
    return row


def patch_maps(relevance: Annotated[Float64, "b l"], prefix: int) -> Annotated[Float64, "b s s"]:
    """Drop the ``prefix`` tokens that are no patches and arrange the rest in s rows of s patches.

    >>> patch_maps(np.array([[9.0, 1.0, 2.0, 3.0, 4.0]]), prefix=1)
    array([[[1., 2.],
            [3., 4.]]])
    """
    patches = relevance[:, prefix:]
    side = math.isqrt(patches.shape[1])
    return patches.reshape(-1, side, side)


def upsample(maps: Annotated[Float64, "b s s"], size: int) -> Annotated[Float64, "b h w"]:
    """Resize maps to ``size`` x ``size`` pixels: bilinear, with half-pixel centres and repeated border values.

    >>> upsample(np.array([[[0.0, 4.0], [0.0, 4.0]]]), size=4)[0, 0]
    array([0., 1., 3., 4.])
    """
    table = upsampling_weights(maps.shape[1], size)
    return np.asarray(table @ maps @ table.T)


def bounds(region: Region, side: int, ignored: Region | None = None) -> Bounds:
    """Measure the relevance mass of observers of ``region`` and of the rest at a resolution of ``side`` patches.

    ``ignored`` pixels are of neither; None = there are none.

    >>> bounds(np.array([[True, False], [True, False]]), side=2)
    Bounds(ceiling=1.0, floor=0.0)
    """
    patch = len(region) // side
    seen = np.stack([region, rest_of(region, ignored)])
    inside, outside = upsample(seen.reshape(2, side, patch, side, patch).mean(axis=(2, 4)), len(region))
    return bounds_of(inside, outside, region, ignored)


@lru_cache(maxsize=8)
def upsampling_weights(side: int, size: int) -> Annotated[Float64, "h s"]:
    """Compute bilinear weights; every row sums to 1.

    >>> upsampling_weights(2, 4)
    array([[1.  , 0.  ],
           [0.75, 0.25],
           [0.25, 0.75],
           [0.  , 1.  ]])
    """
    position = ((np.arange(size) + 0.5) * side / size - 0.5).clip(0, side - 1)
    low = np.minimum(position.astype(np.int64), max(side - 2, 0))
    weights = np.zeros((size, side))
    rows = np.arange(size)
    weights[rows, low] = 1.0 - (position - low)
    weights[rows, np.minimum(low + 1, side - 1)] += position - low
    weights.setflags(write=False)  # all callers share the cached array
    return weights
