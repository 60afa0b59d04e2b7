"""OpenAI's CLIP state dicts: `openai:FILE`.

The shapes of the weights define the architecture. They become an open_clip model with the same tensor names, which
supports zero-shot and linear heads, the token form and all recipes of `rate finetune`.
"""

from __future__ import annotations

import math
from pathlib import Path

from rate.artifacts.weights import State, count_blocks, load_into, read_state
from rate.errors import UsageError
from rate.export.sources.families import open_clip
from rate.export.sources.families.open_clip import DualEncoder
from rate.export.sources.source_model import SourceModel
from rate.export.sources.source_string import Reference
from rate.types import Json

_HEAD_WIDTH = 64  # of all transformers of OpenAI's CLIP
_SCALARS = ("input_resolution", "context_length", "vocab_size")  # scalars in OpenAI's archives, which are no weights
_NEEDED = ("text_projection", "positional_embedding", "token_embedding.weight", "ln_final.weight", "logit_scale")


def open_model(reference: Reference, classes: Path | None, native: bool) -> SourceModel:
    """Open the image tower with a maker of zero-shot heads; see `sources.Family`.

    Raises:
        UsageError: the file is no such state dict.
    """
    return open_clip.as_source(load(reference), reference)


def load(reference: Reference) -> DualEncoder:
    """Load both towers of SOURCE.

    Raises:
        UsageError: the file is no such state dict.
    """
    path = Path(reference.rest)
    return encoder(read_state(path), path)


def encoder(state: State, path: Path) -> DualEncoder:
    """Make the model of the weights ``state`` of ``path``.

    Raises:
        UsageError: the weights are not OpenAI's.
    """
    weights = {name: value for name, value in state.items() if name not in _SCALARS}
    config = _config(weights, path)
    model, tokenizer = open_clip.create(config, f"the model in {path}")
    load_into(model, weights, f"the weights in {path}")
    return DualEncoder(model, tokenizer, config, open_clip.geometry_of(model, path.name))


def _config(state: State, path: Path) -> Json:
    """Return the architecture in open_clip's format."""
    vision = _transformer(state) if "visual.proj" in state else _resnet(state)
    if vision is None or any(name not in state for name in _NEEDED):
        raise UsageError(
            f"{path} is no CLIP state dict with OpenAI's names (visual.conv1.weight, token_embedding.weight, "
            f"text_projection, ...); it starts with {', '.join(list(state)[:3])}"
        )
    width = state["ln_final.weight"].shape[0]
    text = {
        "context_length": state["positional_embedding"].shape[0],
        "vocab_size": state["token_embedding.weight"].shape[0],
        "width": width,
        "heads": max(width // _HEAD_WIDTH, 1),
        "layers": count_blocks(state, "transformer.resblocks."),
    }
    model = {"embed_dim": state["text_projection"].shape[1], "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}
    return {"name": path.stem, "model_cfg": model, "preprocess_cfg": {}}


def _transformer(state: State) -> Json | None:
    if "visual.conv1.weight" not in state or "visual.positional_embedding" not in state:
        return None
    width, patch = state["visual.conv1.weight"].shape[0], state["visual.conv1.weight"].shape[-1]
    return {
        "image_size": math.isqrt(state["visual.positional_embedding"].shape[0] - 1) * patch,
        "patch_size": patch,
        "width": width,
        "layers": count_blocks(state, "visual.transformer.resblocks."),
        "head_width": min(width, _HEAD_WIDTH),
    }


def _resnet(state: State) -> Json | None:
    if "visual.layer1.0.conv1.weight" not in state or "visual.attnpool.positional_embedding" not in state:
        return None
    return {
        "image_size": math.isqrt(state["visual.attnpool.positional_embedding"].shape[0] - 1) * 32,
        "layers": [count_blocks(state, f"visual.layer{k}.") for k in (1, 2, 3, 4)],
        "width": state["visual.layer1.0.conv1.weight"].shape[0],
        "patch_size": None,
    }
