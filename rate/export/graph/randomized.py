"""Randomised models: weight tensors keep their values and lose their order.

A saliency map of such a model is independent of what the model has learned (Adebayo et al. 2018, "Sanity Checks for
Saliency Maps", model parameter randomisation).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from msgspec import structs

from rate.artifacts.artifact import PARITY, PARITY_TOKENS, Artifact
from rate.artifacts.parity_sample import ParitySample, load_sample, save_sample
from rate.backends.base import Logits
from rate.backends.onnxruntime import OrtSpec
from rate.errors import UsageError, need
from rate.export.graph.onnx_walk import save, tensors
from rate.types import Float32

if TYPE_CHECKING:
    from rate.export.sources.source_model import SourceModel

MATRIX = 2
"""The least number of axes of a weight tensor; scales and shifts of normalisations have one."""


def randomized_artifact(artifact: Artifact, folder: Path, form: str = "pixels", seed: int = 0) -> Artifact:
    """Write the graph of ``form`` with its weights in random order to ``folder``, with its own parity sample.

    Raises:
        UsageError: the graph holds no weights.
        MissingExtra: onnx or onnxruntime is not installed.
    """
    onnx = need("onnx", "export")
    graph = artifact.graph(form)
    model = onnx.load(str(graph.path))
    rng, shuffled = np.random.default_rng(seed), False
    for tensor in tensors(model):
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) >= MATRIX:
            values = onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(_shuffled(values, rng), tensor.name))
            shuffled = True
    if not shuffled:
        raise UsageError(f"{graph.path} holds no weights that could be put in another order")
    folder.mkdir(parents=True, exist_ok=True)
    moved = replace(graph, path=folder / graph.path.name)
    save(model, moved.path)
    sample = load_sample(artifact, form)
    again = replace(sample, logits=_logits(OrtSpec(moved), sample))
    save_sample(again, folder, PARITY_TOKENS if form == "tokens" else PARITY)
    alone = {"family": "onnx", "graphs": {form: graph.path.name}, "files": {}}  # the source has the weights in order
    return structs.replace(artifact, path=folder, precision="f32", int8=None, **alone)


def randomize(model: SourceModel, seed: int = 0) -> SourceModel:
    """Shuffle the weights of tower and heads of ``model`` in place, and return it."""
    import torch

    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for module in (model.tower, *(head.module for head in model.heads)):
            for value in module.state_dict().values():
                if value.is_floating_point() and value.ndim >= MATRIX:
                    value.copy_(torch.from_numpy(_shuffled(value.numpy(), rng)))
    return model


def _shuffled(values: Float32, rng: np.random.Generator) -> Float32:
    return rng.permutation(values.ravel()).reshape(values.shape)


def _logits(spec: OrtSpec, sample: ParitySample) -> Logits:
    with spec.open(sample.perturbation, len(sample.pictures)) as backend:
        for slot, (picture, region) in enumerate(zip(sample.pictures, sample.region, strict=True)):
            backend.put(slot, picture, region)
        return backend.submit(sample.rows).wait()
