"""Images behind their masks, in one pass over memory: no mask of full size is ever written."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from rate.kernels.triton.bound import Bound, check
from rate.kernels.triton.tile import FLOAT32, FLOATS, INT64, LAUNCH, check_device, current, mask_tile, tiles, tuned


@triton.jit
def perturb_kernel(
    pixels: tl.tensor,
    slot: tl.tensor,
    grid: tl.tensor,
    offset: tl.tensor,
    reach: tl.tensor,
    a: tl.tensor,
    b: tl.tensor,
    out: tl.tensor,
    size: tl.tensor,
    side: tl.tensor,
    SIDE: tl.constexpr,
    BLOCK_Y: tl.constexpr,
    BLOCK_X: tl.constexpr,
) -> None:
    """One tile of one row, all three channels. Parameters are addresses, then sizes, then compile-time constants."""
    row = tl.program_id(0).to(tl.int64)  # a batch may hold more than 2^31 numbers
    tile = tl.program_id(1)
    across = tl.cdiv(size, BLOCK_X)
    ys = tile // across * BLOCK_Y + tl.arange(0, BLOCK_Y)
    xs = tile % across * BLOCK_X + tl.arange(0, BLOCK_X)
    tall = reach + tl.load(offset + 2 * row) * size * side
    wide = reach + tl.load(offset + 2 * row + 1) * size * side
    values = mask_tile(grid + row * side * side, tall, wide, ys, xs, size, side, SIDE)
    mask = tl.load(a) + tl.load(b) * values
    plane = size * size
    at = ys[:, None] * size + xs[None, :]
    inside = (ys[:, None] < size) & (xs[None, :] < size)
    image = pixels + tl.load(slot + row) * 3 * plane
    for channel in tl.static_range(3):
        value = tl.load(image + channel * plane + at, mask=inside, other=0.0).to(tl.float32)
        masked = (value * mask).to(out.dtype.element_ty)
        tl.store(out + (3 * row + channel) * plane + at, masked, mask=inside)


_tuned = tuned(perturb_kernel, ["size", "side"])


def perturb(pixels: Tensor, slot: Tensor, grid: Tensor, offset: Tensor, bound: Bound, dtype: torch.dtype) -> Tensor:
    """Masked images: out[b] = pixels[slot[b]] * M_b, computed in f32 and rounded once.

    Args:
        pixels: f32, fp16 or bf16 [i,3,h,w] resident images, normalised; square.
        slot: i64 [b] resident image of each row, in [0, i).
        grid: f32 [b,s,s] the masks' grids.
        offset: i64 [b,2] rows of the table for y and for x, in [0, t).
        bound: the family the masks belong to, on the device of the rest.
        dtype: of the result: f32, fp16 or bf16.

    Values of ``slot`` and ``offset`` are trusted: reading them back would wait for the device.

    Returns:
        [b,3,h,w].

    Raises:
        BackendError: a tensor has another shape or type, or is elsewhere.
    """
    check_device(pixels.device)
    size, side, count = bound.size, bound.side, len(slot)
    tensors = {"pixels": pixels, "slot": slot, "grid": grid, "offset": offset} | bound._asdict()
    forms = {
        "pixels": ((len(pixels), 3, size, size), FLOATS),
        "slot": ((count,), INT64),
        "grid": ((count, side, side), FLOAT32),
        "offset": ((count, 2), INT64),
        "reach": ((len(bound.reach), side, size), FLOAT32),
        "a": ((), FLOAT32),
        "b": ((), FLOAT32),
    }
    check(tensors, forms, pixels.device)
    out = torch.empty((count, 3, size, size), dtype=dtype, device=pixels.device)
    if count:
        with current(pixels.device):
            _tuned[lambda shape: (count, tiles(size, shape))](
                pixels, slot, grid, offset, *bound, out, size, side, SIDE=triton.next_power_of_2(side), **LAUNCH
            )
    return out
