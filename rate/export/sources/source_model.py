"""What a SOURCE is once it is open: a tower with heads, and what a family's module gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rate.artifacts.records import HeadInfo
from rate.backends.base import Logits
from rate.data.images.geometry import Geometry
from rate.export.options import ExportOptions
from rate.export.sources.source_string import Reference
from rate.types import Float32, Json

if TYPE_CHECKING:
    from torch import Tensor, nn


class Source(Protocol):
    """A model that can be exported."""

    @property
    def family(self) -> str:
        """The name of the family that opened the model."""

    @property
    def source(self) -> str:
        """The SOURCE as it was written."""

    @property
    def weights(self) -> str:
        """The digest of the weights."""

    @property
    def geometry(self) -> Geometry:
        """The geometry from an image to its pixels."""

    @property
    def infos(self) -> tuple[HeadInfo, ...]:
        """The heads, in the order of the graph's outputs."""

    @property
    def notices(self) -> tuple[str, ...]:
        """Notices for the user, one sentence each."""

    def write_graph(self, path: Path) -> int:
        """Write the perturbed graph to ``path`` with its weights beside it, and return the opset.

        Raises:
            RateError: the model has no form that can be exported.
        """

    def logits(self, images: Float32) -> Logits:
        """Compute logits [b,c] per head of the bare model in its own runtime for pixels [b,3,h,w]."""


class SourceHead(HeadInfo, frozen=True, eq=False):
    """A head with its module: features [b,d] -> logits [b,c]."""

    module: nn.Module


@dataclass(frozen=True, eq=False)
class Joint:
    """The space of image and text embeddings of a model that reads text."""

    embed: Callable[[Sequence[str], Sequence[str]], Tensor]  # class names, templates -> unit vectors [c,d]
    scale: float  # of the cosine
    bias: float = 0.0
    projection: nn.Linear | None = None  # features -> image embeddings; None: they are the same

    def head(self, embeddings: Tensor, scale: float | None = None, bias: float | None = None) -> nn.Module:
        """Make the head of classes with these unit vectors [c,d]; None = the model's own scale or bias."""
        from torch import nn

        from rate.artifacts.checkpoint import ZeroShot

        own = ZeroShot(embeddings, self.scale if scale is None else scale, self.bias if bias is None else bias)
        return own if self.projection is None else nn.Sequential(self.projection, own).eval()


@dataclass(frozen=True, eq=False)
class SourceModel:
    """A torch tower with any number of heads on it."""

    family: str
    source: str
    config: Json  # the input of the family's `build_tower`; its `name` is a text
    tower: nn.Module  # pixels [b,3,h,w] -> features [b,dim], eval mode, CPU, f32
    dim: int
    heads: tuple[SourceHead, ...]
    geometry: Geometry
    weights: str  # digest of the tower's weights
    notices: tuple[str, ...] = ()
    joint: Joint | None = None  # None: the model reads no text

    @property
    def infos(self) -> tuple[HeadInfo, ...]:
        """The heads without their modules."""
        return tuple(HeadInfo(head.name, head.kind, head.classes) for head in self.heads)

    def write_graph(self, path: Path) -> int:
        """Export with torch, and return the opset."""
        from rate.export.graph.torch_to_onnx import OPSET, export_graph

        export_graph(self.tower, {head.output: head.module for head in self.heads}, self.geometry.size, path)
        return OPSET

    def logits(self, images: Float32) -> Logits:
        """Compute logits with the bare tower and heads in torch."""
        from rate.export.graph.perturbed import bare_logits

        return bare_logits(self.tower, {head.name: head.module for head in self.heads}, images)


class GraphFamily(Protocol):
    """The interface of a family's module that has no PyTorch models."""

    def open_graph(self, reference: Reference, options: ExportOptions) -> Source:
        """Open the model behind ``reference`` with the settings that it does not define itself."""


class Family(Protocol):
    """The interface of a family's module."""

    def open_model(self, reference: Reference, classes: Path | None, native: bool) -> SourceModel:
        """Open the model behind ``reference``; with ``native``, its own classifier becomes head `native`, if it has
        one.

        Args:
            reference: the parsed SOURCE.
            classes: names of the native classes; None = those of the family.
            native: whether to add the model's own classifier.
        """

    def build_tower(self, config: Json, state: Mapping[str, Tensor]) -> nn.Module:
        """Rebuild the tower of a checkpoint in eval mode from `SourceModel.config` and its weights.

        A family whose models are of another one (`SourceModel.family`) has none.
        """
