"""The torch module behind an artifact, or one's own, as a backend: perturbed as the exported graph is."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rate.backends.torch import TorchSpec
from rate.errors import RateError, UsageError
from rate.export.artifact import Artifact
from rate.export.options import ExportOptions
from rate.export.sources import Source, SourceModel, open_source
from rate.types import Json

if TYPE_CHECKING:
    from torch import nn

    from rate.export.perturbed import Perturbed

_PRECISIONS = ("f32", "fp16", "bf16")


def request_of(model: Source, options: ExportOptions) -> Json | None:
    """What has to be asked for, beside SOURCE, to get the heads of ``model`` again; None = it has no torch module."""
    if not isinstance(model, SourceModel):
        return None
    paths = {name: getattr(options, name) for name in ("classes", "templates")}
    return {name: None if path is None else str(path) for name, path in paths.items()} | {"heads": list(options.heads)}


def spec_of_artifact(
    artifact: Artifact, precision: str = "f32", device: str = "cpu", compiled: bool = False, threads: int = 0
) -> TorchSpec:
    """The model that ``artifact`` was exported from, in PyTorch; it is opened when the spec is.

    Raises:
        UsageError: the artifact was made of a finished graph, or the precision is none of PyTorch's.
    """
    _check(precision)
    if artifact.family == "onnx":
        raise UsageError(
            f"{artifact.path} was made of a finished graph ({artifact.source}), there is no PyTorch model behind it; "
            "use another --backend, or export from timm:, open_clip: or a checkpoint folder"
        )
    load = partial(load_module, artifact, precision)
    heads = tuple(head.name for head in artifact.heads)
    return TorchSpec(load, heads, artifact.geometry.size, precision, device, compiled, threads)


def spec_of_module(
    tower: nn.Module, heads: Mapping[str, nn.Module], size: int, precision: str = "f32", device: str = "cpu"
) -> TorchSpec:
    """A live model as a backend; it is copied when the spec is opened, and never changed.

    Args:
        tower: pixels [b,3,h,w] -> features [b,d].
        heads: name -> module, features [b,d] -> logits [b,c].
        size: side of the square input, pixels.
        precision: f32 | fp16 | bf16.
        device: cpu | cuda | cuda:N.

    Raises:
        UsageError: the precision is none of PyTorch's.
    """
    _check(precision)
    return TorchSpec(
        partial(_perturbed, tower, tuple(heads.values()), precision), tuple(heads), size, precision, device
    )


def load_module(artifact: Artifact, precision: str = "f32") -> Perturbed:
    """Open the SOURCE of ``artifact`` once more, and make sure that it is still the same model.

    Raises:
        UsageError: it is not there any more, or its weights, heads or geometry are others now.
    """
    cure = "give that model back its place, export it again, or use another --backend"
    try:
        model = open_source(artifact.source, options_of(artifact.request or {}))
    except RateError as error:
        raise UsageError(f"the model of {artifact.path} cannot be opened in PyTorch: {error}; {cure}") from error
    now = {"weights": model.weights, "heads": model.infos, "geometry": model.geometry}
    then = {"weights": artifact.weights, "heads": artifact.heads, "geometry": artifact.geometry}
    changed = [name for name, value in then.items() if now[name] != value]
    if changed or not isinstance(model, SourceModel):
        raise UsageError(
            f"{artifact.source} is not what {artifact.path} was exported from: its {', '.join(changed)} changed; {cure}"
        )
    return _perturbed(model.tower, tuple(head.module for head in model.heads), precision)


def options_of(request: Json) -> ExportOptions:
    """The options that a `request_of` stands for."""
    classes, templates = (None if path is None else Path(path) for path in map(request.get, ("classes", "templates")))
    return ExportOptions(classes=classes, templates=templates, heads=tuple(request.get("heads", ())))


def _perturbed(tower: nn.Module, heads: tuple[nn.Module, ...], precision: str) -> Perturbed:
    from rate.export.islands import HalfTower
    from rate.export.perturbed import Perturbed

    own = copy.deepcopy(tower) if precision == "f32" else HalfTower(tower, precision)
    return Perturbed(own, copy.deepcopy(heads)).eval()


def _check(precision: str) -> None:
    if precision not in _PRECISIONS:
        raise UsageError(f"--backend torch computes in {', '.join(_PRECISIONS)}, not in {precision}; choose one")
