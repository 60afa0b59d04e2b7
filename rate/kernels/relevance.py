"""Gradient-weighted attention (Chefer, Gur, Wolf 2021, "Generic Attention-model Explainability") as numbers.

The method of the paper whose metrics `rate` reports. It reads a vision transformer instead of perturbing its input, so
it needs the model's gradients; what is here starts where those are known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from rate.kernels.saliency import Bounds, mass_inside
from rate.types import Bool, Float64


def class_relevance(weights: Sequence[Float64]) -> Float64:
    """Relevance of every token to the class token, [b,l], from the layers' A = mean over heads of max(0, grad * attn).

    R = 1, then R = R + A R for each layer (equation 6 of the source); the class token's row of R. One layer alone gives
    its own row of A, which is what the source does with dual encoders.

    Args:
        weights: A [b,l,l] of the layers, in the order of the forward; the class token is the first one.
    """
    row = np.zeros(weights[0].shape[:2])
    row[:, 0] = 1.0
    for layer in reversed(weights):  # the row of a product, from the left: never a product of matrices
        row = row + np.einsum("bi,bij->bj", row, layer)
    return row


def patch_maps(relevance: Float64, prefix: int) -> Float64:
    """[b,side,side] the part of [b,prefix + side * side] that belongs to patches, row by row."""
    patches = relevance[:, prefix:]
    side = math.isqrt(patches.shape[1])
    return patches.reshape(-1, side, side)


def enlarged(maps: Float64, size: int) -> Float64:
    """[b,size,size] from [b,side,side], bilinear with half-pixel centres and borders that go on."""
    table = _enlarging(maps.shape[1], size)
    return np.asarray(table @ maps @ table.T)


def bounds(region: Bool, side: int) -> Bounds:
    """Relevance mass of observers of ``region`` [h,w] and of the rest, who see ``side`` patches a side and no more."""
    patch = len(region) // side
    shares = region.reshape(side, patch, side, patch).mean(axis=(1, 3))
    inside, outside = enlarged(np.stack([shares, 1.0 - shares]), len(region))
    return Bounds(ceiling=mass_inside(inside, region), floor=mass_inside(outside, region))


@lru_cache(maxsize=8)
def _enlarging(side: int, size: int) -> Float64:
    """[size,side] weights; rows sum to 1."""
    position = ((np.arange(size) + 0.5) * side / size - 0.5).clip(0, side - 1)
    low = np.minimum(position.astype(np.int64), max(side - 2, 0))
    weights = np.zeros((size, side))
    rows = np.arange(size)
    weights[rows, low] = 1.0 - (position - low)
    weights[rows, np.minimum(low + 1, side - 1)] += position - low
    weights.setflags(write=False)  # the cache hands out one array to everybody
    return weights
