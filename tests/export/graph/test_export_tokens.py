"""The token form of ViTs of timm and open_clip is their forward on the kept patches; other models are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_models
import perturbing
import pytest
import torch
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer as ClipVit
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_relpos import VisionTransformerRelPos
from torch import Tensor, nn

from rate.artifacts.artifact import load_artifact
from rate.artifacts.parity_sample import load_sample
from rate.artifacts.records import ArtifactDocument
from rate.backends.base import Graph
from rate.backends.onnxruntime import OrtSpec
from rate.backends.openvino import OpenVinoSpec
from rate.cli.main import run
from rate.errors import UsageError
from rate.export.export import ExportOptions, export_artifact
from rate.export.graph.tokens import TokenForm, dropped_logits
from rate.export.graph.torch_to_onnx import export_tokens
from rate.export.sources.families.vit import locate_cut
from rate.export.sources.open_source import open_source
from rate.kernels.tokens import RiseTokens, patches
from rate.records import schema_of
from rate.types import Rows

SIZE, SIDE = 32, 4
SMALL = {"img_size": SIZE, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2, "num_classes": 0}
CLIP = {"image_size": SIZE, "patch_size": 8, "width": 32, "layers": 2, "heads": 2, "mlp_ratio": 2.0, "output_dim": 16}


def shaken(model: nn.Module) -> nn.Module:
    """Every weight random: what starts as zero or one would hide a mistake."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.1)
    return model.eval()


def slow_timm(vit: VisionTransformer, image: Tensor, kept: Tensor) -> Tensor:
    """Features [d] of one image [3,h,w] from its kept patches, step by step."""
    tokens = vit.patch_embed.proj(image[None]).flatten(2).transpose(1, 2)
    named = [getattr(vit, name, None) for name in ("cls_token", "reg_token", "dist_token")]
    first = torch.cat([token for token in named if token is not None] + [tokens[:, :0]], dim=1)
    prefix = first.shape[1]
    position = vit.pos_embed if vit.pos_embed is not None else torch.zeros_like(tokens)
    if position.shape[1] > tokens.shape[1]:
        first, position = first + position[:, :prefix], position[:, prefix:]
    hidden = vit.norm_pre(torch.cat([first, (tokens + position)[:, kept]], dim=1))
    for block in vit.blocks:
        hidden = block(hidden)
    hidden = vit.norm(hidden)
    if isinstance(vit, VisionTransformerDistilled):
        return (hidden[0, 0] + hidden[0, 1]) / 2
    if vit.attn_pool is not None:
        return vit.fc_norm(vit.attn_pool(hidden[:, prefix:]))[0]
    pooled = hidden[:, 0] if vit.global_pool == "token" else hidden[:, prefix:].mean(dim=1)
    return vit.fc_norm(pooled)[0]


def slow_clip(vit: ClipVit, image: Tensor, kept: Tensor) -> Tensor:
    """The same for open_clip's own class."""
    tokens = vit.conv1(image[None]).flatten(2).transpose(1, 2)[0]
    position = vit.positional_embedding
    hidden = torch.cat([(vit.class_embedding + position[0])[None], (tokens + position[1:])[kept]])
    hidden = vit.transformer(vit.ln_pre(hidden)[None])
    if vit.attn_pool is not None:
        pooled = vit.ln_post(vit.attn_pool(hidden))[:, 0]
    elif vit.pool_type == "avg":
        pooled = vit.ln_post(hidden)[:, 1:].mean(dim=1)
    else:
        pooled = vit.ln_post(hidden[:, 0])
    return (pooled @ vit.proj)[0]


def slow_wrapped(tower: TimmModel, image: Tensor, kept: Tensor) -> Tensor:
    """A timm tower inside an open_clip model."""
    return tower.head(slow_timm(tower.trunk, image, kept)[None])[0]


def wrapped(pool: str) -> TimmModel:
    tower = TimmModel("test_vit", 16, image_size=160, pool=pool, proj="linear")
    tower.trunk = VisionTransformer(**SMALL, global_pool=pool)
    tower.head = nn.Sequential(nn.Linear(32, 16))
    return tower


