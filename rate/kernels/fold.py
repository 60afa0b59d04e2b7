"""Sums over masks and inner products with masks, computed without full-size masks.

A mask is a + b * (table[oy] @ grid @ table[ox]^T), so the grids of all masks that share a pair of offsets can be summed
before they are expanded: two matrix products then serve any number of masks. The arithmetic is float64, because the
maps are differences of nearly equal sums.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated

import numpy as np

from rate.kernels.separable import Perturbation
from rate.types import Float64, Grids, HeadMaps, Offsets, Scores

CHUNK_BYTES = 16 << 20  # bounds the weighted grids to the size of a processor cache, for any n


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
        chunk_bytes: the size of the grids that are held at a time.
    """
    expand, offsets, side = _expansion(perturbation), perturbation.offsets, perturbation.side
    cells = np.zeros((len(weights), offsets * offsets, side * side))
    pair = offset[:, 0] * offsets + offset[:, 1]
    for part in _chunks(len(grid), len(weights) * side * side, chunk_bytes):
        order = np.argsort(pair[part], kind="stable")
        pairs, starts = np.unique(pair[part][order], return_index=True)
        grids = grid[part].reshape(-1, side * side)[order].astype(np.float64)
        cells[:, pairs] += np.add.reduceat(weights[:, part][:, order, None] * grids, starts, axis=1)
    rows = _paired(cells.reshape(-1, offsets, offsets, side, side)) @ expand.T
    summed = expand @ rows
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
        chunk_bytes: the size of the grids that are held at a time.
    """
    expand, offsets, side = _expansion(perturbation), perturbation.offsets, perturbation.side
    cells = (expand.T @ maps @ expand).reshape(len(maps), offsets, side, offsets, side)
    products = np.empty((len(maps), len(grid)))
    for part in _chunks(len(grid), len(maps) * side * side, chunk_bytes):
        chosen = cells[:, offset[part, 0], :, offset[part, 1]]  # [n,k,s,s]: indices that a slice parts come first
        products[:, part] = np.einsum("nkij,nij->kn", chosen, grid[part].astype(np.float64))
    return np.asarray(perturbation.a * maps.sum(axis=(1, 2))[:, None] + perturbation.b * products)


@lru_cache(maxsize=8)
def _expansion(perturbation: Perturbation) -> Annotated[Float64, "h t*s"]:
    """Return the weight of each cell of each offset at each pixel of an axis."""
    table = perturbation.table.astype(np.float64)
    return np.ascontiguousarray(table.transpose(1, 0, 2).reshape(perturbation.size, -1))


def _paired(cells: Annotated[Float64, "k t t s s"]) -> Annotated[Float64, "k t*s t*s"]:
    """Bring the offset and the cell of each axis together."""
    heads, offsets, _, side, _ = cells.shape
    return cells.transpose(0, 1, 3, 2, 4).reshape(heads, offsets * side, offsets * side)


def _chunks(count: int, floats_per_row: int, chunk_bytes: int) -> list[slice]:
    step = max(1, chunk_bytes // (8 * floats_per_row))
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]
