"""The kernel that masks images equals the oracle, whatever the size, the family, the precision and the tile."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import triton
from hypothesis import given, settings
from hypothesis import strategies as st
from triton_cases import DEVICE, EPS32, FAMILIES, SMALL, draw, on_device

from rate.errors import BackendError
from rate.kernels import reference
from rate.kernels.separable import rise
from rate.kernels.triton import perturb as module
from rate.kernels.triton.bound import bind
from rate.kernels.triton.perturb import perturb, perturb_kernel
from rate.kernels.triton.tile import TILES

FLOATS = [torch.float32, torch.float16, torch.bfloat16]


def batch(perturbation, count: int, images: int = 2, seed: int = 0):
    rng = np.random.default_rng(seed + 1)
    pixels = rng.normal(size=(images, 3, perturbation.size, perturbation.size)).astype(np.float32)
    return pixels, rng.integers(0, images, count), draw(perturbation, count, seed)


def check(perturbation, pixels: torch.Tensor, slot, drawn, dtype: torch.dtype) -> None:
    found = perturb(pixels, on_device(slot), *drawn.tensors, bind(perturbation, DEVICE), dtype)
    stored = pixels.double().cpu().numpy()
    expected = reference.perturb(stored, slot, drawn.grid, drawn.offset, perturbation)
    assert found.dtype == dtype
    # The result is rounded once, to within one unit in its last place (the interpreter cuts bf16 instead of rounding);
    # the sums of the mask are f32 over s * s cells.
    slack = 8 * EPS32 * np.abs(stored).max() * np.abs(drawn.grid).sum(axis=(1, 2)).max()
    np.testing.assert_allclose(found.double().cpu().numpy(), expected, rtol=torch.finfo(dtype).eps, atol=slack)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_masked_images_equal_the_oracle(family: str, dtype: torch.dtype) -> None:
    pixels, slot, drawn = batch(FAMILIES[family], count=2)
    check(FAMILIES[family], on_device(pixels), slot, drawn, dtype)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_resident_images_may_be_of_any_precision(dtype: torch.dtype) -> None:
    pixels, slot, drawn = batch(SMALL, count=2)
    check(SMALL, on_device(pixels).to(dtype), slot, drawn, torch.float32)


def test_one_row_of_a_common_size() -> None:
    pixels, slot, drawn = batch(rise(224, 7), count=1, images=1)
    check(rise(224, 7), on_device(pixels), slot, drawn, torch.float16)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    size=st.integers(2, 40),
    side=st.integers(2, 9),
    count=st.integers(1, 4),
    images=st.integers(1, 3),
    dtype=st.sampled_from(FLOATS),
)
def test_any_shape(size: int, side: int, count: int, images: int, dtype: torch.dtype) -> None:
    perturbation = rise(size, min(size, side))
    pixels, slot, drawn = batch(perturbation, count, images, seed=size)
    check(perturbation, on_device(pixels), slot, drawn, dtype)


def test_no_tile_changes_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, slot, drawn = batch(SMALL, count=2)
    inputs = (on_device(pixels), on_device(slot), *drawn.tensors, bind(SMALL, DEVICE), torch.float32)
    first = perturb(*inputs)
    for y, x, _ in TILES:
        one = triton.autotune(configs=[triton.Config({"BLOCK_Y": y, "BLOCK_X": x})], key=[])(perturb_kernel)
        monkeypatch.setattr(module, "_tuned", one)
        assert torch.equal(perturb(*inputs), first), (y, x)


def test_a_row_does_not_depend_on_the_others() -> None:
    pixels, slot, drawn = batch(SMALL, count=4)
    grid, offset = drawn.tensors
    family, images = bind(SMALL, DEVICE), on_device(pixels)
    together = perturb(images, on_device(slot), grid, offset, family, torch.float16)
    for k in range(4):
        rows = slice(k, k + 1)
        alone = perturb(images, on_device(slot[rows]), grid[rows], offset[rows], family, torch.float16)
        assert torch.equal(alone[0], together[k])


def test_the_clean_grid_changes_nothing_and_no_rows_are_no_images() -> None:
    for perturbation in (SMALL, FAMILIES["occlusion"]):
        pixels = batch(perturbation, count=1, images=1)[0]
        grid, offset = on_device(perturbation.clean[None]), torch.zeros((1, 2), dtype=torch.int64, device=DEVICE)
        family, slot = bind(perturbation, DEVICE), torch.zeros(1, dtype=torch.int64, device=DEVICE)
        found = perturb(on_device(pixels), slot, grid, offset, family, torch.float32)
        np.testing.assert_allclose(found.cpu().numpy(), pixels, rtol=4 * EPS32)
        none = perturb(on_device(pixels), slot[:0], grid[:0], offset[:0], family, torch.bfloat16)
        assert none.shape == (0, 3, perturbation.size, perturbation.size)


def test_what_the_kernel_would_misread_is_refused() -> None:
    pixels, slot, drawn = batch(FAMILIES["side-2"], count=2)
    grid, offset = drawn.tensors
    family = bind(FAMILIES["side-2"], DEVICE)
    good = {"pixels": on_device(pixels), "slot": on_device(slot), "grid": grid, "offset": offset, "bound": family}
    wrong = {
        "slot": good["slot"].int(),
        "grid": grid[:1],
        "offset": offset.T.contiguous().T,
        "pixels": good["pixels"][..., :7],
    }
    for name, tensor in wrong.items():
        with pytest.raises(BackendError, match=f"^{name} must be contiguous .*malformed"):
            perturb(**(good | {name: tensor}), dtype=torch.float16)
