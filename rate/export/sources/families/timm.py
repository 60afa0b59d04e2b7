"""timm models: `timm:NAME`, `timm:NAME:FILE`, `timm:NAME:pretrained`."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rate.artifacts.weights import State, load_into, read_state, state_digest
from rate.data.images.geometry import Geometry
from rate.errors import ConfigError, UsageError, first_line, need
from rate.export.options import read_classes
from rate.export.sources.source_model import SourceHead, SourceModel
from rate.export.sources.source_string import Reference
from rate.types import Json

PRETRAINED = "pretrained"
_SAME = 1e-4
"""The largest accepted difference of a logit between the whole model and tower plus classifier."""


def open_model(reference: Reference, classes: Path | None, native: bool) -> SourceModel:
    """Open a timm model as tower and, if its weights have a classifier, head `native`; see `sources.Family`.

    Raises:
        UsageError: the name is unknown, the weights do not fit, or the model has no square colour input.
    """
    check_name(reference.name)
    model, notices = _create(reference)
    geometry = geometry_of(model, reference.name)
    probe = torch.zeros(1, 3, geometry.size, geometry.size) + torch.linspace(-1, 1, geometry.size)
    with torch.inference_mode():
        whole = model(probe)
    classifier = model.get_classifier() if model.num_classes else None
    model.reset_classifier(0)
    with torch.inference_mode():
        features = model(probe)
    if features.ndim != 2:
        raise UsageError(f"timm {reference.name} gives features of shape {tuple(features.shape)}; one vector is needed")
    heads: tuple[SourceHead, ...] = ()
    if native and classifier is not None:
        _check_splits(reference.name, classifier, features, whole)
        names, noted = _classes(reference.name, whole.shape[1], classes)
        heads, notices = (SourceHead("native", "linear", names, classifier),), notices + noted
    return SourceModel(
        family="timm",
        source=reference.text,
        config={"name": reference.name},
        tower=model,
        dim=features.shape[1],
        heads=heads,
        geometry=geometry,
        weights=state_digest(model.state_dict()),
        notices=notices,
    )


def build_tower(config: Json, state: Mapping[str, Tensor]) -> nn.Module:
    """Rebuild the tower of a checkpoint in eval mode; see `sources.Family`.

    Raises:
        UsageError: this timm does not have the name, or the weights do not fit.
    """
    name = str(config.get("name"))
    check_name(name)
    tower: nn.Module = _make(name, num_classes=0)
    load_into(tower, state, "the checkpoint's tower weights")
    return tower


def check_name(name: str) -> None:
    """Refuse an architecture or tag that timm does not have.

    Raises:
        UsageError: the message has close matches.
    """
    timm = need("timm", "train")
    architectures = timm.list_models()
    architecture, dot, _ = name.partition(".")
    if architecture not in architectures:
        raise UsageError(f"timm has no model {name!r}{_meant(architecture, architectures)}")
    tagged = timm.list_pretrained(f"{architecture}.*")
    if dot and name not in tagged:
        raise UsageError(f"timm has no weights {name!r} for {architecture}{_meant(name, tagged)}")


def geometry_of(model: nn.Module, name: str) -> Geometry:
    """Return resize, crop and normalisation of the model's training, as timm records them.

    Raises:
        UsageError: they cannot be reproduced exactly: not square, not RGB, an unknown crop or filter.
    """
    config = need("timm.data", "train").resolve_model_data_config(model)
    channels, height, width = config["input_size"]
    if channels != 3 or height != width:
        raise UsageError(
            f"timm {name} takes {channels} x {height} x {width}; only square colour images can be perturbed"
        )
    crop, resize = config["crop_mode"], math.floor(height / config["crop_pct"])
    try:
        return Geometry(height, resize, tuple(config["mean"]), tuple(config["std"]), crop, config["interpolation"])
    except ConfigError as error:
        raise UsageError(f"timm {name} prepares images in a way that has no equal here: {error}") from error


def _create(reference: Reference) -> tuple[Any, tuple[str, ...]]:
    """Create the whole model with its weights, and return notices about them."""
    name, file = reference.name, reference.file
    if file == PRETRAINED:
        return _download(name), ()
    if file is None:
        notice = f"{name} has random weights: give timm:{name}:FILE, or timm:{name}:{PRETRAINED} to download them"
        return _make(name), (notice,)
    if not file:
        raise UsageError(f"SOURCE {reference.text!r} ends in a colon; give a weights file, {PRETRAINED!r}, or nothing")
    state = read_state(Path(file))
    model = _make(name, num_classes=_classifier_rows(name, state))
    load_into(model, state, f"the weights in {file}")
    return model, ()


def _make(name: str, **settings: Any) -> Any:
    """Make a model in eval mode with reproducible random weights; the caller's generator is unchanged."""
    timm = need("timm", "train")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return timm.create_model(name, pretrained=False, **settings).eval()


def _download(name: str) -> Any:
    timm = need("timm", "train")
    try:
        return timm.create_model(name, pretrained=True).eval()
    except Exception as error:  # the hub's client raises whatever its transport raises
        raise UsageError(
            f"the weights of {name} cannot be downloaded ({first_line(error)}); give a file: timm:{name}:FILE"
        ) from error


def _classifier_rows(name: str, state: State) -> int:
    """Count the classes of the classifier in a weights file; 0 = it has none."""
    configured = need("timm", "train").get_pretrained_cfg(name, allow_unregistered=True)
    classifier = getattr(configured, "classifier", None) or ()
    for prefix in (classifier,) if isinstance(classifier, str) else classifier:
        if f"{prefix}.weight" in state:
            return int(state[f"{prefix}.weight"].shape[0])
    return 0


def _check_splits(name: str, classifier: Any, features: Tensor, whole: Tensor) -> None:
    """Check that the model is a tower followed by one layer: some average two classifiers, or add a scale after it."""
    if isinstance(classifier, nn.Module):
        with torch.inference_mode():
            split = classifier(features)
        if split.shape == whole.shape and float((split - whole).abs().max()) <= _SAME:
            return
    raise UsageError(
        f"timm {name} is not a tower followed by one classifier; use torch.onnx.export and give the result as onnx:FILE"
    )


def _classes(name: str, count: int, file: Path | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the class names and notices about them."""
    if file is not None:
        return read_classes(file, count), ()
    if count != 1000:
        raise UsageError(
            f"the weights of {name} have {count} classes without names; add --classes FILE, one name a line"
        )
    names = need("timm.data", "train").ImageNetInfo("imagenet-1k").label_names()
    notice = (
        f"the 1000 classes are taken for ImageNet's, named by synset ({names[0]}, ...); --classes FILE names others"
    )
    return tuple(names), (notice,)


def _meant(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"; did you mean {', '.join(close)}?" if close else f"; there are {', '.join(known[:4])}, ..."
