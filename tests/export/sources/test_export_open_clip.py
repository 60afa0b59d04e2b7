"""open_clip models: zero-shot heads as open_clip makes them, with linear heads on the same tower, through one graph."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import perturbing
import pytest
import torch
from PIL import Image

from rate.artifacts.artifact import Artifact
from rate.backends.batches import clean_rows
from rate.backends.onnxruntime import OrtSpec
from rate.data.images.prepare import prepare
from rate.errors import UsageError
from rate.export.export import ExportOptions, export_artifact
from rate.export.sources.open_source import open_source, open_tower
from rate.export.sources.prompts import read_prompts
from rate.kernels.separable import rise
from rate.types import Sample

TINY = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 32, "layers": 2, "head_width": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    (tmp_path / "tiny.json").write_text(json.dumps({"model_cfg": TINY, "preprocess_cfg": {"mean": [0.5] * 3}}))
    return f"open_clip:{tmp_path / 'tiny.json'}"


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    (tmp_path / "classes.txt").write_text("dark\tdark square\nlight\n")
    return tmp_path / "classes.txt"


def test_a_zero_shot_head_is_the_cosine_with_the_prompts_scaled(tiny: str, classes: Path, tmp_path: Path) -> None:
    templates = tmp_path / "templates.txt"
    templates.write_text("a photo of a {}\na drawing of the {}, in ink\n")
    source = open_source(tiny, ExportOptions(classes=classes, templates=templates))
    assert [(info.name, info.kind, info.classes) for info in source.infos] == [("zs", "zero-shot", ("dark", "light"))]

    import open_clip

    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "open_clip_config.json").write_text((tmp_path / "tiny.json").read_text())
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{tmp_path / 'dir'}", load_weights=False).eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'dir'}")
    images = torch.randn(4, 3, 32, 32)
    with torch.inference_mode():
        unit = model.encode_image(images, normalize=True)
        weights = []
        for name in ("dark square", "light"):
            texts = tokenizer([f"a photo of a {name}", f"a drawing of the {name}, in ink"])
            mean = model.encode_text(texts, normalize=True).mean(dim=0)
            weights.append(mean / mean.norm())
        expected = model.logit_scale.exp() * unit @ torch.stack(weights).T
    np.testing.assert_allclose(source.logits(images.numpy())["zs"], expected.numpy(), atol=1e-5)


def test_one_graph_carries_all_kinds_of_heads(tiny: str, classes: Path, image_set, tmp_path: Path) -> None:
    from rate.finetune.lp import LpSettings, finetune_lp

    finetune_lp(tiny, image_set(6), tmp_path / "lp", LpSettings(split=None, epochs=3))
    np.savez(tmp_path / "own.npz", dark=np.eye(32, dtype=np.float16)[0], light=np.eye(32, dtype=np.float16)[1])
    heads = (f"lp=linear:{tmp_path / 'lp'}", f"two=zero-shot:{classes}", f"own=embeddings:{tmp_path / 'own.npz'}")
    options = ExportOptions(classes=classes, heads=heads)
    artifact = export_artifact(tiny, tmp_path / "artifact", options)
    assert [(head.name, head.kind) for head in artifact.heads] == [
        ("zs", "zero-shot"),
        ("lp", "linear"),
        ("two", "zero-shot"),
        ("own", "embeddings"),
    ]
    assert max(artifact.parity["pixels"].max_abs.values()) < 1e-4


def test_the_linear_head_stands_on_the_unnormalised_embedding(tiny: str) -> None:
    tower = open_tower(tiny)
    with torch.inference_mode():
        norms = tower.tower(torch.randn(5, 3, 32, 32)).norm(dim=1)
    assert (norms - 1).abs().min() > 1e-3


@pytest.mark.parametrize("exported", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_real_zero_shot_predictions_are_those_of_open_clip(shared_data: Path, tmp_path: Path, exported: bool) -> None:
    import open_clip

    folder = shared_data / "open_clip_efflite0_caltech"
    labels = ("airplanes", "Faces", "Motorbikes", "butterfly", "dalmatian", "dolphin")
    names = json.loads((folder / "class_prompts.json").read_text())
    (tmp_path / "classes.json").write_text(json.dumps({label: names[label] for label in labels}))
    options = ExportOptions(classes=tmp_path / "classes.json")
    source = f"open_clip:local-dir:{folder}"
    ours = export_artifact(source, tmp_path / "artifact", options) if exported else open_source(source, options)

    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model.eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    data = shared_data / "caltech101-boxes"
    with (data / "annotations.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"][::12]
    samples = [Sample(row["image"], row["label"], str(data / row["image"]), boxes=()) for row in rows]
    pictures = [prepare(sample, ours.geometry).picture for sample in samples]
    if isinstance(ours, Artifact):
        perturbation = rise(ours.geometry.size, 7)
        found = perturbing.run(
            OrtSpec(ours.graph()), perturbation, pictures, clean_rows(perturbation, np.arange(len(rows)))
        )["zs"]
    else:
        found = ours.logits(np.stack([picture.pixels for picture in pictures]))["zs"]
    with torch.inference_mode():
        text = model.encode_text(tokenizer([f"a photo of a {names[label]}" for label in labels]), normalize=True)
        images = torch.stack([transform(Image.open(data / row["image"])) for row in rows])
        theirs = (model.logit_scale.exp() * model.encode_image(images, normalize=True) @ text.T).numpy()
    np.testing.assert_allclose(found, theirs, atol=2e-4)
    accuracy = np.mean([labels[k] == row["label"] for k, row in zip(found.argmax(axis=1), rows, strict=True)])
    assert accuracy >= 0.9


def test_a_tokenizer_of_hugging_face_is_read_beside_the_config(classes: Path, tmp_path: Path, monkeypatch) -> None:
    """As the models of SigLIP 2 and MetaCLIP 2 have one."""
    import hf_models
    import open_clip
    from safetensors.torch import save_file

    folder = tmp_path / "worldwide"
    text = {"context_length": 48, "vocab_size": 64, "pool_type": "eos", "eos_id": 1, "hf_tokenizer_name": "nobody/none"}
    config = {"model_cfg": TINY | {"text_cfg": TINY["text_cfg"] | text}, "preprocess_cfg": {"mean": [0.5] * 3}}
    hf_models.gemma_tokenizer().save_pretrained(folder)
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False).eval()
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    source = open_source(f"open_clip:local-dir:{folder}", ExportOptions(classes=classes))
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(["a photo of a dark square", "a photo of a light"])
        units = model.encode_image(images, normalize=True), model.encode_text(tokens, normalize=True)
        expected = (model.logit_scale.exp() * units[0] @ units[1].T).numpy()
    np.testing.assert_allclose(source.logits(images.numpy())["zs"], expected, atol=1e-5)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for path in folder.glob("token*"):
        path.unlink()
    with pytest.raises(UsageError, match=r"the tokenizer nobody/none .* cannot be read .*: hf download nobody/none"):
        open_source(f"open_clip:local-dir:{folder}", ExportOptions(classes=classes))


TIMM_TOWERS = {
    "PE-Core": ("vit_pe_core_tiny_patch16_384", 384, "map", None),
    "EVA02": ("eva02_tiny_patch14_224", 224, "token", None),
    "DINOv3": ("vit_small_patch16_dinov3", 256, "token", "linear"),
    "SigLIP 2": ("vit_base_patch16_siglip_224", 224, "map", "none"),
    "NaFlex": ("naflexvit_base_patch16_siglip", 256, "map", "none"),
    "MobileCLIP 2": ("fastvit_mci0", 256, "avg", None),
}
"""The towers that timm gives open_clip: name, pixels a side, pooling and projection as in open_clip's own configs."""


