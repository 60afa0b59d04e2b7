"""Zero-shot heads: the cosine of an image's embedding with the mean prompt of each class."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

_TEXTS = 64
"""The number of prompts of one forward of a text tower."""


class ZeroShot(nn.Module):
    """Cosine of image and class embeddings, scaled: logits [b,c] from features [b,d]."""

    weight: Tensor
    scale: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, scale: float, bias: float) -> None:
        """``weight`` [c,d], rows of unit length; ``scale`` multiplies the cosine, ``bias`` is added (SigLIP)."""
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("scale", torch.tensor(scale))
        self.register_buffer("bias", torch.tensor(bias))

    def forward(self, features: Tensor) -> Tensor:
        """Compute logits [b,c]."""
        unit = nn.functional.normalize(features, dim=-1)
        logits: Tensor = self.scale * (unit @ self.weight.T) + self.bias
        return logits


def class_embeddings(encode: Callable[[list[str]], Tensor], names: Sequence[str], templates: Sequence[str]) -> Tensor:
    """Compute unit vectors [c,d]: every prompt of a class is encoded and normalised, and their mean normalised again.

    Args:
        encode: texts -> embeddings [n,d] of any length; texts are independent.
        names: the names of the classes in a prompt.
        templates: each with one `{}`.
    """
    prompts = [template.format(name) for name in names for template in templates]
    with torch.no_grad():  # inference mode would make weights that cannot be traced
        parts = [encode(prompts[k : k + _TEXTS]) for k in range(0, len(prompts), _TEXTS)]
        unit = nn.functional.normalize(torch.cat(parts), dim=-1)
        means = unit.reshape(len(names), len(templates), -1).mean(dim=1)
        return nn.functional.normalize(means, dim=-1)
