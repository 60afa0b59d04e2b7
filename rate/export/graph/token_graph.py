"""The token form of a source: the export of a torch tower to `tokens.onnx`, and the logits that it must reproduce."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rate.backends.base import Logits
from rate.errors import UsageError
from rate.export.graph.share_weights import share_weights
from rate.export.sources.source_model import Source, SourceModel
from rate.types import Float32, Rows

if TYPE_CHECKING:
    from rate.export.graph.tokens import Cut


@dataclass(frozen=True, eq=False)
class TokenSource:
    """A plain vision transformer with its heads, and the place at which it drops patches."""

    model: SourceModel
    cut: Cut

    @property
    def patches(self) -> int:
        """The number of patches per side."""
        return self.cut.side

    def write_graph(self, path: Path, pixels: Path) -> None:
        """Write the token graph to ``path``; it shares the weights that the graph ``pixels`` in that folder stores.

        Raises:
            RateError: the model cannot be exported with dynamic axes.
        """
        from rate.export.graph.torch_to_onnx import export_tokens

        heads = {head.output: head.module for head in self.model.heads}
        export_tokens(self.model.tower, heads, self.cut, self.model.geometry.size, path)
        share_weights(path, pixels)

    def logits(self, images: Float32, rows: Rows) -> Logits:
        """Compute logits [b,c] per head of the torch model on the kept patches of ``rows``, one row at a time."""
        from rate.export.graph.tokens import dropped_logits

        heads = {head.name: head.module for head in self.model.heads}
        return dropped_logits(self.model.tower, heads, self.cut, images, rows)


def token_source(model: Source) -> TokenSource:
    """Make the token form of ``model``.

    Raises:
        UsageError: it is no plain vision transformer, or not in torch.
    """
    if not isinstance(model, SourceModel):
        raise UsageError(
            f"--tokens: {model.source} is a finished graph, in which patches cannot be dropped; export the PyTorch "
            "model (timm:, open_clip:, a checkpoint folder), or leave --tokens out"
        )
    from rate.export.sources.families.vit import locate_cut

    return TokenSource(model, locate_cut(model.tower, model.geometry.size, model.source))
