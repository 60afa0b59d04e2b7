"""The token form of a vision transformer: hidden patches are dropped behind the position embedding, not painted over.

A forward then costs what its kept patches cost, and the model never sees squares of the mean colour, which it takes for
an object of its own ("missingness bias", Jain et al. 2022). The graph's contract with the backends:

    pixels  f32 [i,3,h,w]   resident images, normalised; each is embedded once a batch, whatever its rows
    slot    i64 [b]         resident image of each row
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

from rate.export.graph.perturbed import bare_logits
from rate.types import Float32, Rows


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """Where a tower can drop patches: the output of one of its modules, [b,prefix + side * side,d]."""

    owner: nn.Module
    name: str  # of the module in its owner; it does nothing in eval mode
    prefix: int  # class, register and distillation tokens: first, and always kept
    side: int  # patches a side

    @contextmanager
    def replaced(self, module: nn.Module) -> Iterator[None]:
        """Put ``module`` in the place of the cut for as long as the block runs."""
        before = getattr(self.owner, self.name)
        setattr(self.owner, self.name, module)
        try:
            yield
        finally:
            setattr(self.owner, self.name, before)

    @contextmanager
    def changed(self, change: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
        """Let ``change`` turn the tokens [b,n,d] into others for as long as the block runs; None leaves them."""
        hook = getattr(self.owner, self.name).register_forward_hook(lambda module, given, tokens: change(tokens))
        try:
            yield
        finally:
            hook.remove()


class _Gather(nn.Module):
    """Tokens of the resident images [i,n,d] to the kept tokens of the rows [b,prefix + k,d]: one Gather."""

    def __init__(self, prefix: int) -> None:
        super().__init__()
        self.prefix = prefix
        self.wanted: list[Tensor] = []  # slot, kept: of the forward that runs

    def forward(self, tokens: Tensor) -> Tensor:
        slot, kept = self.wanted
        _, count, width = tokens.shape
        first = torch.arange(self.prefix).expand(kept.shape[0], -1)
        index = torch.cat([first, kept + self.prefix], dim=1) + (slot * count)[:, None]
        return nn.functional.embedding(index, tokens.reshape(-1, width))


class TokenForm(nn.Module):
    """Tower and heads on the kept patches; logits [b,c] of each head, in order. Only within `Cut.replaced`."""

    def __init__(self, tower: nn.Module, heads: Sequence[nn.Module], cut: Cut) -> None:
        super().__init__()
        self.gather = _Gather(cut.prefix)
        self.tower = tower
        self.heads = nn.ModuleList(heads)

    def forward(self, pixels: Tensor, slot: Tensor, kept: Tensor) -> tuple[Tensor, ...]:
        """Shapes as in the module's docstring. The tower starts with i images and goes on with b rows."""
        self.gather.wanted[:] = [slot, kept]
        features = self.tower(pixels)
        self.gather.wanted.clear()
        return tuple(head(features) for head in self.heads)


def dims(size: int) -> dict[str, tuple[str | int, ...]]:
    """Input name -> its shape in a token graph for ``size`` x ``size`` pixels; a string is a dynamic axis."""
    return {"pixels": ("I", 3, size, size), "slot": ("B",), "kept": ("B", "K")}


def sample_inputs(size: int) -> tuple[Tensor, ...]:
    """Inputs to trace with: I, B and K differ from each other."""
    images, rows, kept = 5, 6, 3
    return (
        torch.zeros(images, 3, size, size),
        torch.zeros(rows, dtype=torch.int64),
        torch.arange(kept).expand(rows, -1).contiguous(),
    )


def dropped_logits(
    tower: nn.Module, heads: Mapping[str, nn.Module], cut: Cut, images: Float32, rows: Rows
) -> dict[str, Float32]:
    """Logits [b,c] of each head, row by row, tokens dropped from the source model by a boolean mask: the slow form.

    Args:
        tower: pixels [b,3,h,w] -> features [b,d].
        heads: name -> module.
        cut: of the tower.
        images: [i,3,h,w].
        rows: grids [b,side,side] hold the kept patches.
    """
    found: list[dict[str, Float32]] = []
    for slot, grid in zip(rows.slot, rows.grid, strict=True):
        keep = torch.from_numpy(np.concatenate([np.ones(cut.prefix, np.bool_), grid.ravel() > 0]))
        with cut.changed(partial(_only, keep=keep)):
            found.append(bare_logits(tower, heads, images[slot : slot + 1]))
    return {name: np.concatenate([one[name] for one in found]) for name in heads}


def _only(tokens: Tensor, keep: Tensor) -> Tensor:
    return tokens[:, keep]
