"""The part of a mask that one program holds in registers, and how a kernel over such parts is launched."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import triton
import triton.language as tl

from rate.errors import BackendError

INT64, FLOAT32 = (torch.int64,), (torch.float32,)
FLOATS = (torch.float32, torch.float16, torch.bfloat16)

# (BLOCK_Y, BLOCK_X, warps): wide rather than tall, since neighbours along x are neighbours in memory
TILES = ((16, 64, 4), (8, 128, 4), (16, 128, 4), (16, 128, 8), (32, 64, 8), (4, 256, 4))


@triton.jit
def mask_tile(
    grid: tl.tensor,
    tall: tl.tensor,
    wide: tl.tensor,
    ys: tl.tensor,
    xs: tl.tensor,
    size: tl.tensor,
    side: tl.tensor,
    SIDE: tl.constexpr,
) -> tl.tensor:
    """T_y @ grid @ T_x^T at the pixels ys x xs, f32; 0 beyond the image.

    Args:
        grid: address of a grid [s,s].
        tall: address of the weights [s,h] for y; ``wide``: for x.
        ys: rows of the tile; ``xs``: its columns.
        size: side of the image; ``side``: of the grid; ``SIDE``: the power of two above it.
    """
    cells = tl.arange(0, SIDE)
    used = cells < side
    rows = tl.load(
        tall + cells[None, :] * size + ys[:, None], mask=(ys[:, None] < size) & used[None, :], other=0.0
    )  # [BLOCK_Y,SIDE]
    values = tl.zeros((ys.shape[0], xs.shape[0]), tl.float32)
    for j in range(side):
        column = tl.load(grid + cells * side + j, mask=used, other=0.0)
        reach = tl.load(wide + j * size + xs, mask=xs < size, other=0.0)
        values += tl.sum(rows * column[None, :], axis=1)[:, None] * reach[None, :]
    return values


LAUNCH = {"enable_fp_fusion": True}
"""Said aloud, since Triton 3.9 warns where it is not and 3.10 is to change it; the interpreter takes no notice."""

INTERPRETED = not isinstance(mask_tile, triton.JITFunction)
"""Whether kernels run on the CPU here, in Triton's interpreter."""


def tuned(kernel: Any, key: list[str]) -> Any:
    """``kernel`` with the fastest of `TILES` for each value of ``key``; with the first in the interpreter.

    The first launch on a device tries them all, so it belongs outside a CUDA graph and outside what is timed. No shape
    changes a result: every pixel is computed by one program, in one order.
    """
    shapes = TILES[:1] if INTERPRETED else TILES
    configs = [triton.Config({"BLOCK_Y": y, "BLOCK_X": x}, num_warps=warps) for y, x, warps in shapes]
    return triton.autotune(configs=configs, key=key)(kernel)


def tiles(size: int, shape: dict[str, int]) -> int:
    """Programs that cover an image of ``size`` x ``size`` pixels."""
    return int(triton.cdiv(size, shape["BLOCK_Y"]) * triton.cdiv(size, shape["BLOCK_X"]))


def current(device: torch.device) -> AbstractContextManager[object]:
    """Triton launches on torch's current device, which is not always that of the tensors."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def check_device(device: torch.device) -> None:
    """Refuse a device that kernels cannot run on.

    Raises:
        BackendError: the tensors are in host memory and kernels are compiled.
    """
    if device.type != "cuda" and not INTERPRETED:
        raise BackendError(
            f"Triton kernels run on a CUDA device, got tensors on {device}; move them there, or set TRITON_INTERPRET=1 "
            "before Triton is imported to run them slowly on the CPU"
        )
