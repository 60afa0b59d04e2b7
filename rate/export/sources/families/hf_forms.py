"""The image-text models of transformers, with the embeddings that each class compares.

Towers return the unnormalised embedding: linear heads take it directly, zero-shot heads normalise it themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

Tokens = Mapping[str, Tensor]
"""input_ids and, where the tokenizer gives one, attention_mask, i64 [n,length]."""


@dataclass(frozen=True, slots=True)
class Form:
    """One model class of transformers."""

    model: str  # name of the class
    tower: Callable[[Any], nn.Module]  # model -> pixels [b,3,h,w] -> features [b,d]
    text: Callable[[Any, Tokens], Tensor]  # model, tokens -> embeddings [n,d]
    padding: str  # padding of its tokenizer: "longest" | "max_length"
    notice: str = ""  # notice for the user


class Pooled(nn.Module):
    """An image encoder whose embedding is the projection of the pooled output."""

    def __init__(self, encoder: nn.Module, projection: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.projection = projection

    def forward(self, pixels: Tensor) -> Tensor:
        """Compute features [b,d]."""
        features: Tensor = self.projection(self.encoder(pixel_values=pixels).pooler_output)
        return features


class FirstToken(Pooled):
    """An image encoder whose embedding is the projection of the class token."""

    def forward(self, pixels: Tensor) -> Tensor:
        """Compute features [b,d]."""
        features: Tensor = self.projection(self.encoder(pixel_values=pixels).last_hidden_state[:, 0])
        return features


class SquareNaflex(nn.Module):
    """SigLIP 2's NaFlex encoder for square images with as many patches as position embeddings.

    All patches are real and the position embeddings keep their size, so the parts of the original forward for other
    shapes have no effect.
    """

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder
        self.patch = int(encoder.config.patch_size)
        self.side = math.isqrt(encoder.config.num_patches)

    def forward(self, pixels: Tensor) -> Tensor:
        """Compute features [b,d]."""
        vision: Any = self.encoder
        cut = pixels.reshape(-1, 3, self.side, self.patch, self.side, self.patch)  # [b,3,y,p,x,p]
        patches = cut.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)  # [b,patches,p * p * 3]
        embedded = vision.embeddings.patch_embedding(patches) + vision.embeddings.position_embedding.weight
        hidden = vision.encoder(inputs_embeds=embedded, attention_mask=None).last_hidden_state
        features: Tensor = vision.head(vision.post_layernorm(hidden))
        return features


def _clip_tower(model: Any) -> nn.Module:
    return Pooled(model.vision_model, model.visual_projection)


def _clip_text(model: Any, tokens: Tokens) -> Tensor:
    embeddings: Tensor = model.text_projection(model.text_model(**tokens).pooler_output)
    return embeddings


def _siglip_tower(model: Any) -> nn.Module:
    return Pooled(model.vision_model, nn.Identity())


def _siglip_text(model: Any, tokens: Tokens) -> Tensor:
    embeddings: Tensor = model.text_model(**tokens).pooler_output
    return embeddings


def _naflex_tower(model: Any) -> nn.Module:
    return SquareNaflex(model.vision_model)


def _retrieval_tower(model: Any) -> nn.Module:
    return FirstToken(model.vision_model, model.vision_proj)


def _retrieval_text(model: Any, tokens: Tokens) -> Tensor:
    embeddings: Tensor = model.text_proj(model.text_encoder(**tokens).last_hidden_state[:, 0])
    return embeddings


_BARE_COSINE = (
    "BlipForImageTextRetrieval has no logit scale: its logits are cosines, and with --score probability all classes "
    "are nearly alike"
)
_NAFLEX = (
    "a NaFlex model reads pictures in their own shape; here all are squashed to a square, as its fixed siblings do it"
)

FORMS = {
    "clip": (Form("CLIPModel", _clip_tower, _clip_text, "longest"),),
    "siglip": (Form("SiglipModel", _siglip_tower, _siglip_text, "max_length"),),
    "siglip2": (Form("Siglip2Model", _naflex_tower, _siglip_text, "max_length", _NAFLEX),),
    "blip": (
        Form("BlipForImageTextRetrieval", _retrieval_tower, _retrieval_text, "longest", _BARE_COSINE),
        Form("BlipModel", _clip_tower, _clip_text, "longest"),
    ),
    "metaclip_2": (Form("MetaClip2Model", _clip_tower, _clip_text, "longest"),),
    "vision-text-dual-encoder": (Form("VisionTextDualEncoderModel", _clip_tower, _clip_text, "longest"),),
}
"""Maps model_type of config.json to its forms; the first is the default."""
