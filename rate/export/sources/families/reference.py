"""Checkpoints of the paper's own code (github.com/deep-real/vlm-pred-rationality): `reference:FILE[:RESIZE]`.

The names in a file identify its kind:

    clip_feature_extractor.*, classifier.*    LP or FT of CLIP: a CLIP and a linear head on its image embedding
    ab_feature_extractor.*, classifier.*      LP or FT of ALBEF or BLIP: an image encoder, and a head on its class token
    visual.*, token_embedding.*, ...          FLCP of CLIP: a CLIP in OpenAI's names
    visual_encoder.*, text_encoder.*, ...     FLCP of ALBEF or BLIP

Its scripts prepare images equally for all models: the short side becomes RESIZE (256 for CUB-200-2011 and ImageNet, 224
for Stanford Dogs and Caltech-101) bilinearly, then a centre crop, and ImageNet's mean and deviation.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import nn

from rate.artifacts.weights import State, load_into, read_state, under
from rate.data.images.geometry import Geometry
from rate.errors import UsageError
from rate.export.options import read_classes
from rate.export.sources.families import albef, open_clip, openai
from rate.export.sources.families.open_clip import DualEncoder
from rate.export.sources.source_model import SourceHead, SourceModel
from rate.export.sources.source_string import Reference

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RESIZE = 256
_CLIP, _VIT, _CLASSIFIER = "clip_feature_extractor.", "ab_feature_extractor.", "classifier."


def open_model(reference: Reference, classes: Path | None, native: bool) -> SourceModel:
    """Open the tower and, for LP and FT, the classifier as head `native`; see `sources.Family`.

    Raises:
        UsageError: the file is none of the paper's, or its classes have no names.
    """
    path, state = Path(reference.name), read_state(Path(reference.name))
    model = replace(_tower(reference, state, path), notices=_assumed(reference))
    if not native or not (weights := under(state, _CLASSIFIER)):
        return model
    head = nn.Linear(model.dim, len(weights.get("bias", ())))
    load_into(head, weights, f"the classifier in {path}")
    if classes is None:
        raise UsageError(
            f"{path} has {head.out_features} classes without names; add --classes FILE, one name a line in their order"
        )
    names = read_classes(classes, head.out_features)
    return replace(model, heads=(SourceHead("native", "linear", names, head.eval()),))


def load(reference: Reference) -> DualEncoder:
    """Load both towers of a CLIP with the paper's geometry.

    Raises:
        UsageError: the file is none of the paper's, or holds no CLIP.
    """
    path, state = Path(reference.name), read_state(Path(reference.name))
    if any(name.startswith((_VIT, "visual_encoder.")) for name in state):
        raise UsageError(f"{path} holds an image encoder of ALBEF or BLIP; only a CLIP is trained further by flcp")
    return _clip(reference, under(state, _CLIP) or state, path)


def _tower(reference: Reference, state: State, path: Path) -> SourceModel:
    if encoder := under(state, _VIT):
        return albef.image_encoder(reference, encoder, path, partial(_geometry, reference))
    if under(state, "visual_encoder."):
        return albef.dual(reference, state, path, partial(_geometry, reference))
    return open_clip.as_source(_clip(reference, under(state, _CLIP) or state, path), reference)


def _clip(reference: Reference, weights: State, path: Path) -> DualEncoder:
    encoder = openai.encoder(weights, path)
    return replace(encoder, geometry=_geometry(reference, encoder.geometry.size), notices=_assumed(reference))


def _geometry(reference: Reference, size: int) -> Geometry:
    if reference.file is not None and not reference.file.isdecimal():
        raise UsageError(
            f"SOURCE {reference.text!r}: RESIZE must be a number of pixels, got {reference.file!r}; "
            "256 for CUB-200-2011 and ImageNet, 224 for Stanford Dogs and Caltech-101"
        )
    resize = int(reference.file) if reference.file is not None else RESIZE
    return Geometry(size, resize, MEAN, STD, "center", "bilinear")


def _assumed(reference: Reference) -> tuple[str, ...]:
    if reference.file is not None:
        return ()
    return (
        f"assumed a resize to {RESIZE} pixels, as the paper's scripts have it for CUB-200-2011 and ImageNet; for "
        f"Stanford Dogs and Caltech-101 write {reference.text}:224",
    )
