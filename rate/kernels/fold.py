"""Sums over masks and inner products with masks, computed without full-size masks.

Both use the tables of `separable`: a mask enters the result only through grid @ table[ox]^T, so rows that share a y
offset are summed before they are expanded to the image height. The arithmetic is float64, because the maps are
differences of nearly equal sums.
"""

from __future__ import annotations

import numpy as np

from rate.kernels.separable import Perturbation
from rate.types import Grids, HeadMaps, Offsets, Scores

CHUNK_BYTES = 16 << 20  # bounds the expanded rows to the size of a processor cache, for any n


def fold(
    weights: Scores, grid: Grids, offset: Offsets, perturbation: Perturbation, chunk_bytes: int = CHUNK_BYTES
) -> HeadMaps:
    """Sum masks with weights: out[k] = sum_n weights[k,n] * M_n.

    >>> from rate.kernels.separable import occlusion
    >>> grid = np.eye(4, dtype=np.float32).reshape(4, 2, 2)  # the four 2 x 2 windows of a 4 x 4 image, row by row
    >>> fold(np.array([[1.0, 2.0, 3.0, 4.0]]), grid, np.zeros((4, 2), np.int64), occlusion(4, window=2, stride=2))
    array([[[9., 9., 8., 8.],
            [9., 9., 8., 8.],
            [7., 7., 6., 6.],
            [7., 7., 6., 6.]]])

    Args:
        weights: any finite values.
        grid: the grids of the masks.
        offset: the rows of the table for y and for x.
        perturbation: the family of the masks.
        chunk_bytes: the size of the expanded rows that are held at a time.
    """
    table = perturbation.table.astype(np.float64)
    offsets, size, side = table.shape
    partial = np.zeros((len(weights), offsets, side * size))
    for part in _chunks(len(grid), side * size, chunk_bytes):
        rows = (grid[part].astype(np.float64) @ table[offset[part, 1]].transpose(0, 2, 1)).reshape(-1, side * size)
        chosen = np.arange(offsets)[:, None] == offset[part, 0]  # [t,n]
        partial += (weights[:, None, part] * chosen) @ rows
    weights_y = table.transpose(1, 0, 2).reshape(size, offsets * side)
    summed = weights_y @ partial.reshape(len(weights), offsets * side, size)
    return np.asarray(perturbation.a * weights.sum(axis=1)[:, None, None] + perturbation.b * summed)


def project(
    maps: HeadMaps, grid: Grids, offset: Offsets, perturbation: Perturbation, chunk_bytes: int = CHUNK_BYTES
) -> Scores:
    """Multiply maps with masks, the adjoint of `fold`: out[k,n] = sum_p maps[k,p] * M_n(p).

    >>> from rate.kernels.separable import occlusion
    >>> grid = np.eye(4, dtype=np.float32).reshape(4, 2, 2)
    >>> maps = np.arange(16.0).reshape(1, 4, 4)  # the sum is 120; the first window hides 0 + 1 + 4 + 5
    >>> project(maps, grid, np.zeros((4, 2), np.int64), occlusion(4, window=2, stride=2))
    array([[110., 102.,  78.,  70.]])

    Args:
        maps: any finite values.
        grid: the grids of the masks.
        offset: the rows of the table for y and for x.
        perturbation: the family of the masks.
        chunk_bytes: the size of the expanded rows that are held at a time.
    """
    table = perturbation.table.astype(np.float64)
    offsets, size, side = table.shape
    weights_y = table.transpose(0, 2, 1).reshape(offsets * side, size)
    reduced = (weights_y @ maps).reshape(len(maps), offsets, side, size)
    products = np.empty((len(maps), len(grid)))
    for part in _chunks(len(grid), len(maps) * side * size, chunk_bytes):
        cells = reduced[:, offset[part, 0]] @ table[offset[part, 1]]  # [k,n,s,s]
        products[:, part] = np.einsum("knij,nij->kn", cells, grid[part].astype(np.float64))
    return np.asarray(perturbation.a * maps.sum(axis=(1, 2))[:, None] + perturbation.b * products)


def _chunks(count: int, floats_per_row: int, chunk_bytes: int) -> list[slice]:
    step = max(1, chunk_bytes // (8 * floats_per_row))
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]
