"""Back from an artifact to the model that it was exported from, where something needs more than a graph can give."""

from __future__ import annotations

import numpy as np

from rate.errors import ArtifactError, UsageError
from rate.export.artifact import Artifact
from rate.export.parity import TOLERANCE, load_sample, masked
from rate.export.sources import SourceModel, open_source
from rate.export.torch_source import options_of


def reopen(artifact: Artifact) -> SourceModel:
    """The torch model behind ``artifact``, proven to be the one: its weights' digest, its heads, its logits.

    Raises:
        UsageError: the source is not a torch model.
        ArtifactError: it is not where it was, or has changed.
    """
    again = f"export it again: rate export SOURCE --out {artifact.path} --force"
    if artifact.family == "onnx":
        raise UsageError(
            f"{artifact.path} was exported from {artifact.source}, and gradients need the PyTorch model; "
            "use --saliency rise, or export a checkpoint, a timm or an open_clip model"
        )
    try:
        model = open_source(artifact.source, options_of(artifact.request or {}))
    except UsageError as error:
        raise ArtifactError(
            f"{artifact.path} was exported from {artifact.source}, which cannot be opened from here ({error}); "
            f"go to the folder that this path starts from, put it back, or {again}"
        ) from error
    assert isinstance(model, SourceModel)
    if (model.weights, model.geometry, model.infos) != (artifact.weights, artifact.geometry, artifact.heads):
        raise ArtifactError(
            f"{artifact.source} is no longer what {artifact.path} was exported from: weights "
            f"{model.weights[:12]}... with heads {_names(model)}, {artifact.weights[:12]}... with "
            f"{_names(artifact)} in the artifact; put the old one back, or {again}"
        )
    sample = load_sample(artifact)
    logits = model.logits(masked(sample.perturbation, sample.images, sample.rows))
    for name, expected in sample.logits.items():
        difference = float(np.abs(logits[name] - expected).max())
        if not difference <= TOLERANCE:
            raise ArtifactError(
                f"head {name!r} of {artifact.source} no longer gives the logits that {artifact.path} was exported "
                f"with: they differ by up to {difference:.2e}, allowed is {TOLERANCE:g}; put the old one back, or "
                f"{again}"
            )
    return model


def _names(model: SourceModel | Artifact) -> str:
    heads = model.infos if isinstance(model, SourceModel) else model.heads
    return ", ".join(f"{head.name} ({head.kind}, {len(head.classes)} classes)" for head in heads)