Slow = Callable[[nn.Module, Tensor, Tensor], Tensor]
TOWERS: dict[str, tuple[Callable[[], nn.Module], Slow]] = {
    "class token": (lambda: VisionTransformer(**SMALL), slow_timm),
    "mean, no class token": (lambda: VisionTransformer(**SMALL, global_pool="avg", class_token=False), slow_timm),
    "mean with class token": (lambda: VisionTransformer(**SMALL, global_pool="avg"), slow_timm),
    "attention pool": (lambda: VisionTransformer(**SMALL, global_pool="map", class_token=False), slow_timm),
    "registers": (lambda: VisionTransformer(**SMALL, reg_tokens=3, no_embed_class=True), slow_timm),
    "registers with positions": (lambda: VisionTransformer(**SMALL, reg_tokens=3, global_pool="avg"), slow_timm),
    "norm before": (lambda: VisionTransformer(**SMALL, pre_norm=True), slow_timm),
    "patch dropout": (lambda: VisionTransformer(**SMALL, patch_drop_rate=0.5), slow_timm),
    "any size": (lambda: VisionTransformer(**SMALL, dynamic_img_size=True), slow_timm),
    "distilled": (lambda: VisionTransformerDistilled(**SMALL), slow_timm),
    "clip": (lambda: ClipVit(**CLIP), slow_clip),
    "clip, mean": (lambda: ClipVit(**CLIP, pool_type="avg", no_ln_pre=True), slow_clip),
    "clip, patch dropout": (lambda: ClipVit(**CLIP, patch_dropout=0.5, final_ln_after_pool=True), slow_clip),
    "clip, attention pool": (
        lambda: ClipVit(**CLIP, attentional_pool=True, attn_pooler_queries=5, attn_pooler_heads=2),
        slow_clip,
    ),
    "clip around timm": (lambda: wrapped("avg"), slow_wrapped),
}


@pytest.mark.parametrize("name", TOWERS)
def test_dropped_patches_leave_the_forward_of_the_kept_ones(name: str) -> None:
    """The form that is exported, and the slow one that exports are compared with, against blocks run by hand."""
    make, slow = TOWERS[name]
    tower = shaken(make())
    cut = locate_cut(tower, SIZE, name)
    pictures, head = perturbing.pictures(3, SIZE), nn.Identity()
    images = perturbing.pixels(pictures)
    resident = [np.stack([getattr(one, name) for one in pictures]) for name in ("levels", "zero", "scale")]
    form = TokenForm(tower, [head], cut).eval()
    for count in (1, 5, SIDE**2):
        masks = np.stack([np.random.default_rng(k).permutation(SIDE**2) < count for k in range(4)])
        slot, kept = np.array([0, 2, 1, 2]), np.stack([np.flatnonzero(mask) for mask in masks])
        rows = Rows.under_masks(
            slot, masks.reshape(4, SIDE, SIDE).astype(np.float32), np.zeros((4, 2), np.int64), fill=0
        )
        with torch.inference_mode():
            pairs = zip(slot, kept, strict=True)
            expected = np.stack([slow(tower, torch.tensor(images[s]), torch.tensor(k)).numpy() for s, k in pairs])
            with cut.replaced(form.gather):
                [fast] = form(*(torch.from_numpy(array) for array in (*resident, slot, kept)))
        np.testing.assert_allclose(fast.numpy(), expected, atol=1e-5)
        np.testing.assert_allclose(dropped_logits(tower, {"f": head}, cut, images, rows)["f"], expected, atol=1e-5)
        if count == SIDE**2:
            with torch.inference_mode():
                np.testing.assert_allclose(tower(torch.from_numpy(images[slot])).numpy(), expected, atol=1e-5)


def test_the_tower_is_as_before(tmp_path: Path) -> None:
    tower = shaken(VisionTransformer(**SMALL))
    names, before = list(tower.state_dict()), tower.patch_drop
    cut = locate_cut(tower, SIZE, "a")
    with pytest.raises(RuntimeError, match="on purpose"), cut.replaced(nn.Linear(1, 1)):
        raise RuntimeError("on purpose")
    assert tower.patch_drop is before
    assert list(tower.state_dict()) == names
    assert not before._forward_hooks


