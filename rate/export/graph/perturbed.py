"""The exported module: perturbation in the graph, then the tower, then every head.

One graph serves every separable perturbation, every fill, and the swap of a region. Its contract with the backends:

    pixels  u8  [i,3,h,w]   levels of the resident pictures
    zero    f32 [i,3]       level that the tower sees as 0
    scale   f32 [i,3]       what it sees of one level
    region  u8  [i,h,w]     weight of each pixel of a picture's region, in 255ths
    slot    i64 [b]         resident image of each row
    fill    i64 [b]         resident image that stands where a pixel is hidden
    side    i64 [b]         0 = the mask of the grid, 1 = inside the region of the slot, 2 = outside it
    grid    f32 [b,s,s]
    offset  i64 [b,2]       row of the table for y and for x
    table   f32 [t,h,s]
    a, b    f32 []          mask of the grid = a + b * (table[oy] @ grid @ table[ox]^T)

With ``picture = (pixels - zero) * scale`` the tower sees ``mask * picture[slot] + (1 - mask) * picture[fill]``: exactly
the image where its mask is 1, and exactly the fill where it is 0. Pixels are gathered first and converted
then, so that a runtime touches those of the rows alone and not all resident ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from rate.types import Float32

SIDES = ((1.0, 0.0, 0.0), (0.0, 1.0, -1.0), (0.0, 0.0, 1.0))
"""The weights of the grid's mask, of the region and of 1 in the mask of a row, each by the row's side."""


def dims(size: int) -> dict[str, tuple[str | int, ...]]:
    """Map each input name to its shape in a graph for ``size`` x ``size`` pixels; a string is a dynamic axis."""
    return {
        "pixels": ("I", 3, size, size),
        "zero": ("I", 3),
        "scale": ("I", 3),
        "region": ("I", size, size),
        "slot": ("B",),
        "fill": ("B",),
        "side": ("B",),
        "grid": ("B", "s", "s"),
        "offset": ("B", 2),
        "table": ("T", size, "s"),
        "a": (),
        "b": (),
    }


BYTES = ("pixels", "region")
"""The inputs that are unsigned 8-bit integers."""


def seen(pixels: Tensor, zero: Tensor, scale: Tensor) -> Tensor:
    """Convert levels [n,3,h,w] of pictures to what a tower sees of them; zero and scale are [n,3]."""
    return (pixels.float() - zero[:, :, None, None]) * scale[:, :, None, None]


class Perturbed(nn.Module):
    """Tower and heads behind the perturbation; the outputs are logits [b,c] of each head, in order."""

    sides: Tensor

    def __init__(self, tower: nn.Module, heads: Sequence[nn.Module]) -> None:
        super().__init__()
        self.tower = tower
        self.heads = nn.ModuleList(heads)
        self.register_buffer("sides", torch.tensor(SIDES), persistent=False)

    def forward(
        self,
        pixels: Tensor,
        zero: Tensor,
        scale: Tensor,
        region: Tensor,
        slot: Tensor,
        fill: Tensor,
        side: Tensor,
        grid: Tensor,
        offset: Tensor,
        table: Tensor,
        a: Tensor,
        b: Tensor,
    ) -> tuple[Tensor, ...]:
        """Compute the logits; the module's docstring has the shapes."""
        # tells the exporter that these axes are one
        assert region.shape[0] == zero.shape[0] == scale.shape[0] == pixels.shape[0]
        # index_select becomes a plain Gather along axis 0, which every runtime implements
        tall = table.index_select(0, offset[:, 0])
        wide = table.index_select(0, offset[:, 1])
        of_grid, of_region, of_one = (weights.index_select(0, side)[:, None, None] for weights in self.sides)
        # The side weighs the small grid instead of the full-size mask.
        mask = (of_grid * a + of_one) + b * (tall @ (of_grid * grid) @ wide.transpose(1, 2))
        mask = (mask + of_region * (region.index_select(0, slot).float() / 255.0))[:, None]
        image, other = (seen(*(one.index_select(0, at) for one in (pixels, zero, scale))) for at in (slot, fill))
        features = self.tower(mask * image + (1.0 - mask) * other)
        return tuple(head(features) for head in self.heads)


def sample_inputs(size: int) -> tuple[Tensor, ...]:
    """Make inputs for tracing: I, B, s and T differ from each other and from likely constants of a model."""
    images, rows, side, offsets = 5, 6, 11, 13
    return (
        torch.zeros(images, 3, size, size, dtype=torch.uint8),
        torch.zeros(images, 3),
        torch.ones(images, 3),
        torch.zeros(images, size, size, dtype=torch.uint8),
        torch.zeros(rows, dtype=torch.int64),
        torch.zeros(rows, dtype=torch.int64),
        torch.zeros(rows, dtype=torch.int64),
        torch.ones(rows, side, side),
        torch.zeros(rows, 2, dtype=torch.int64),
        torch.ones(offsets, size, side) / side,
        torch.tensor(0.0),
        torch.tensor(1.0),
    )


def bare_logits(tower: nn.Module, heads: Mapping[str, nn.Module], images: Float32) -> dict[str, Float32]:
    """Compute logits [b,c] of each head for pixels [b,3,h,w] without perturbation, the reference of an export.

    Matrix products are in f32, independent of global settings.
    """
    allowed = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.inference_mode():
            features = tower(torch.from_numpy(images))
            return {name: head(features).numpy() for name, head in heads.items()}
    finally:
        torch.set_float32_matmul_precision(allowed)
