"""The heads that are requested beside, or instead of, a source's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rate.errors import UsageError
from rate.export.options import HeadRequest
from rate.export.sources.prompts import read_prompts
from rate.export.sources.source_model import SourceHead, SourceModel
from rate.export.sources.source_string import FAMILIES

if TYPE_CHECKING:
    from rate.artifacts.checkpoint import Checkpoint

Note = Callable[[str], None]


def with_heads(model: SourceModel, asked: Sequence[HeadRequest]) -> SourceModel:
    """Add the heads ``asked`` to ``model``.

    Raises:
        UsageError: a head does not fit the tower, or its name is taken; or there is none.
    """
    make = {"linear": _checkpoint_head, "zero-shot": _zero_shot_head, "embeddings": _embeddings_head}
    noted: list[str] = []
    heads = model.heads + tuple(make[request.kind](model, request, noted.append) for request in asked)
    if not heads:
        classes = "give --classes FILE for a zero-shot head, or " if model.joint is not None else ""
        raise UsageError(
            f"{model.source} has no classifier of its own; {classes}add one with --head NAME=linear:CHECKPOINT_DIR"
        )
    names = [head.name for head in heads]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        own = f", unlike those of the source: {', '.join(head.name for head in model.heads)}" if model.heads else ""
        raise UsageError(f"two heads are named {repeated[0]!r}; give each --head a name of its own{own}")
    return replace(model, heads=heads, notices=(*model.notices, *noted))


def _checkpoint_head(model: SourceModel, request: HeadRequest, note: Note) -> SourceHead:
    from rate.artifacts.checkpoint import load_checkpoint, state_digest

    checkpoint = load_checkpoint(request.path)
    if checkpoint.head != request.kind or request.beside is not None:
        raise UsageError(
            f"--head {request.name}={request.kind}: {request.path} holds a {checkpoint.head} head, finished; "
            f"write --head {request.name}={checkpoint.head}:{request.path}"
        )
    state, module = checkpoint.read()
    _check_same_tower(model, checkpoint, state_digest(state))
    return SourceHead(request.name, checkpoint.head, checkpoint.classes, module)


def _zero_shot_head(model: SourceModel, request: HeadRequest, note: Note) -> SourceHead:
    if (request.path / "checkpoint.json").is_file():
        return _checkpoint_head(model, request, note)
    if model.joint is None:
        raise UsageError(
            f"--head {request.name}=zero-shot: {model.source} reads no text; zero-shot heads need one of "
            f"{', '.join(one.form for one in FAMILIES.values() if one.reads_text)}"
        )
    prompts = read_prompts(request.path, request.beside)
    module = model.joint.head(model.joint.embed(prompts.names, prompts.templates))
    return SourceHead(request.name, "zero-shot", prompts.classes, module)


def _embeddings_head(model: SourceModel, request: HeadRequest, note: Note) -> SourceHead:
    from rate.artifacts.checkpoint import ZeroShot
    from rate.export.sources.embeddings import read_embeddings

    joint = model.joint
    projection = None if joint is None else joint.projection
    dim = model.dim if projection is None else projection.out_features
    read = read_embeddings(request.path, request.beside, dim, lambda text: note(f"head {request.name}: {text}"))
    if joint is not None:
        module = joint.head(read.rows, read.scale, read.bias)
    elif read.scale is None:
        raise UsageError(
            f"--head {request.name}=embeddings: {model.source} reads no text and so has no scale for the cosine; put a "
            f"number `scale` into {request.path} (CLIP's is near 100), as .npz or .safetensors"
        )
    else:
        module = ZeroShot(read.rows, read.scale, read.bias or 0.0)
    return SourceHead(request.name, "embeddings", read.classes, module)


def _check_same_tower(model: SourceModel, checkpoint: Checkpoint, digest: str) -> None:
    if (digest, checkpoint.geometry) != (model.weights, model.geometry):
        raise UsageError(
            f"the head in {checkpoint.path} stands on another tower (weights {digest[:12]}..., trained from "
            f"{checkpoint.base.source}) than {model.source} (weights {model.weights[:12]}...); "
            "heads of one artifact share a tower, so export it on its own"
        )
