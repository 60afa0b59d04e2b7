"""Attention and its gradients, against a transformer written out by hand and against finite differences."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rate.errors import UsageError
from rate.export.options import ExportOptions
from rate.export.sources.attention import Attentive, explicit_attention
from rate.export.sources.open_source import open_source
from rate.export.sources.source_model import SourceHead, SourceModel
from rate.kernels.relevance import upsample


def by_hand(tower: nn.Module, image: Tensor, moved: tuple[int, int, Tensor] | None = None) -> tuple[Tensor, list]:
    """Features [d] and attention [heads,l,l] of every layer of an open_clip tower for one image [3,h,w], step by step.

    ``moved``: (layer, head, [l,l]) is added to the attention of that layer and head.
    """
    patches = tower.conv1(image[None])[0].flatten(1).T
    x = tower.ln_pre(torch.cat([tower.class_embedding[None], patches]) + tower.positional_embedding)
    seen = []
    for number, block in enumerate(tower.transformer.resblocks):
        given = block.ln_1(x)
        query, key, value = (given @ block.attn.in_proj_weight.T + block.attn.in_proj_bias).chunk(3, dim=1)
        width = x.shape[1] // block.attn.num_heads
        mixed, layer = [], []
        for head in range(block.attn.num_heads):
            part = slice(head * width, (head + 1) * width)
            attention = torch.softmax(query[:, part] @ key[:, part].T / math.sqrt(width), dim=1)
            if moved is not None and moved[:2] == (number, head):
                attention = attention + moved[2]
            layer.append(attention)
            mixed.append(attention @ value[:, part])
        seen.append(torch.stack(layer))
        x = x + torch.cat(mixed, dim=1) @ block.attn.out_proj.weight.T + block.attn.out_proj.bias
        x = x + block.mlp(block.ln_2(x))
    return tower.ln_post(x)[0] @ tower.proj, seen


@pytest.fixture
def clip(tiny_vit) -> SourceModel:
    return open_source(tiny_vit.source, ExportOptions(classes=tiny_vit.classes))


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(3, 3, 32, 32)).astype(np.float32)


def columns(*chosen: int):
    return lambda logits: {name: np.array(chosen, np.int64) for name in logits}


def slowly(model: SourceModel, head: nn.Module, image: np.ndarray, column: int, layers: int) -> np.ndarray:
    """Relevance [side,side] with gradients by finite differences, in f64, and whole matrices."""
    tower, head, image = model.tower.double(), head.double(), torch.from_numpy(image).double()
    with torch.no_grad():
        _, seen = by_hand(tower, image)
        length, step = seen[0].shape[-1], 1e-6
        whole = torch.eye(length, dtype=torch.float64)
        for number in range(len(seen))[-layers:]:
            weight = torch.zeros(length, length, dtype=torch.float64)
            for which, attention in enumerate(seen[number]):
                for i in range(length):
                    for j in range(length):
                        bump = torch.zeros(length, length, dtype=torch.float64)
                        bump[i, j] = step
                        up, down = (
                            head(by_hand(tower, image, (number, which, sign * bump))[0])[column] for sign in (1, -1)
                        )
                        weight[i, j] += max(0.0, float((up - down) / (2 * step) * attention[i, j]))
            whole = whole + weight / len(seen[number]) @ whole
        side = math.isqrt(length - 1)
        return whole[0, 1:].reshape(side, side).numpy()


def test_explicit_attention_is_the_attention_and_gives_the_same_features(clip: SourceModel, images) -> None:
    with torch.inference_mode():
        expected = clip.tower(torch.from_numpy(images))
        with explicit_attention(clip.tower) as kept:
            found = clip.tower(torch.from_numpy(images).clone())
        again = clip.tower(torch.from_numpy(images))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert torch.equal(again, expected)
    for image in range(3):
        with torch.no_grad():
            features, seen = by_hand(clip.tower, torch.from_numpy(images[image]))
        torch.testing.assert_close(found[image], features, atol=1e-5, rtol=0)
        for one, other in zip(kept, seen, strict=True):
            torch.testing.assert_close(one[image], other, atol=1e-6, rtol=0)


def test_zero_shot_relevance_is_the_last_layers_with_gradients_by_finite_differences(clip: SourceModel, images) -> None:
    logits, maps = Attentive(clip).explain(images, columns(1, 0, 1), "logit")
    np.testing.assert_allclose(logits["zs"], clip.logits(images)["zs"], atol=1e-4)
    expected = slowly(clip, clip.heads[0].module, images[0], 1, layers=1)
    assert expected.max() > 0
    np.testing.assert_allclose(maps["zs"][0], expected, atol=1e-4 * expected.max())


def test_linear_heads_are_explained_by_all_layers_rolled_out(clip: SourceModel, images) -> None:
    linear = nn.Linear(32, 3)
    with torch.no_grad():
        linear.weight.copy_(torch.randn(3, 32, generator=torch.Generator().manual_seed(1)))
        linear.bias.zero_()
    both = replace(clip, heads=(*clip.heads, SourceHead("lp", "linear", ("a", "b", "c"), linear)))
    _, maps = Attentive(both).explain(images, lambda _: {"zs": np.zeros(3, np.int64), "lp": np.full(3, 2)}, "logit")
    expected = slowly(clip, linear, images[1], 2, layers=2)
    np.testing.assert_allclose(maps["lp"][1], expected, atol=1e-4 * expected.max())


def test_a_timm_tower_is_read_with_its_fused_attention_on_or_off() -> None:
    model = open_source("timm:test_vit", ExportOptions())
    images = np.random.default_rng(0).normal(size=(2, 3, *[model.geometry.size] * 2)).astype(np.float32)
    found = []
    for fused in (True, False):
        for module in model.tower.modules():
            if hasattr(module, "fused_attn"):
                module.fused_attn = fused
        logits, maps = Attentive(model).explain(images, columns(3, 7), "probability")
        found.append(maps["native"])
        np.testing.assert_allclose(logits["native"], model.logits(images)["native"], atol=1e-5)
    assert not any(module.fused_attn for module in model.tower.modules() if hasattr(module, "fused_attn"))
    np.testing.assert_allclose(*found, atol=1e-6 * found[0].max())
    assert upsample(found[0], model.geometry.size).shape == images[:, 0].shape


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("test_efficientnet", "no attention"),
        ("test_vit2", "class token"),
        ("test_vit3", "all tokens|class token"),
        ("test_maxvit", "all tokens|no attention"),
    ],
)
def test_other_towers_are_refused_with_the_cure(name: str, why: str) -> None:
    with pytest.raises(UsageError, match=f"({why}).*use --saliency rise"):
        Attentive(open_source(f"timm:{name}", ExportOptions()))
