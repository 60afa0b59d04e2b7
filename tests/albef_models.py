"""Small checkpoints in the layout of ALBEF and of BLIP's authors, and their forward written down a second time."""

from __future__ import annotations

import math
from pathlib import Path

import hf_models
import torch
from torch import Tensor
from torch.nn.functional import gelu, layer_norm, linear, normalize

WIDTH, PATCH, GRID, DEPTH, EMBEDDING = 128, 8, 4, 2, 24
State = dict[str, Tensor]


def state(text_layers: int = 3, fused_from: int = 2, token_types: bool = True, bert: str = "bert.") -> State:
    """Weights: ``fused_from`` is the first layer with cross attention."""
    generator = torch.Generator().manual_seed(0)

    def weights(name: str, *shape: int) -> State:
        return {name: torch.randn(shape, generator=generator) * (0.05 if len(shape) > 1 else 0.1)}

    def layer(name: str, out: int, into: int) -> State:
        return weights(f"{name}.weight", out, into) | weights(f"{name}.bias", out)

    def norm(name: str) -> State:
        return {f"{name}.weight": 1 + weights("x", WIDTH)["x"]} | weights(f"{name}.bias", WIDTH)

    found = weights("visual_encoder.cls_token", 1, 1, WIDTH) | norm("visual_encoder.norm")
    found |= weights("visual_encoder.pos_embed", 1, GRID**2 + 1, WIDTH)
    found |= weights("visual_encoder.patch_embed.proj.weight", WIDTH, 3, PATCH, PATCH)
    found |= weights("visual_encoder.patch_embed.proj.bias", WIDTH)
    for k in range(DEPTH):
        block = f"visual_encoder.blocks.{k}"
        found |= norm(f"{block}.norm1") | norm(f"{block}.norm2")
        found |= layer(f"{block}.attn.qkv", 3 * WIDTH, WIDTH) | layer(f"{block}.attn.proj", WIDTH, WIDTH)
        found |= layer(f"{block}.mlp.fc1", 2 * WIDTH, WIDTH) | layer(f"{block}.mlp.fc2", WIDTH, 2 * WIDTH)
    text = f"text_encoder.{bert}"
    for name, rows in (("word", 32), ("position", 40), *([("token_type", 2)] if token_types else [])):
        found |= weights(f"{text}embeddings.{name}_embeddings.weight", rows, WIDTH)
    found |= norm(f"{text}embeddings.LayerNorm") | {f"{text}embeddings.position_ids": torch.arange(40)[None]}
    for k in range(text_layers):
        place = f"{text}encoder.layer.{k}"
        for attention in ("attention", *(["crossattention"] if k >= fused_from else [])):
            for part in ("query", "key", "value"):
                found |= layer(f"{place}.{attention}.self.{part}", WIDTH, WIDTH)
            found |= layer(f"{place}.{attention}.output.dense", WIDTH, WIDTH)
            found |= norm(f"{place}.{attention}.output.LayerNorm")
        found |= layer(f"{place}.intermediate.dense", 2 * WIDTH, WIDTH)
        found |= layer(f"{place}.output.dense", WIDTH, 2 * WIDTH) | norm(f"{place}.output.LayerNorm")
    found |= layer("vision_proj", EMBEDDING, WIDTH) | layer("text_proj", EMBEDDING, WIDTH)
    momentum = {name.replace(".", "_m.", 1): torch.zeros_like(value) for name, value in found.items()}
    rest = layer("itm_head", 2, WIDTH) | weights("image_queue", EMBEDDING, 8) | {"queue_ptr": torch.zeros(1).long()}
    return found | momentum | rest | {"temp": torch.tensor(0.05)}


def attend(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None = None) -> Tensor:
    """Heads of 64 channels, [b,n,d] each."""
    heads = [part.unflatten(2, (-1, 64)).transpose(1, 2) for part in (query, key, value)]
    scores = heads[0] @ heads[1].transpose(2, 3) / 8.0
    if allowed is not None:
        scores = scores.masked_fill(~allowed[:, None, None, :], -math.inf)
    return (scores.softmax(dim=3) @ heads[2]).transpose(1, 2).flatten(2)


def image_features(weights: State, pixels: Tensor, prefix: str = "visual_encoder.") -> Tensor:
    """The class token [b,d] of the image encoder."""
    own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}

    def norm(x: Tensor, name: str) -> Tensor:
        return layer_norm(x, (WIDTH,), own[f"{name}.weight"], own[f"{name}.bias"], eps=1e-6)

    def dense(x: Tensor, name: str) -> Tensor:
        return linear(x, own[f"{name}.weight"], own[f"{name}.bias"])

    kernel, bias = own["patch_embed.proj.weight"], own["patch_embed.proj.bias"]
    patches = torch.nn.functional.conv2d(pixels, kernel, bias, stride=PATCH).flatten(2).transpose(1, 2)
    x = torch.cat([own["cls_token"].expand(len(pixels), -1, -1), patches], dim=1) + own["pos_embed"]
    for k in range(DEPTH):
        query, key, value = dense(norm(x, f"blocks.{k}.norm1"), f"blocks.{k}.attn.qkv").chunk(3, dim=2)
        x = x + dense(attend(query, key, value), f"blocks.{k}.attn.proj")
        hidden = gelu(dense(norm(x, f"blocks.{k}.norm2"), f"blocks.{k}.mlp.fc1"))
        x = x + dense(hidden, f"blocks.{k}.mlp.fc2")
    return norm(x, "norm")[:, 0]


def text_features(weights: State, ids: Tensor, mask: Tensor, layers: int, bert: str = "bert.") -> Tensor:
    """The projected class token [n,d] after ``layers`` layers of the text encoder."""
    prefix = f"text_encoder.{bert}"
    own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}

    def norm(x: Tensor, name: str) -> Tensor:
        return layer_norm(x, (WIDTH,), own[f"{name}.weight"], own[f"{name}.bias"], eps=1e-12)

    def dense(x: Tensor, name: str) -> Tensor:
        return linear(x, own[f"{name}.weight"], own[f"{name}.bias"])

    x = own["embeddings.word_embeddings.weight"][ids] + own["embeddings.position_embeddings.weight"][: ids.shape[1]]
    if (types := own.get("embeddings.token_type_embeddings.weight")) is not None:
        x = x + types[0]
    x = norm(x, "embeddings.LayerNorm")
    for k in range(layers):
        place = f"encoder.layer.{k}"
        parts = [dense(x, f"{place}.attention.self.{part}") for part in ("query", "key", "value")]
        x = norm(
            x + dense(attend(*parts, mask.bool()), f"{place}.attention.output.dense"),
            f"{place}.attention.output.LayerNorm",
        )
        hidden = gelu(dense(x, f"{place}.intermediate.dense"))
        x = norm(x + dense(hidden, f"{place}.output.dense"), f"{place}.output.LayerNorm")
    return linear(x[:, 0], weights["text_proj.weight"], weights["text_proj.bias"])


def logits(
    weights: State, pixels: Tensor, folder: Path, prompts: list[str], layers: int, bert: str = "bert."
) -> Tensor:
    """[b,c] as the contrastive loss has them."""
    tokens = hf_models.word_pieces(folder)(prompts, padding="max_length", max_length=30, return_tensors="pt")
    texts = text_features(weights, tokens["input_ids"], tokens["attention_mask"], layers, bert)
    images = linear(image_features(weights, pixels), weights["vision_proj.weight"], weights["vision_proj.bias"])
    return normalize(images, dim=-1) @ normalize(texts, dim=-1).T / weights["temp"]
