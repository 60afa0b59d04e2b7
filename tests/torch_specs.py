"""A live torch model as a backend, with the perturbation of the exported graph."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from torch import nn

from rate.backends.torch import TorchSpec
from rate.export.sources.torch_backend import perturbed_module


def spec_of_module(
    tower: nn.Module, heads: Mapping[str, nn.Module], size: int, precision: str = "f32", device: str = "cpu"
) -> TorchSpec:
    """Opening the spec copies the model."""
    load = partial(perturbed_module, tower, tuple(heads.values()), precision)
    return TorchSpec(load, tuple(heads), size, precision, device)
