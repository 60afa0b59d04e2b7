"""The opening of a SOURCE as a model; `rate.export.sources.source_string` has its forms.

A family is one module, of `rate.export.sources.families` or of an installed package; `FAMILIES` names them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rate.artifacts.records import HeadInfo
from rate.backends.base import Logits
from rate.data.images.geometry import Geometry
from rate.errors import UsageError
from rate.export.options import ExportOptions, HeadRequest, parse_head
from rate.export.sources.prompts import read_prompts
from rate.export.sources.source_string import FAMILIES, Reference, has_torch, parse_source
from rate.types import Float32, Json

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rate.artifacts.checkpoint import Checkpoint

ZERO_SHOT = "zs"
"""The name of the zero-shot head that --classes makes on an image-text model."""

ZeroShotMaker = Callable[[Sequence[str], Sequence[str]], "nn.Module"]
"""Makes a head from (names, templates)."""


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
    zero_shot: ZeroShotMaker | None = None

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
        """Rebuild the tower of a checkpoint in eval mode from `SourceModel.config` and its weights."""


def open_source(source: str, options: ExportOptions) -> Source:
    """Open the model of SOURCE with all the heads that ``options`` request.

    Raises:
        UsageError: SOURCE is unknown, or source and options do not fit each other.
    """
    reference = parse_source(source)
    if reference is not None and not has_torch(reference.family):
        graphs: GraphFamily = importlib.import_module(FAMILIES[reference.family].module)
        return graphs.open_graph(reference, options)
    options.refuse_graph_options(reference.family if reference else "checkpoint")
    if reference is None and options.classes is not None:
        raise UsageError("--classes: a checkpoint has its own classes; leave it out")
    asked = [parse_head(text) for text in options.heads]
    model = _open_torch(source, reference, options.classes, native=True)
    if model.zero_shot is not None and options.classes is not None and not model.heads:
        asked.insert(0, HeadRequest(ZERO_SHOT, "zero-shot", options.classes, options.templates))
    elif options.templates is not None:
        raise UsageError(
            "--templates: only for image-text models without a classifier of their own, together with --classes; "
            "a further head takes them as --head NAME=zero-shot:CLASSES:TEMPLATES"
        )
    return _with_heads(model, asked)


def open_tower(source: str, keep_head: bool = False) -> SourceModel:
    """Open the tower of SOURCE for fine-tuning; ``keep_head``: with the head of a checkpoint, else without heads.

    Raises:
        UsageError: SOURCE is unknown or has no torch tower.
    """
    reference = parse_source(source)
    if reference is not None and not has_torch(reference.family):
        timm = FAMILIES["timm"].form
        raise UsageError(f"{source} has no PyTorch tower to fine-tune; use {timm} or a checkpoint folder")
    model = _open_torch(source, reference, None, native=False)
    return model if keep_head else replace(model, heads=())


def _family(name: str) -> Family:
    """Import the module of a torch family, which implements `Family`."""
    if name not in FAMILIES or not FAMILIES[name].is_torch:
        known = ", ".join(name for name, one in FAMILIES.items() if one.is_torch)
        raise UsageError(f"a checkpoint of the family {name!r} cannot be opened; known are {known}")
    module: Family = importlib.import_module(FAMILIES[name].module)
    return module


def _open_torch(source: str, reference: Reference | None, classes: Path | None, native: bool) -> SourceModel:
    if reference is not None:
        return _family(reference.family).open_model(reference, classes, native)
    from rate.artifacts.checkpoint import load_checkpoint, state_digest

    checkpoint = load_checkpoint(Path(source))
    state, head = checkpoint.read()
    tower, zero_shot = _tower_of(checkpoint, state)
    name = str(checkpoint.recipe["name"])
    return SourceModel(
        family=checkpoint.family,
        source=source,
        config=checkpoint.model,
        tower=tower,
        dim=head.weight.shape[1],
        heads=(SourceHead(name, checkpoint.head, checkpoint.classes, head),),
        geometry=checkpoint.geometry,
        weights=state_digest(state),
        zero_shot=zero_shot,
    )


def _tower_of(checkpoint: Checkpoint, state: Mapping[str, Tensor]) -> tuple[nn.Module, ZeroShotMaker | None]:
    """Return the tower of a checkpoint and, if its weights hold a text tower, the maker of zero-shot heads."""
    if not (text := checkpoint.read_text()):
        return _family(checkpoint.family).build_tower(checkpoint.model, state), None
    from rate.export.sources.families import open_clip

    encoder = open_clip.build_encoder(checkpoint.model, state, text)
    return encoder.model.visual, lambda names, templates: open_clip.zero_shot(encoder, names, templates)


def _with_heads(model: SourceModel, asked: Sequence[HeadRequest]) -> SourceModel:
    make = {"linear": _checkpoint_head, "zero-shot": _zero_shot_head}
    heads = model.heads + tuple(make[request.kind](model, request) for request in asked)
    if not heads:
        classes = "give --classes FILE for a zero-shot head, or " if model.zero_shot is not None else ""
        raise UsageError(
            f"{model.source} has no classifier of its own; {classes}add one with --head NAME=linear:CHECKPOINT_DIR"
        )
    names = [head.name for head in heads]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"two heads are named {repeated[0]!r}; the source has {[head.name for head in model.heads]}")
    return replace(model, heads=heads)


def _checkpoint_head(model: SourceModel, request: HeadRequest) -> SourceHead:
    from rate.artifacts.checkpoint import load_checkpoint, state_digest

    checkpoint = load_checkpoint(request.path)
    if checkpoint.head != request.kind or request.templates is not None:
        raise UsageError(
            f"--head {request.name}={request.kind}: {request.path} holds a {checkpoint.head} head, finished; "
            f"write --head {request.name}={checkpoint.head}:{request.path}"
        )
    state, module = checkpoint.read()
    _check_same_tower(model, checkpoint, state_digest(state))
    return SourceHead(request.name, checkpoint.head, checkpoint.classes, module)


def _zero_shot_head(model: SourceModel, request: HeadRequest) -> SourceHead:
    if (request.path / "checkpoint.json").is_file():
        return _checkpoint_head(model, request)
    if model.zero_shot is None:
        raise UsageError(
            f"--head {request.name}=zero-shot: {model.source} reads no text; zero-shot heads need one of "
            f"{', '.join(one.form for one in FAMILIES.values() if one.reads_text)}"
        )
    prompts = read_prompts(request.path, request.templates)
    return SourceHead(request.name, "zero-shot", prompts.classes, model.zero_shot(prompts.names, prompts.templates))


def _check_same_tower(model: SourceModel, checkpoint: Checkpoint, digest: str) -> None:
    if (digest, checkpoint.geometry) != (model.weights, model.geometry):
        raise UsageError(
            f"the head in {checkpoint.path} stands on another tower (weights {digest[:12]}..., trained from "
            f"{checkpoint.base.source}) than {model.source} (weights {model.weights[:12]}...); "
            "heads of one artifact share a tower, so export it on its own"
        )
