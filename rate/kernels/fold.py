"""Sums over masks, and inner products with masks, without ever building a mask.

Both directions use the tables of `separable`: a mask touches the result only through grid @ table[ox]^T, so rows that
share a y offset are summed before the image height is ever expanded. Everything is float64: the maps are differences
of nearly equal sums.
"""

from __future__ import annotations

import numpy as np

from rate.kernels.separable import Perturbation
from rate.types import Float32, Float64, Int64

_CHUNK_BYTES = 16 << 20  # the expanded rows of a chunk stay in cache-sized memory, whatever n is


def fold(weights: Float64, grid: Float32, offset: Int64, perturbation: Perturbation) -> Float64:
    """Weighted sum of masks: out[k] = sum_n weights[k,n] * M_n.

    Args:
        weights: [k,n] any finite values.
        grid: [n,s,s] the masks' grids.
        offset: [n,2] rows of the table for y and for x.
        perturbation: the family the masks belong to.

    Returns:
        [k,h,w].
    """
    table = perturbation.table.astype(np.float64)
    offsets, size, side = table.shape
    partial = np.zeros((len(weights), offsets, side * size))
    for part in _chunks(len(grid), side * size):
        rows = (grid[part].astype(np.float64) @ table[offset[part, 1]].transpose(0, 2, 1)).reshape(-1, side * size)
        chosen = np.arange(offsets)[:, None] == offset[part, 0]  # [t,n]
        partial += (weights[:, None, part] * chosen) @ rows
    tall = table.transpose(1, 0, 2).reshape(size, offsets * side)
    summed = tall @ partial.reshape(len(weights), offsets * side, size)
    return np.asarray(perturbation.a * weights.sum(axis=1)[:, None, None] + perturbation.b * summed)


def project(maps: Float64, grid: Float32, offset: Int64, perturbation: Perturbation) -> Float64:
    """Inner products with masks, the adjoint of `fold`: out[k,n] = sum_p maps[k,p] * M_n(p).

    Args:
        maps: [k,h,w] any finite values.
        grid: [n,s,s] the masks' grids.
        offset: [n,2] rows of the table for y and for x.
        perturbation: the family the masks belong to.

    Returns:
        [k,n].
    """
    table = perturbation.table.astype(np.float64)
    offsets, size, side = table.shape
    flat = table.transpose(0, 2, 1).reshape(offsets * side, size)
    narrow = (flat @ maps).reshape(len(maps), offsets, side, size)
    products = np.empty((len(maps), len(grid)))
    for part in _chunks(len(grid), len(maps) * side * size):
        cells = narrow[:, offset[part, 0]] @ table[offset[part, 1]]  # [k,n,s,s]
        products[:, part] = np.einsum("knij,nij->kn", cells, grid[part].astype(np.float64))
    return np.asarray(perturbation.a * maps.sum(axis=(1, 2))[:, None] + perturbation.b * products)


def _chunks(count: int, floats_a_row: int) -> list[slice]:
    step = max(1, _CHUNK_BYTES // (8 * floats_a_row))
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]
