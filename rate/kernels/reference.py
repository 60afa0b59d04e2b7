"""Slow and obvious forms of every kernel: the oracle of tests and benchmarks. Not used by the product itself."""

from __future__ import annotations

import math

import numpy as np

from rate.kernels.separable import Perturbation
from rate.types import Bool, Float32, Float64, Int64


def mask(perturbation: Perturbation, grid: Float32, offset: Int64) -> Float64:
    """One full-size mask [h,w] of a grid [s,s] and an offset [2], by its definition."""
    tall, wide = perturbation.table[offset[0]].astype(np.float64), perturbation.table[offset[1]].astype(np.float64)
    return np.asarray(perturbation.a + perturbation.b * (tall @ grid.astype(np.float64) @ wide.T))


def masks(perturbation: Perturbation, grid: Float32, offset: Int64) -> Float64:
    """All masks [n,h,w], one after the other."""
    return np.stack([mask(perturbation, g, o) for g, o in zip(grid, offset, strict=True)])


def rise_mask(bits: Float32, offset: Int64, size: int) -> Float64:
    """The reference RISE mask [h,w], pixel by pixel.

    ``bits`` [s,s] stretched to (s + 1) * ceil(size / s) by bilinear interpolation with half-pixel centres and mirrored
    borders (skimage.transform.resize, order 1, mode "reflect"), cropped at ``offset``.
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


def patch_mask(bits: Float32, size: int) -> Float64:
    """The mask [h,w] of patches ``bits`` [s,s], pixel by pixel: every pixel has the bit of the patch it lies in."""
    patch = size // len(bits)
    return np.array([[float(bits[row // patch, column // patch]) for column in range(size)] for row in range(size)])


def perturb(pixels: Float32, slot: Int64, grid: Float32, offset: Int64, perturbation: Perturbation) -> Float64:
    """Masked images pixels[slot[b]] * M_b, one after the other; pixels [i,3,h,w], result [b,3,h,w]."""
    rows = zip(slot, masks(perturbation, grid, offset), strict=True)
    return np.stack([pixels[image].astype(np.float64) * one for image, one in rows])


def fold(weights: Float64, full: Float64) -> Float64:
    """sum_n weights[k,n] * masks[n] over full-size masks [n,h,w]; [k,h,w]."""
    return np.stack([sum(w * m for w, m in zip(row, full, strict=True)) for row in weights])


def project(maps: Float64, full: Float64) -> Float64:
    """Inner product of every map [k,h,w] with every full-size mask [n,h,w]; [k,n]."""
    return np.array([[float((one * m).sum()) for m in full] for one in maps])


def rise_saliency(scores: Float64, full: Float64, share: float) -> Float64:
    """S = sum_n f_n M_n / (N p), equation 6 of the paper; scores [n], masks [n,h,w], result [h,w]."""
    total = np.zeros(full.shape[1:])
    for score, one in zip(scores, full, strict=True):
        total += score * one
    return total / len(scores) / share


def covariance(scores: Float64, full: Float64, level: Int64) -> Float64:
    """Covariance within levels [n] of score [n] and mask value [n,h,w] at every pixel, divided by n; [h,w]."""
    total = np.zeros(full.shape[1:])
    for which in set(level.tolist()):
        own = level == which
        mean_score, mean_mask = scores[own].mean(), full[own].mean(axis=0)
        for score, one in zip(scores[own], full[own], strict=True):
            total += (score - mean_score) * (one - mean_mask)
    return total / len(scores)


def occlusion_saliency(clean: float, scores: Float64, full: Float64) -> Float64:
    """Mean of f(1) - f(M_n) over the windows that cover a pixel; masks [n,h,w] are 0 inside the window; [h,w]."""
    total, covering = np.zeros(full.shape[1:]), np.zeros(full.shape[1:])
    for score, one in zip(scores, full, strict=True):
        total[one == 0] += clean - score
        covering[one == 0] += 1
    return total / covering


def mass(values: Float64, region: Bool) -> tuple[float, float]:
    """Sum of the positive values [h,w] inside ``region`` [h,w], and of all positive ones, pixel by pixel."""
    inside = total = 0.0
    for value, is_object in zip(values.ravel(), region.ravel(), strict=True):
        total += max(float(value), 0.0)
        inside += max(float(value), 0.0) if is_object else 0.0
    return inside, total


def relevance_mass(evidence: Float64, region: Bool) -> float:
    """sum(E R) / sum(E), pixel by pixel."""
    inside, total = mass(evidence, region)
    return inside / total


def swap_players(whole: float, inside: list[float], outside: list[float], nothing: list[float]) -> tuple[float, float]:
    """Shapley values of region and rest, by averaging over the two orders in which they can join the picture."""

    def mean(values: list[float]) -> float:
        return sum(values) / len(values)

    value = {(): mean(nothing), ("region",): mean(inside), ("rest",): mean(outside), ("region", "rest"): whole}
    gained = {"region": 0.0, "rest": 0.0}
    for order in (("region", "rest"), ("rest", "region")):
        before: tuple[str, ...] = ()
        for player in order:
            after = tuple(sorted((*before, player)))
            gained[player] += (value[after] - value[before]) / 2
            before = after
    return gained["region"], gained["rest"]


def swap(pixels: Float32, region: Float32, fill: Float32) -> tuple[Float64, Float64]:
    """The picture's region on a fill, and the fill's region in the picture; pixels and fill [3,h,w], region [h,w]."""
    x, b, r = pixels.astype(np.float64), fill.astype(np.float64), region.astype(np.float64)
    return b + r * (x - b), x + r * (b - x)
