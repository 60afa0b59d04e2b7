"""The model from which an artifact was exported as a backend, with the perturbation of the exported graph."""

from __future__ import annotations

import copy
from functools import partial
from typing import TYPE_CHECKING

from rate.artifacts.artifact import Artifact
from rate.backends.torch import TorchSpec
from rate.errors import RateError, UsageError
from rate.export.sources.reopen import reopen
from rate.export.sources.source_string import has_torch

if TYPE_CHECKING:
    from torch import nn

    from rate.export.graph.perturbed import Perturbed

_PRECISIONS = ("f32", "fp16", "bf16")


def spec_of_artifact(artifact: Artifact, precision: str = "f32", device: str = "cpu", threads: int = 0) -> TorchSpec:
    """Describe the model from which ``artifact`` was exported as a backend in PyTorch; opening the spec loads it.

    Raises:
        UsageError: the source was a graph or a module in memory, or PyTorch does not have the precision.
    """
    if precision not in _PRECISIONS:
        raise UsageError(f"--backend torch computes in {', '.join(_PRECISIONS)}, not in {precision}; choose one")
    if not has_torch(artifact.family):
        raise UsageError(
            f"{artifact.path} was made of {artifact.source}, from which no PyTorch model can be opened; "
            "use another --backend, or export from timm:, open_clip: or a checkpoint folder"
        )
    load = partial(load_module, artifact, precision)
    heads = tuple(head.name for head in artifact.heads)
    return TorchSpec(load, heads, artifact.geometry.size, precision, device, threads)


def load_module(artifact: Artifact, precision: str = "f32") -> Perturbed:
    """Load the model behind ``artifact`` with the perturbation.

    Raises:
        UsageError: the model is missing or has changed.
    """
    try:
        model = reopen(artifact, prove=False)
    except RateError as error:
        raise UsageError(
            f"the model of {artifact.path} cannot be opened in PyTorch: {error}; or use another --backend"
        ) from error
    return perturbed_module(model.tower, tuple(head.module for head in model.heads), precision)


def perturbed_module(tower: nn.Module, heads: tuple[nn.Module, ...], precision: str) -> Perturbed:
    """Copy a model in ``precision`` and put the perturbation in front of it."""
    from rate.export.graph.perturbed import Perturbed
    from rate.export.sources.half_torch import HalfTower

    own = copy.deepcopy(tower) if precision == "f32" else HalfTower(tower, precision)
    return Perturbed(own, copy.deepcopy(heads)).eval()
