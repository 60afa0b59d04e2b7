"""The torch model from which an artifact was exported, for work that needs more than the graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rate.artifacts.artifact import Artifact
from rate.artifacts.parity import tolerance
from rate.artifacts.parity_sample import load_sample, perturbed
from rate.artifacts.records import Request
from rate.errors import ArtifactError, RateError, UsageError
from rate.export.options import ExportOptions
from rate.export.sources.open_source import open_source
from rate.export.sources.source_model import Source, SourceModel
from rate.export.sources.source_string import has_torch


def request_of(model: Source, options: ExportOptions) -> Request | None:
    """Describe the options that reopen the heads of ``model``, beside SOURCE; None = it has no torch module."""
    if not (isinstance(model, SourceModel) and has_torch(model.family)):
        return None
    classes, templates = (None if path is None else str(path) for path in (options.classes, options.templates))
    return Request(classes, templates, tuple(options.heads))


def options_of(request: Request | None) -> ExportOptions:
    """Convert a `request_of` to options."""
    if request is None:
        return ExportOptions()
    classes, templates = (None if path is None else Path(path) for path in (request.classes, request.templates))
    return ExportOptions(classes=classes, templates=templates, heads=request.heads)


def reopen(artifact: Artifact, prove: bool = True) -> SourceModel:
    """Reopen the torch model behind ``artifact``, and check its weights' digest, its heads and its logits.

    Args:
        artifact: the artifact that was exported from the model.
        prove: whether to compare the logits too; the caller's self-test may do that.

    Raises:
        UsageError: the source is not a torch model.
        ArtifactError: the source is missing or has changed.
    """
    artifact.refuse_questions("the image tower behind the artifact")
    again = f"export it again: rate export SOURCE --out {artifact.path} --force"
    if not has_torch(artifact.family):
        raise UsageError(
            f"{artifact.path} was made of {artifact.source}, from which no PyTorch model can be opened; "
            "export a checkpoint, a timm or an open_clip model, or use --saliency rise"
        )
    try:
        model = open_source(artifact.source, options_of(artifact.request))
    except RateError as error:
        raise ArtifactError(
            f"{artifact.path} was exported from {artifact.source}, which cannot be opened from here ({error}); "
            f"go to the folder that this path starts from, put it back, or {again}"
        ) from error
    assert isinstance(model, SourceModel)
    now = {"weights": model.weights, "heads": model.infos, "geometry": model.geometry}
    then = {"weights": artifact.weights, "heads": artifact.heads, "geometry": artifact.geometry}
    if changed := [name for name, value in then.items() if now[name] != value]:
        raise ArtifactError(
            f"{artifact.source} is no longer what {artifact.path} was exported from: its {', '.join(changed)} changed; "
            f"put the old one back, or {again}"
        )
    if prove:
        _prove(artifact, model, again)
    return model


def _prove(artifact: Artifact, model: SourceModel, again: str) -> None:
    sample = load_sample(artifact)
    logits = model.logits(perturbed(sample.perturbation, sample.images, sample.region, sample.rows))
    for name, expected in sample.logits.items():
        difference = float(np.abs(logits[name] - expected).max())
        if not difference <= (allowed := tolerance(expected)):
            raise ArtifactError(
                f"head {name!r} of {artifact.source} no longer gives the logits that {artifact.path} was exported "
                f"with: they differ by up to {difference:.2e}, allowed is {allowed:.3g}; put the old one back, or "
                f"{again}"
            )
