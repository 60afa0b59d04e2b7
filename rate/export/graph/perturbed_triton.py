"""`Perturbed` for torch on a GPU, with the masked batch from one Triton kernel. It is run as it is, never exported.

Nothing picks it by itself: the form in the graph is the default until a GPU has shown which is faster.
"""

from __future__ import annotations

from torch import Tensor

from rate.export.graph.perturbed import Perturbed
from rate.kernels.triton.bound import bound
from rate.kernels.triton.perturb import perturb


class TritonPerturbed(Perturbed):
    """The same tower, heads, inputs and outputs as `Perturbed`; the batch is made in the tower's own precision."""

    def forward(
        self, pixels: Tensor, slot: Tensor, grid: Tensor, offset: Tensor, table: Tensor, a: Tensor, b: Tensor
    ) -> tuple[Tensor, ...]:
        """Logits of `pixels[slot] * mask(grid, offset)`; shapes as in `rate.export.graph.perturbed`.

        Raises:
            BackendError: a tensor has another shape or type, or is elsewhere.
        """
        precision = next((own.dtype for own in self.tower.parameters()), pixels.dtype)
        features = self.tower(perturb(pixels, slot, grid, offset, bound(table, a, b), precision))
        return tuple(head(features) for head in self.heads)
