"""Slow and obvious forms of every kernel. Tests and benchmarks compare with them; `rate.backends.fake` runs on them."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np

from rate.kernels.separable import Perturbation
from rate.types import (
    GRID,
    INSIDE,
    Float32,
    Float64,
    FullMasks,
    Grids,
    HeadMaps,
    HeatMap,
    Int64,
    Levels,
    Offsets,
    Pixels,
    Region,
    Rows,
    Scores,
    SoftRegion,
    UInt8,
)


def mask(perturbation: Perturbation, grid: Annotated[Float32, "s s"], offset: Annotated[Int64, "2"]) -> HeatMap:
    """Compute one full-size mask by its definition.

    >>> from rate.kernels.separable import occlusion
    >>> mask(occlusion(4, window=2, stride=2), np.eye(2, dtype=np.float32), np.array([0, 0]))
    array([[0., 0., 1., 1.],
           [0., 0., 1., 1.],
           [1., 1., 0., 0.],
           [1., 1., 0., 0.]])
    """
    weights_y, weights_x = (perturbation.table[row].astype(np.float64) for row in offset)
    return np.asarray(perturbation.a + perturbation.b * (weights_y @ grid.astype(np.float64) @ weights_x.T))


def masks(perturbation: Perturbation, grid: Grids, offset: Offsets) -> FullMasks:
    """Compute all masks, one after the other."""
    return np.stack([mask(perturbation, g, o) for g, o in zip(grid, offset, strict=True)])


def rise_mask(bits: Annotated[Float32, "s s"], offset: Annotated[Int64, "2"], size: int) -> HeatMap:
    """Compute the RISE mask of the authors' code, pixel by pixel.

    ``bits`` are stretched to (s + 1) * ceil(size / s) by bilinear interpolation with half-pixel centres and mirrored
    borders (skimage.transform.resize, order 1, mode "reflect") and cropped at ``offset``.
    """
    side = len(bits)
    stretched = (side + 1) * math.ceil(size / side)

    def mirrored(index: int) -> int:
        return -index if index < 0 else 2 * side - 2 - index if index >= side else index

    def sample(row: int, column: int) -> float:
        y, x = (row + 0.5) * side / stretched - 0.5, (column + 0.5) * side / stretched - 0.5
        top, left = math.floor(y), math.floor(x)
        value = 0.0
        for i, weight_y in ((top, 1 - (y - top)), (top + 1, y - top)):
            for j, weight_x in ((left, 1 - (x - left)), (left + 1, x - left)):
                value += weight_y * weight_x * float(bits[mirrored(i), mirrored(j)])
        return value

    y0, x0 = int(offset[0]), int(offset[1])
    return np.array([[sample(y0 + row, x0 + column) for column in range(size)] for row in range(size)])


def patch_mask(bits: Annotated[Float32, "s s"], size: int) -> HeatMap:
    """Compute the mask of patches, pixel by pixel: a pixel has the bit of its patch.

    >>> patch_mask(np.array([[1, 0], [0, 1]], np.float32), size=4)[0]
    array([1., 1., 0., 0.])
    """
    patch = size // len(bits)
    return np.array([[float(bits[row // patch, column // patch]) for column in range(size)] for row in range(size)])


def perturb(
    pixels: Annotated[Float32, "i 3 h w"],
    region: Annotated[UInt8, "i h w"],
    rows: Rows,
    perturbation: Perturbation,
) -> Annotated[Float64, "b 3 h w"]:
    """Compute the image of every row, one after the other: its kept part is pasted on its fill.

    ``region`` is in 255ths.
    """
    images = []
    for k in range(len(rows)):
        picture, fill = (pixels[slot].astype(np.float64) for slot in (rows.slot[k], rows.fill[k]))
        if rows.side[k] == GRID:
            kept = mask(perturbation, rows.grid[k], rows.offset[k])
        elif rows.side[k] == INSIDE:
            kept = region[rows.slot[k]] / 255.0
        else:
            kept = 1.0 - region[rows.slot[k]] / 255.0
        images.append(fill + kept * (picture - fill))
    return np.stack(images)


def fold(weights: Scores, full: FullMasks) -> HeadMaps:
    """Compute sum_n weights[k,n] * masks[n].

    >>> fold(np.array([[2.0, 3.0]]), np.array([[[1.0, 0.0]], [[1.0, 1.0]]]))
    array([[[5., 3.]]])
    """
    return np.stack([sum(w * m for w, m in zip(row, full, strict=True)) for row in weights])


def project(maps: HeadMaps, full: FullMasks) -> Scores:
    """Compute the inner product of every map with every mask.

    >>> project(np.array([[[2.0, 3.0]]]), np.array([[[1.0, 0.0]], [[1.0, 1.0]]]))
    array([[2., 5.]])
    """
    return np.array([[float((one * m).sum()) for m in full] for one in maps])


def rise_saliency(scores: Annotated[Float64, "n"], full: FullMasks, share: float) -> HeatMap:
    """Compute S = sum_n f_n M_n / (N p), equation 6 of the RISE paper; ``share`` is p.

    >>> rise_saliency(np.array([1.0, 3.0]), np.array([[[1.0, 0.0]], [[0.0, 1.0]]]), share=0.5)
    array([[1., 3.]])
    """
    total = np.zeros(full.shape[1:])
    for score, one in zip(scores, full, strict=True):
        total += score * one
    return total / len(scores) / share


def contributions(
    scores: Annotated[Float64, "n"], full: FullMasks, level: Levels, shares: tuple[float, ...], cells: int | None = None
) -> HeatMap:
    """Compute cov(score, mask) / (q (1 - q)) at every pixel, averaged over the levels by their masks.

    ``shares`` are the q of the levels. Masks that keep a fixed number of ``cells`` vary more by cells / (cells - 1).

    >>> contributions(np.array([1.0, 3.0]), np.array([[[1.0, 0.0]], [[0.0, 1.0]]]), np.array([0, 0]), (0.5,))
    array([[-4.,  4.]])
    """
    total = np.zeros(full.shape[1:])
    for which, q in enumerate(shares):
        own = np.flatnonzero(level == which)
        if len(own) < 2:
            continue
        mean_score, mean_mask = scores[own].mean(), full[own].mean(axis=0)
        covariance = sum((scores[n] - mean_score) * (full[n] - mean_mask) for n in own) / (len(own) - 1)
        variance = q * (1 - q) * (1 if cells is None else cells / (cells - 1))
        total += covariance / variance * len(own) / len(scores)
    return total


def occlusion_saliency(clean: float, scores: Annotated[Float64, "n"], full: FullMasks) -> HeatMap:
    """Average f(1) - f(M_n) over the windows that cover a pixel; a mask is 0 inside its window.

    >>> occlusion_saliency(5.0, np.array([1.0, 3.0]), np.array([[[0.0, 0.0]], [[1.0, 0.0]]]))
    array([[4., 3.]])
    """
    total, covering = np.zeros(full.shape[1:]), np.zeros(full.shape[1:])
    for score, one in zip(scores, full, strict=True):
        total[one == 0] += clean - score
        covering[one == 0] += 1
    return total / covering


def mass(values: HeatMap, region: Region) -> tuple[float, float]:
    """Sum the positive values inside ``region``, and all positive values, pixel by pixel.

    >>> mass(np.array([[3.0, 1.0, -2.0]]), np.array([[True, False, True]]))
    (3.0, 4.0)
    """
    inside = total = 0.0
    for value, is_object in zip(values.ravel(), region.ravel(), strict=True):
        total += max(float(value), 0.0)
        inside += max(float(value), 0.0) if is_object else 0.0
    return inside, total


def relevance_mass(evidence: HeatMap, region: Region) -> float:
    """Compute sum(E R) / sum(E), pixel by pixel.

    >>> relevance_mass(np.array([[3.0, 1.0]]), np.array([[True, False]]))
    0.75
    """
    inside, total = mass(evidence, region)
    return inside / total


def shapley_values(
    whole: float, inside: list[float], outside: list[float], nothing: list[float]
) -> tuple[float, float]:
    """Average the contributions of region and rest over the two orders in which they can enter the picture.

    >>> shapley_values(whole=1.0, inside=[0.75], outside=[0.25], nothing=[0.0])
    (0.75, 0.25)
    """

    def mean(values: list[float]) -> float:
        return sum(values) / len(values)

    value = {(): mean(nothing), ("region",): mean(inside), ("rest",): mean(outside), ("region", "rest"): whole}
    contribution = {"region": 0.0, "rest": 0.0}
    for order in (("region", "rest"), ("rest", "region")):
        before: tuple[str, ...] = ()
        for player in order:
            after = tuple(sorted((*before, player)))
            contribution[player] += (value[after] - value[before]) / 2
            before = after
    return contribution["region"], contribution["rest"]


def swap(
    pixels: Pixels, region: SoftRegion, fill: Pixels, hidden: SoftRegion | None = None
) -> tuple[Annotated[Float64, "3 h w"], Annotated[Float64, "3 h w"]]:
    """Put the picture's region on a fill, and the fill into the picture where it hides the region, or ``hidden``."""
    x, b, r = pixels.astype(np.float64), fill.astype(np.float64), region / 255.0
    h = r if hidden is None else hidden / 255.0
    return b + r * (x - b), x + h * (b - x)
