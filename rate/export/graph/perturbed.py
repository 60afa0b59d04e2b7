"""The exported module: perturbation in the graph, then the tower, then every head.

One graph serves every separable perturbation. `INPUTS` is its contract with the backends:

    pixels  f32 [i,3,h,w]   resident images, normalised
    slot    i64 [b]         resident image of each row
    grid    f32 [b,s,s]
    offset  i64 [b,2]       row of the table for y and for x
    table   f32 [t,h,s]
    a, b    f32 []          mask = a + b * (table[oy] @ grid @ table[ox]^T)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from rate.types import Float32

INPUTS = ("pixels", "slot", "grid", "offset", "table", "a", "b")


def dims(size: int) -> dict[str, tuple[str | int, ...]]:
    """Map each input name to its shape in a graph for ``size`` x ``size`` pixels; a string is a dynamic axis."""
    return {
        "pixels": ("I", 3, size, size),
        "slot": ("B",),
        "grid": ("B", "s", "s"),
        "offset": ("B", 2),
        "table": ("T", size, "s"),
        "a": (),
        "b": (),
    }


class Perturbed(nn.Module):
    """Tower and heads behind the perturbation; the outputs are logits [b,c] of each head, in order."""

    def __init__(self, tower: nn.Module, heads: Sequence[nn.Module]) -> None:
        super().__init__()
        self.tower = tower
        self.heads = nn.ModuleList(heads)

    def forward(
        self, pixels: Tensor, slot: Tensor, grid: Tensor, offset: Tensor, table: Tensor, a: Tensor, b: Tensor
    ) -> tuple[Tensor, ...]:
        """Compute the logits of `pixels[slot] * mask(grid, offset)`; the module's docstring has the shapes."""
        tall = table.index_select(0, offset[:, 0])
        wide = table.index_select(0, offset[:, 1])
        mask = a + b * (tall @ grid @ wide.transpose(1, 2))
        # index_select becomes a plain Gather along axis 0, which every runtime implements
        features = self.tower(pixels.index_select(0, slot) * mask[:, None])
        return tuple(head(features) for head in self.heads)


def sample_inputs(size: int) -> tuple[Tensor, ...]:
    """Make inputs for tracing: I, B, s and T differ from each other and from likely constants of a model."""
    images, rows, side, offsets = 5, 6, 11, 13
    return (
        torch.zeros(images, 3, size, size),
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
