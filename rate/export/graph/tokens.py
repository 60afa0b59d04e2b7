"""The token form of a vision transformer: hidden patches are dropped after the position embedding.

The cost of a forward is then that of its kept patches, and the model does not see squares of the mean colour, which it
would take for an object ("missingness bias", Jain et al. 2022). The graph's contract with the backends:

    pixels  u8  [i,3,h,w]   levels of the pictures in slots; each is embedded once per batch
    zero    f32 [i,3]       level that the tower sees as 0
    scale   f32 [i,3]       what it sees of one level
    slot    i64 [b]         image slot of each row
    kept    i64 [b,k]       kept patches of each row, row-major, ascending; k is the same for the whole batch
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from rate.export.graph.perturbed import bare_logits, seen
from rate.types import Float32, Rows


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """The place at which a tower can drop patches: the output of one of its modules, [b,prefix + side * side,d]."""

    owner: nn.Module
    name: str  # name of the module in its owner; the module must do nothing in eval mode
    prefix: int  # number of class, register and distillation tokens, which come first and are always kept
    side: int  # patches per side

    @contextmanager
    def replaced(self, module: nn.Module) -> Iterator[None]:
        """Replace the module at the cut with ``module`` while the block runs."""
        before = getattr(self.owner, self.name)
        setattr(self.owner, self.name, module)
        try:
            yield
        finally:
            setattr(self.owner, self.name, before)

    @contextmanager
    def changed(self, change: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
        """Apply ``change`` to the tokens [b,n,d] while the block runs; a result of None leaves them unchanged."""
        hook = getattr(self.owner, self.name).register_forward_hook(lambda module, given, tokens: change(tokens))
        try:
            yield
        finally:
            hook.remove()


class _Gather(nn.Module):
    """One Gather from the tokens of the images [i,n,d] to the kept tokens of the rows [b,prefix + k,d]."""

    def __init__(self, prefix: int) -> None:
        super().__init__()
        self.prefix = prefix
        self.wanted: list[Tensor] = []  # slot and kept of the current forward

    def forward(self, tokens: Tensor) -> Tensor:
        """Gather the tokens of each row; `wanted` says which."""
        slot, kept = self.wanted
        _, count, width = tokens.shape
        first = torch.arange(self.prefix).expand(kept.shape[0], -1)
        index = torch.cat([first, kept + self.prefix], dim=1) + (slot * count)[:, None]
        return nn.functional.embedding(index, tokens.reshape(-1, width))


class TokenForm(nn.Module):
    """Tower and heads on the kept patches; logits [b,c] of each head, in order. It works within `Cut.replaced` only."""

    def __init__(self, tower: nn.Module, heads: Sequence[nn.Module], cut: Cut) -> None:
        super().__init__()
        self.gather = _Gather(cut.prefix)
        self.tower = tower
        self.heads = nn.ModuleList(heads)

    def forward(self, pixels: Tensor, zero: Tensor, scale: Tensor, slot: Tensor, kept: Tensor) -> tuple[Tensor, ...]:
        """Compute the logits. The tower starts with i images and continues with b rows."""
        assert zero.shape[0] == scale.shape[0] == pixels.shape[0]  # tells the exporter that these axes are one
        self.gather.wanted[:] = [slot, kept]
        features = self.tower(seen(pixels, zero, scale))
        self.gather.wanted.clear()
        return tuple(head(features) for head in self.heads)


def dims(size: int) -> dict[str, tuple[str | int, ...]]:
    """Map each input name to its shape in a token graph for ``size`` x ``size`` pixels; a string is a dynamic axis."""
    return {"pixels": ("I", 3, size, size), "zero": ("I", 3), "scale": ("I", 3), "slot": ("B",), "kept": ("B", "K")}


def sample_inputs(size: int) -> tuple[Tensor, ...]:
    """Make inputs for tracing: I, B and K differ from each other."""
    images, rows, kept = 5, 6, 3
    return (
        torch.zeros(images, 3, size, size, dtype=torch.uint8),
        torch.zeros(images, 3),
        torch.ones(images, 3),
        torch.zeros(rows, dtype=torch.int64),
        torch.arange(kept).expand(rows, -1).contiguous(),
    )


def dropped_logits(
    tower: nn.Module, heads: Mapping[str, nn.Module], cut: Cut, images: Float32, rows: Rows
) -> dict[str, Float32]:
    """Compute logits [b,c] of each head row by row; a boolean mask drops tokens in the source model.

    This is the slow form.

    Args:
        tower: pixels [b,3,h,w] -> features [b,d].
        heads: name -> module.
        cut: the cut of the tower.
        images: [i,3,h,w].
        rows: grids [b,side,side] hold the kept patches.
    """
    logits: list[dict[str, Float32]] = []
    for slot, grid in zip(rows.slot, rows.grid, strict=True):
        keep = torch.from_numpy(np.concatenate([np.ones(cut.prefix, np.bool_), grid.ravel() > 0]))
        with cut.changed(partial(_only, keep=keep)):
            logits.append(bare_logits(tower, heads, images[slot : slot + 1]))
    return {name: np.concatenate([one[name] for one in logits]) for name in heads}


def _only(tokens: Tensor, keep: Tensor) -> Tensor:
    return tokens[:, keep]
