"""Weighted sums of masks on the device of the weights, without ever writing a mask, and the mass inside a region.

A program holds a tile of up to `HEADS` maps in registers and goes over the masks in order. Masks are summed in groups,
each by programs of its own, and the groups of a fold one after the other: sums have one order, whatever the tiles.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from rate.kernels.triton.bound import Bound, check
from rate.kernels.triton.tile import FLOAT32, INT64, LAUNCH, check_device, current, mask_tile, tiles, tuned

HEADS = 4
"""Maps that a program sums at most at once; a mask is computed once for all of them."""

GROUP = 64
"""Masks of a fold that one program sums."""

_BLOCK = 1024  # pixels of a map that a program of `mass` reads at once


@triton.jit
def fold_kernel(
    weights: tl.tensor,
    grid: tl.tensor,
    offset: tl.tensor,
    starts: tl.tensor,
    reach: tl.tensor,
    a: tl.tensor,
    b: tl.tensor,
    maps: tl.tensor,
    heads: tl.tensor,
    count: tl.tensor,
    size: tl.tensor,
    side: tl.tensor,
    SIDE: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_Y: tl.constexpr,
    BLOCK_X: tl.constexpr,
) -> None:
    """One tile of up to BLOCK_K maps of one group. Parameters as in `perturb_kernel`."""
    tile, group = tl.program_id(0), tl.program_id(1)
    across = tl.cdiv(size, BLOCK_X)
    ys = tile // across * BLOCK_Y + tl.arange(0, BLOCK_Y)
    xs = tile % across * BLOCK_X + tl.arange(0, BLOCK_X)
    ks = tl.program_id(2) * BLOCK_K + tl.arange(0, BLOCK_K)
    constant, factor = tl.load(a), tl.load(b)
    total = tl.zeros((BLOCK_K, BLOCK_Y, BLOCK_X), tl.float32)
    for n in range(tl.load(starts + group), tl.load(starts + group + 1)):
        tall = reach + tl.load(offset + 2 * n) * size * side
        wide = reach + tl.load(offset + 2 * n + 1) * size * side
        mask = constant + factor * mask_tile(grid + n * side * side, tall, wide, ys, xs, size, side, SIDE)
        weight = tl.load(weights + ks.to(tl.int64) * count + n, mask=ks < heads, other=0.0)
        total += weight[:, None, None] * mask[None, :, :]
    at = (ks.to(tl.int64) * tl.num_programs(1) + group)[:, None, None] * size * size
    inside = (ks < heads)[:, None, None] & (ys < size)[None, :, None] & (xs < size)[None, None, :]
    tl.store(maps + at + ys[None, :, None] * size + xs[None, None, :], total, mask=inside)


@triton.jit
def mass_kernel(
    maps: tl.tensor,
    region: tl.tensor,
    inside: tl.tensor,
    total: tl.tensor,
    groups: tl.tensor,
    pixels: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    """One map, from its first pixel to its last."""
    row = tl.program_id(0).to(tl.int64)
    own = region + row % groups * pixels
    within, everywhere = tl.zeros((BLOCK,), tl.float32), tl.zeros((BLOCK,), tl.float32)
    for start in range(0, pixels, BLOCK):
        at = start + tl.arange(0, BLOCK)
        positive = tl.maximum(tl.load(maps + row * pixels + at, mask=at < pixels, other=0.0), 0.0)
        everywhere += positive
        within += tl.where(tl.load(own + at, mask=at < pixels, other=0) != 0, positive, 0.0)
    tl.store(inside + row, tl.sum(within, axis=0))
    tl.store(total + row, tl.sum(everywhere, axis=0))


_tuned = tuned(fold_kernel, ["size", "side", "BLOCK_K"])


def fold(weights: Tensor, grid: Tensor, offset: Tensor, bound: Bound) -> Tensor:
    """Weighted sum of masks: out[k] = sum_n weights[k,n] * M_n, in f32.

    Args:
        weights: f32 [k,n] any finite values.
        grid: f32 [n,s,s] the masks' grids.
        offset: i64 [n,2] rows of the table for y and for x, in [0, t); trusted.
        bound: the family the masks belong to, on the device of the rest.

    Returns:
        f32 [k,h,w].

    Raises:
        BackendError: a tensor has another shape or type, or is elsewhere.
    """
    count = len(grid)
    groups = triton.cdiv(count, GROUP)
    starts = (torch.arange(groups + 1, device=weights.device) * GROUP).clamp(max=count)
    return fold_groups(weights, grid, offset, starts, bound).sum(dim=1)


def fold_groups(weights: Tensor, grid: Tensor, offset: Tensor, starts: Tensor, bound: Bound) -> Tensor:
    """`fold` of several groups of masks at once: out[k,g] = sum of weights[k,n] * M_n for starts[g] <= n < starts[g+1].

    Args:
        weights: f32 [k,n]; ``grid``, ``offset``, ``bound`` as in `fold`.
        starts: i64 [g+1] ascending, within [0, n]; trusted. A group may be empty: its maps are 0.

    Returns:
        f32 [k,g,h,w].

    Raises:
        BackendError: a tensor has another shape or type, or is elsewhere.
    """
    check_device(weights.device)
    (heads, count), size, side, groups = weights.shape, bound.size, bound.side, len(starts) - 1
    tensors = {"weights": weights, "grid": grid, "offset": offset, "starts": starts} | bound._asdict()
    forms = {
        "weights": ((heads, count), FLOAT32),
        "grid": ((count, side, side), FLOAT32),
        "offset": ((count, 2), INT64),
        "starts": ((groups + 1,), INT64),
        "reach": ((len(bound.reach), side, size), FLOAT32),
        "a": ((), FLOAT32),
        "b": ((), FLOAT32),
    }
    check(tensors, forms, weights.device)
    maps = torch.empty((heads, groups, size, size), dtype=torch.float32, device=weights.device)
    block = min(HEADS, triton.next_power_of_2(heads))
    constants = {"SIDE": triton.next_power_of_2(side), "BLOCK_K": block, **LAUNCH}
    if maps.numel():
        with current(weights.device):
            _tuned[lambda shape: (tiles(size, shape), groups, triton.cdiv(heads, block))](
                weights, grid, offset, starts, *bound, maps, heads, count, size, side, **constants
            )
    return maps


def mass(maps: Tensor, region: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of the positive part of each map inside its region, and everywhere; their ratio is the relevance mass.

    Args:
        maps: f32 [k,h,w] or [k,g,h,w].
        region: bool of the shape of one head's maps, [h,w] or [g,h,w].

    Returns:
        Inside and everywhere, each f32 [k] or [k,g]; both 0 where there is no evidence.

    Raises:
        BackendError: a tensor has another shape or type, or is elsewhere.
    """
    check_device(maps.device)
    forms = {"maps": (tuple(maps.shape), FLOAT32), "region": (tuple(maps.shape[1:]), (torch.bool,))}
    check({"maps": maps, "region": region}, forms, maps.device)
    inside, total = (torch.zeros(maps.shape[:-2], dtype=torch.float32, device=maps.device) for _ in range(2))
    pixels = maps.shape[-2] * maps.shape[-1]
    if maps.numel():
        with current(maps.device):
            mass_kernel[(inside.numel(),)](
                maps, region.view(torch.uint8), inside, total, region.numel() // pixels, pixels, BLOCK=_BLOCK, **LAUNCH
            )
    return inside, total
