"""Attention of a vision transformer in torch, and its gradients for the score of a class.

Runtimes do not give gradients, so this module uses the exported torch model instead of the graph. Libraries compute
attention in one fused call; within `explicit_attention` that call has explicit steps, whose probabilities are kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from rate.backends.base import Logits
from rate.errors import UsageError
from rate.export.sources.source_model import SourceModel
from rate.kernels.relevance import class_relevance, patch_maps
from rate.types import Float32, Float64, Int64

SAME = 1e-5
"""The largest accepted relative difference of features between fused and explicit attention."""

_FUSED, _SWITCH = "scaled_dot_product_attention", "fused_attn"

Choose = Callable[[Logits], dict[str, Int64]]
"""Maps logits [b,c] of each head to the classes to explain, [b] of each head."""


@contextmanager
def explicit_attention(tower: nn.Module) -> Iterator[list[Tensor]]:
    """Record the probabilities [b,heads,l,l] of every attention that ``tower`` computes while the block runs, in order.

    torch's fused function is replaced for the whole process, so no other thread may run a transformer in that time.
    """
    kept: list[Tensor] = []

    def explicit(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
    ) -> Tensor:
        products = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
        if is_causal:
            products = products + torch.full(products.shape[-2:], -math.inf).triu(1)
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            products = products.masked_fill(~attn_mask, -math.inf)
        elif attn_mask is not None:
            products = products + attn_mask
        kept.append(products.softmax(dim=-1))
        return kept[-1] @ value

    fused, whole = getattr(nn.functional, _FUSED), torch.backends.mha.get_fastpath_enabled()
    # an environment variable may have disabled timm's own switch
    unfused = [module for module in tower.modules() if getattr(module, _SWITCH, None) is False]
    setattr(nn.functional, _FUSED, explicit)
    torch.backends.mha.set_fastpath_enabled(False)  # disables torch's fused kernel of the whole layer
    for module in unfused:
        setattr(module, _SWITCH, True)
    try:
        yield kept
    finally:
        setattr(nn.functional, _FUSED, fused)
        torch.backends.mha.set_fastpath_enabled(whole)
        for module in unfused:
            setattr(module, _SWITCH, False)


class Attentive:
    """A plain vision transformer with heads on its class token, and the relevance of its patches to their logits."""

    def __init__(self, model: SourceModel) -> None:
        """Take ownership of ``model`` and freeze its weights.

        Raises:
            UsageError: its tower is no such transformer; the message has the reason.
        """
        self._tower, self._heads = model.tower.requires_grad_(False), model.heads
        self.prefix = int(getattr(getattr(model.tower, "trunk", model.tower), "num_prefix_tokens", 1))
        for head in model.heads:
            head.module.requires_grad_(False)
        self.side = self._check(model.source, model.geometry.size)

    def logits(self, images: Float32) -> Logits:
        """Compute logits [b,c] of each head for pixels [b,3,h,w]."""
        with torch.inference_mode():
            features = self._tower(torch.from_numpy(images))
            return {head.name: head.module(features).numpy() for head in self._heads}

    def explain(self, images: Float32, choose: Choose, score: str) -> tuple[Logits, Mapping[str, Float64]]:
        """Compute logits [b,c] and relevance [b,side,side] of each head.

        Args:
            images: pixels [b,3,h,w].
            choose: chooses the classes to explain.
            score: the score whose gradient is taken; see `rate.kernels.score.score`.
        """
        with explicit_attention(self._tower) as kept:
            features = self._tower(torch.from_numpy(images).requires_grad_())
        outputs = {head.name: head.module(features) for head in self._heads}
        logits = {name: values.detach().numpy() for name, values in outputs.items()}
        chosen = choose(logits)
        relevance = {}
        for head in self._heads:
            total = _score(outputs[head.name], torch.from_numpy(chosen[head.name])[:, None], score).sum()
            layers = kept if head.kind == "linear" else kept[-1:]  # as the paper takes them
            relevance[head.name] = patch_maps(class_relevance(_weights(total, layers)), self.prefix)
        return logits, relevance

    def _check(self, source: str, size: int) -> int:
        """Return the number of patches per side."""
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(2, 3, size, size, generator=generator)
        with torch.inference_mode():
            expected = self._tower(images)
        with explicit_attention(self._tower) as kept:
            features = self._tower(images.requires_grad_())
        if not kept:
            raise _refused(source, f"{type(self._tower).__name__} computes no attention that can be read")
        length = kept[0].shape[-1]
        if any(one.shape[0] != 2 or one.shape[2:] != (length, length) for one in kept):
            raise _refused(source, "its layers do not attend from all tokens of an image to all of them")
        side = math.isqrt(max(length - self.prefix, 0))
        if side < 2 or side**2 + self.prefix != length or size % side:
            raise _refused(source, f"its {size} pixels become {length} tokens, not a square of equal patches")
        if not (features - expected).abs().max() <= SAME * expected.abs().max():
            raise _refused(source, "written out, its attention gives other features than as it is")
        (gradient,) = torch.autograd.grad((features * torch.randn(features.shape, generator=generator)).sum(), kept[-1])
        if gradient[:, :, 1:].any() or not gradient.any():
            raise _refused(source, "its features are not read off a class token")
        return side


def _score(logits: Tensor, column: Tensor, kind: str) -> Tensor:
    """Compute the scores [b,1] of the classes ``column`` [b,1] from logits [b,c]; see `rate.kernels.score.score`."""
    own = logits.gather(1, column)
    if kind == "logit":
        return own
    if kind == "centred":
        return own - logits.mean(dim=1, keepdim=True)
    if kind == "probability":
        return logits.softmax(dim=1).gather(1, column)
    return own - logits.scatter(1, column, -torch.inf).logsumexp(dim=1, keepdim=True)


def _weights(score: Tensor, attention: list[Tensor]) -> list[Float64]:
    """Compute the mean over attention heads of max(0, gradient * attention), [b,l,l] of every layer."""
    gradients = torch.autograd.grad(score, attention, retain_graph=True)
    pairs = zip(attention, gradients, strict=True)
    return [(one.detach() * gradient).clamp(min=0).mean(dim=1).numpy().astype(np.float64) for one, gradient in pairs]


def _refused(source: str, why: str) -> UsageError:
    return UsageError(
        f"--saliency attention: {source} is no plain vision transformer with a class token: {why}; use --saliency rise"
    )