Exported = tuple[nn.Module, nn.Module, Graph]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A timm tower, a head, and their token graph as `export_tokens` writes it."""
    tower = shaken(VisionTransformer(**SMALL, reg_tokens=3, global_pool="avg"))
    head = shaken(nn.Linear(32, 3))
    path = tmp_path_factory.mktemp("graph") / "tokens.onnx"
    export_tokens(tower, {"logits_a": head}, locate_cut(tower, SIZE, "a"), SIZE, path)
    return tower, head, Graph(path, ("a",), SIZE, patches=SIDE)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_the_graph_takes_any_number_of_patches_and_rows(exported: Exported, runtime: str) -> None:
    tower, head, graph = exported
    spec = OrtSpec(graph, 1) if runtime == "onnxruntime" else OpenVinoSpec(graph, "f32", 1)
    images = perturbing.pictures(4, SIZE, seed=8)
    cut = locate_cut(tower, SIZE, "a")
    for count, keep in ((1, 0.5), (7, 0.25), (40, 0.9)):
        masks = RiseTokens(SIZE, SIDE, (keep,), "fixed", count, 0).draw("a", 0, count)
        grid = masks.grid.copy()
        grid[0] = 1.0
        rows = Rows.under_masks(np.arange(count) % 4, grid, masks.offset, fill=0)
        found = perturbing.run(spec, patches(SIZE, SIDE), images, rows)["a"]
        expected = dropped_logits(tower, {"a": head}, cut, perturbing.pixels(images), rows)["a"]
        np.testing.assert_allclose(found, expected, atol=1e-4)


class MixesNeighbours(nn.Module):
    """A block that is no set operation: the mean of each token and the one before it."""

    def forward(self, x: Tensor) -> Tensor:
        return (x + x.roll(1, dims=1)) / 2


def with_block(block: nn.Module) -> nn.Module:
    vit = VisionTransformer(**SMALL, global_pool="avg")
    vit.blocks.append(block)
    return vit


def with_stem() -> nn.Module:
    vit = VisionTransformer(**SMALL)
    vit.patch_embed.proj = nn.Conv2d(3, 32, 12, stride=8, padding=2)
    return vit


def convolutional() -> nn.Module:
    import timm

    return timm.create_model("test_efficientnet", pretrained=False, num_classes=0)


NO_VIT = {
    "a convolutional net": (convolutional, "EfficientNet has no place where patches can be dropped"),
    "relative positions": (lambda: VisionTransformerRelPos(**SMALL), "no place where patches can be dropped"),
    "blocks over the grid": (lambda: with_block(MixesNeighbours()), "use the place of a token in the grid"),
    "overlapping patches": (with_stem, "its tokens are not one equal patch of the image each"),
    "a remainder": (
        lambda: VisionTransformer(**SMALL | {"img_size": 33}),
        r"its 33 pixels become tokens of shape \(1, 17, 32\), not a square of equal patches",
    ),
    "a border that nobody sees": (
        lambda: VisionTransformer(**SMALL | {"img_size": 36}),
        "its tokens are not one equal patch of the image each",
    ),
}


@pytest.mark.parametrize("name", NO_VIT)
def test_what_is_no_plain_vision_transformer_is_refused(name: str) -> None:
    make, message = NO_VIT[name]
    with pytest.raises(
        UsageError, match=f"--tokens: X is no plain vision transformer: .*{message}.*leave --tokens out"
    ):
        locate_cut(shaken(make()), {"a remainder": 33, "a border that nobody sees": 36}.get(name, SIZE), "X")


def test_an_artifact_has_both_forms_and_their_weights_once(tiny_vit) -> None:
    import jsonschema

    artifact = load_artifact(tiny_vit.artifact)
    assert (artifact.graphs, artifact.patches) == ({"pixels": "pixels.onnx", "tokens": "tokens.onnx"}, SIDE)
    assert artifact.parity["tokens"].max_abs["zs"] < 1e-4
    assert "tokens.onnx.data" not in artifact.files
    assert (tiny_vit.artifact / "tokens.onnx").stat().st_size < 2**20
    jsonschema.validate(json.loads((tiny_vit.artifact / "artifact.json").read_text()), schema_of(ArtifactDocument))
    sample = load_sample(artifact, "tokens")
    counts = sample.rows.grid.sum(axis=(1, 2))
    assert (counts == SIDE**2).sum() >= 2
    assert (counts == SIDE**2 / 2).sum() >= 3
    source = open_source(tiny_vit.source, ExportOptions(classes=tiny_vit.classes))
    whole = counts == SIDE**2
    expected = source.logits(sample.images[sample.rows.slot[whole]])["zs"]
    np.testing.assert_allclose(sample.logits["zs"][whole], expected, atol=1e-5)


def test_the_token_form_changes_what_an_artifact_is_and_older_ones_do_without(tiny_vit, tmp_path: Path) -> None:
    document = json.loads((tiny_vit.artifact / "artifact.json").read_text())
    for name, change in (("patches", None), ("files", {"tokens.onnx": document["files"]["tokens.onnx"]})):
        broken = tmp_path / name
        broken.mkdir()
        for path in tiny_vit.artifact.iterdir():
            (broken / path.name).write_bytes(path.read_bytes())
        changed = {key: value for key, value in document.items() if key != name}
        (broken / "artifact.json").write_text(json.dumps(changed | ({name: change} if change else {})))
        with pytest.raises(UsageError, match=r"'patches' goes with a graph|does not list"):
            load_artifact(broken)


def test_sources_without_patches_are_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = onnx_models.Model(channels=4).save(tmp_path / "model.onnx")
    classes = onnx_models.write_classes(tmp_path / "classes.txt")
    arguments = ["--classes", str(classes), "--tokens", "--out", str(tmp_path / "out")]
    assert run(["export", f"onnx:{model}", *arguments]) == 2
    assert "is a finished graph, in which patches cannot be dropped" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(UsageError, match="test_efficientnet is no plain vision transformer"):
        export_artifact("timm:test_efficientnet", tmp_path / "out", ExportOptions(tokens=True))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ViT-B-32-quickgelu", "ViT-B-16"])
def test_clip_architectures_keep_their_logits_and_store_their_weights_once(name: str, tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("dark\nlight\n")
    options = ExportOptions(classes=tmp_path / "classes.txt", tokens=True)
    artifact = export_artifact(f"open_clip:{name}", tmp_path / "artifact", options)
    assert artifact.parity["tokens"].max_abs["zs"] < 1e-4
    assert "tokens.onnx.data" not in artifact.files
