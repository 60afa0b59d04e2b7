"""Plain vision transformers of timm and open_clip: the place where they drop patches, and a check of its conditions.

A list of architectures would become outdated. The check tests the two conditions of the token form instead: a token
depends on its own patch alone until the cut, and behind the cut the tokens are a set. Windows, convolutions, relative
or rotary positions and poolings over the grid all violate the second condition.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from rate.errors import UsageError
from rate.export.graph.tokens import Cut

_DROPS = ("patch_dropout", "patch_drop")
"""Names of the module that drops patches in training, in open_clip and timm; it follows the position embedding."""

_SAME = 1e-4
"""The largest relative difference of features that counts as rounding."""


def locate_cut(tower: nn.Module, size: int, source: str) -> Cut:
    """Locate the cut behind the position embedding of a plain vision transformer.

    Args:
        tower: pixels [b,3,h,w] -> features [b,d], eval mode.
        size: side of its square input, pixels.
        source: the SOURCE, for messages.

    Raises:
        UsageError: the tower is no plain vision transformer; the message has the reason.
    """
    vit = getattr(tower, "trunk", tower)  # open_clip wraps towers of timm
    name = next((name for name in _DROPS if isinstance(getattr(vit, name, None), nn.Module)), None)
    if name is None:
        raise _no_vit(source, f"{type(vit).__name__} has no place where patches can be dropped")
    prefix = int(getattr(vit, "num_prefix_tokens", 1))
    image = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    tokens = _tokens(vit, name, tower, image)
    side = math.isqrt(max(tokens.shape[1] - prefix, 0)) if tokens.ndim == 3 else 0
    if side < 2 or side**2 + prefix != tokens.shape[1] or size % side:
        raise _no_vit(
            source, f"its {size} pixels become tokens of shape {tuple(tokens.shape)}, not a square of equal patches"
        )
    cut = Cut(vit, name, prefix, side)
    _check_own_patch(cut, tower, image, tokens, source)
    _check_set(cut, tower, image, source)
    return cut


def _tokens(vit: nn.Module, name: str, tower: nn.Module, image: Tensor) -> Tensor:
    """Record the tokens that pass the module ``name``; the tensor is empty if none do."""
    seen: list[Tensor] = []
    with Cut(vit, name, 0, 0).changed(seen.append), torch.inference_mode():
        tower(image)
    return seen[0] if seen else torch.empty(0)


def _check_own_patch(cut: Cut, tower: nn.Module, image: Tensor, tokens: Tensor, source: str) -> None:
    """Check that pixels of the second patch change the second token only."""
    patch = image.shape[-1] // cut.side
    other = image.clone()
    other[:, :, :patch, patch : 2 * patch] += 1.0
    moved = (_tokens(cut.owner, cut.name, tower, other) - tokens).abs().amax(dim=(0, 2)) > _SAME * tokens.abs().max()
    if moved.nonzero().flatten().tolist() != [cut.prefix + 1]:
        raise _no_vit(source, "its tokens are not one equal patch of the image each")


def _check_set(cut: Cut, tower: nn.Module, image: Tensor, source: str) -> None:
    """Check that features do not depend on the order of the patches' tokens."""
    order = torch.randperm(cut.side**2, generator=torch.Generator().manual_seed(0)) + cut.prefix
    shuffled = torch.cat([torch.arange(cut.prefix), order])
    with torch.inference_mode():
        features = tower(image)
        with cut.changed(lambda tokens: tokens[:, shuffled]):
            difference = (tower(image) - features).abs().max()
    if not difference <= _SAME * features.abs().max():
        raise _no_vit(source, "its blocks or its pooling use the place of a token in the grid")


def _no_vit(source: str, why: str) -> UsageError:
    return UsageError(
        f"--tokens: {source} is no plain vision transformer: {why}; leave --tokens out and use --saliency rise"
    )
