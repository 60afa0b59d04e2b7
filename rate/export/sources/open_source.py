"""The opening of a SOURCE as a model; `rate.export.sources.source_string` has its forms.

A family is one module, of `rate.export.sources.families` or of an installed package; `FAMILIES` names them.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rate.errors import UsageError
from rate.export.options import ExportOptions, HeadRequest, parse_head
from rate.export.sources.heads import with_heads
from rate.export.sources.source_model import Family, GraphFamily, Joint, Source, SourceHead, SourceModel
from rate.export.sources.source_string import FAMILIES, answers_questions, has_torch, parse_source

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rate.artifacts.checkpoint import Checkpoint

ZERO_SHOT = "zs"
"""The name of the zero-shot head that --classes makes on an image-text model."""


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
    model = open_torch(source, options.classes, native=True)
    if model.joint is not None and options.classes is not None and not model.heads:
        asked.insert(0, HeadRequest(ZERO_SHOT, "zero-shot", options.classes, options.templates))
    elif options.templates is not None:
        raise UsageError(
            "--templates: only for image-text models without a classifier of their own, together with --classes; "
            "a further head takes them as --head NAME=zero-shot:CLASSES:TEMPLATES"
        )
    return with_heads(model, asked)


def open_tower(source: str, keep_head: bool = False) -> SourceModel:
    """Open the tower of SOURCE for fine-tuning; ``keep_head``: with the head of a checkpoint, else without heads.

    Raises:
        UsageError: SOURCE is unknown or has no torch tower.
    """
    model = open_torch(source, None, native=False)
    return model if keep_head else replace(model, heads=())


def _family(name: str) -> Family:
    """Import the module of a torch family, which implements `Family`."""
    if name not in FAMILIES or not FAMILIES[name].is_torch:
        known = ", ".join(name for name, one in FAMILIES.items() if one.is_torch)
        raise UsageError(f"a checkpoint of the family {name!r} cannot be opened; known are {known}")
    if answers_questions(name):
        raise UsageError(
            f"a generative model ({FAMILIES[name].form}) has no image tower for heads; it is only exported, with "
            "`rate export`, and evaluated on questions"
        )
    module: Family = importlib.import_module(FAMILIES[name].module)
    return module


def open_torch(source: str, classes: Path | None, native: bool) -> SourceModel:
    """Open the torch model of SOURCE with its own head, if it has one; see `Family.open_model`.

    Raises:
        UsageError: SOURCE is unknown or has no torch tower.
    """
    reference = parse_source(source)
    if reference is not None and not has_torch(reference.family):
        raise UsageError(f"{source} has no PyTorch tower; use {FAMILIES['timm'].form} or a checkpoint folder")
    if reference is not None:
        return _family(reference.family).open_model(reference, classes, native)
    from rate.artifacts.checkpoint import load_checkpoint, state_digest

    checkpoint = load_checkpoint(Path(source))
    state, head = checkpoint.read()
    tower, joint = _tower_of(checkpoint, state)
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
        joint=joint,
    )


def _tower_of(checkpoint: Checkpoint, state: Mapping[str, Tensor]) -> tuple[nn.Module, Joint | None]:
    """Return the tower of a checkpoint and, if its weights hold a text tower, the space of both embeddings."""
    if not (text := checkpoint.read_text()):
        family = _family(checkpoint.family)
        if not hasattr(family, "build_tower"):
            raise UsageError(f"no checkpoint is of the family {checkpoint.family!r}, whose towers are of another one")
        return family.build_tower(checkpoint.model, state), None
    from rate.export.sources.families import open_clip

    encoder = open_clip.build_encoder(checkpoint.model, state, text)
    return encoder.model.visual, open_clip.joint(encoder)