@pytest.mark.slow
@pytest.mark.parametrize("tower", TIMM_TOWERS)
def test_towers_of_timm_keep_their_logits(tower: str, classes: Path, tmp_path: Path) -> None:
    name, size, pool, projection = TIMM_TOWERS[tower]
    vision = {"timm_model_name": name, "image_size": size, "timm_pool": pool, "timm_proj": projection}
    config = TINY | {"embed_dim": 768 if projection == "none" else 32, "vision_cfg": vision, "custom_text": True}
    (tmp_path / "tower.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {"mean": [0.5] * 3}}))
    source = f"open_clip:{tmp_path / 'tower.json'}"
    artifact = export_artifact(source, tmp_path / "artifact", ExportOptions(classes=classes))
    assert max(artifact.parity["pixels"].max_abs.values()) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ViT-B-32-quickgelu", "ViT-B-16"])
def test_clip_architectures_keep_their_logits(name: str, classes: Path, tmp_path: Path) -> None:
    artifact = export_artifact(f"open_clip:{name}", tmp_path / "artifact", ExportOptions(classes=classes))
    assert max(artifact.parity["pixels"].max_abs.values()) < 1e-4


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("open_clip:ViT-B-33", "did you mean ViT-B-32"),
        ("open_clip:local-dir:/nowhere", "a folder with open_clip_config.json"),
        ("open_clip:/nowhere/x.json", "cannot be read as an open_clip config"),
        ("open_clip:ViT-B-32:no_such_tag", "neither a file nor a pretrained tag"),
    ],
)
def test_what_cannot_be_opened_is_named(source: str, message: str, classes: Path) -> None:
    with pytest.raises(UsageError, match=message):
        open_source(source, ExportOptions(classes=classes))


def test_a_flat_config_is_the_same_model(tiny: str, classes: Path, tmp_path: Path) -> None:
    (tmp_path / "flat.json").write_text(json.dumps(TINY | {"preprocess_cfg": {"mean": [0.5] * 3}}))
    flat = open_source(f"open_clip:{tmp_path / 'flat.json'}", ExportOptions(classes=classes))
    nested = open_source(tiny, ExportOptions(classes=classes))
    assert (flat.weights, flat.geometry) == (nested.weights, nested.geometry)


def test_a_model_without_heads_says_how_to_give_it_one(tiny: str) -> None:
    with pytest.raises(UsageError, match="give --classes FILE for a zero-shot head"):
        open_source(tiny, ExportOptions())


@pytest.mark.parametrize(
    ("classes", "templates", "message"),
    [
        ("only one\n", None, "at least 2"),
        ("a\tcat\na\tdog\n", None, "stands on two lines"),
        ("a\nb\n", "a photo\n", "must hold one"),
        ("a\nb\n", "a {} photo {}\n", "must hold one"),
        ("a\nb\n", "\n", "is empty"),
    ],
)
def test_prompts_are_checked(tmp_path: Path, classes: str, templates: str | None, message: str) -> None:
    (tmp_path / "c.txt").write_text(classes)
    if templates is not None:
        (tmp_path / "t.txt").write_text(templates)
    with pytest.raises(UsageError, match=message):
        read_prompts(tmp_path / "c.txt", None if templates is None else tmp_path / "t.txt")
