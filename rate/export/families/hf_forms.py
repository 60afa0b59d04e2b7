"""The image-text models of transformers: how each class turns pixels and tokens into embeddings that are compared.

Towers give the embedding as it is: linear heads stand on that, zero-shot heads normalise it themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

Tokens = Mapping[str, Tensor]
"""input_ids and, where the tokenizer gives one, attention_mask, i64 [n,length]."""


@dataclass(frozen=True, slots=True)
class Form:
    """One class of transformers."""

    model: str  # its name there
    tower: Callable[[Any], nn.Module]  # model -> pixels [b,3,h,w] -> features [b,d]
    text: Callable[[Any, Tokens], Tensor]  # model, tokens -> embeddings [n,d]
    padding: str  # of its tokenizer: "longest" | "max_length"


class Pooled(nn.Module):
    """An image encoder whose pooled output, projected, is the embedding."""

    def __init__(self, encoder: nn.Module, projection: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.projection = projection

    def forward(self, pixels: Tensor) -> Tensor:
        """Features [b,d]."""
        features: Tensor = self.projection(self.encoder(pixel_values=pixels).pooler_output)
        return features


def _clip_tower(model: Any) -> nn.Module:
    return Pooled(model.vision_model, model.visual_projection)


def _clip_text(model: Any, tokens: Tokens) -> Tensor:
    embeddings: Tensor = model.text_projection(model.text_model(**tokens).pooler_output)
    return embeddings


FORMS = {
    "clip": (Form("CLIPModel", _clip_tower, _clip_text, "longest"),),
}
"""model_type of config.json -> its forms; the first is taken where config.json names none of them."""
