"""The kernels compile for real GPUs, which needs none, and say what is missing where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from rate.errors import BackendError
from rate.kernels.separable import rise
from rate.kernels.triton.bound import bind
from rate.kernels.triton.fold import fold_kernel, mass_kernel
from rate.kernels.triton.perturb import perturb, perturb_kernel
from rate.kernels.triton.tile import LAUNCH, TILES

FAMILY = {"reach": "*fp32", "a": "*fp32", "b": "*fp32"}
MASKS = {"grid": "*fp32", "offset": "*i64"}
IMAGE = {"size": "i32", "side": "i32"}
BLOCK_Y, BLOCK_X, WARPS = max(TILES, key=lambda tile: tile[0] * tile[1])
TILE = {"SIDE": 8, "BLOCK_Y": BLOCK_Y, "BLOCK_X": BLOCK_X}

KERNELS = {
    "perturb-fp16": (
        perturb_kernel,
        {"pixels": "*fp32", "slot": "*i64", **MASKS, **FAMILY, "out": "*fp16", **IMAGE},
        TILE,
    ),
    "perturb-bf16": (
        perturb_kernel,
        {"pixels": "*bf16", "slot": "*i64", **MASKS, **FAMILY, "out": "*bf16", **IMAGE},
        TILE,
    ),
    "fold": (
        fold_kernel,
        {
            "weights": "*fp32",
            **MASKS,
            "starts": "*i64",
            **FAMILY,
            "maps": "*fp32",
            "heads": "i32",
            "count": "i32",
            **IMAGE,
        },
        {**TILE, "BLOCK_K": 4},
    ),
    "mass": (
        mass_kernel,
        {"maps": "*fp32", "region": "*u8", "inside": "*fp32", "total": "*fp32", "groups": "i32", "pixels": "i32"},
        {"BLOCK": 1024},
    ),
}


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_compiles(name: str, capability: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel, signature, constants = KERNELS[name]
    source = ASTSource(kernel, signature | dict.fromkeys(constants, "constexpr"), constants)
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": WARPS, **LAUNCH})
    assert made.metadata.shared <= 48 << 10  # what a block of any of these GPUs has without asking
    assert made.asm["cubin"]
    assert "atom" not in made.asm["ptx"]  # an atomic sum would have no order


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_the_message_has_the_cure() -> None:
    pixels, slot = torch.zeros((1, 3, 4, 4)), torch.zeros(1, dtype=torch.int64)
    grid, offset = torch.zeros((1, 2, 2)), torch.zeros((1, 2), dtype=torch.int64)
    with pytest.raises(BackendError, match=r"run on a CUDA device, got tensors on cpu.*TRITON_INTERPRET=1"):
        perturb(pixels, slot, grid, offset, bind(rise(4, 2), "cpu"), torch.float16)
