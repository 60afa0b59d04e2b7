"""Small CLIPs in OpenAI's names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import hf_models
import numpy as np
import torch

TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}
VIT = {"image_size": 32, "patch_size": 8, "width": 128, "layers": 2}
RESNET = {"image_size": 64, "layers": [1, 2, 1, 1], "width": 8, "patch_size": None}


def clip(vision: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The state dict of a CLIP with these towers, as OpenAI's archives hold it once its tensors alone are kept."""
    from open_clip.model import CLIP

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = hf_models.spread(CLIP(32, vision_cfg=vision, text_cfg=TEXT, quick_gelu=True))
    told = {name: torch.tensor(1) for name in ("input_resolution", "context_length", "vocab_size")}
    return model.state_dict() | told


def logits(state: dict[str, torch.Tensor], pixels: torch.Tensor, prompts: Sequence[str]) -> np.ndarray[Any, Any]:
    """[b,c] by the loader of OpenAI's weights that open_clip has of its own."""
    from open_clip.model import build_model_from_openai_state_dict
    from open_clip.tokenizer import tokenize

    model = build_model_from_openai_state_dict(dict(state)).float().eval()  # through f16
    model.load_state_dict({name: state[name].float() for name in model.state_dict()})
    with torch.inference_mode():
        images = model.encode_image(pixels, normalize=True)
        texts = model.encode_text(tokenize(list(prompts)), normalize=True)
        return (model.logit_scale.exp() * images @ texts.T).numpy()
