"""ALBEF and BLIP checkpoints in their authors' layout, against their forward written down a second time."""

from __future__ import annotations

from pathlib import Path

import albef_models
import hf_models
import numpy as np
import pytest
import torch

from rate.artifacts.artifact import load_artifact
from rate.errors import UsageError
from rate.export.export import ExportOptions, export_artifact
from rate.export.sources.open_source import open_source, open_tower
from rate.finetune.full import FtSettings, finetune_ft
from rate.finetune.lp import LpSettings, finetune_lp

PROMPTS = ["a photo of a dark square", "a photo of a light"]


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    (tmp_path / "classes.txt").write_text("dark\tdark square\nlight\n")
    return tmp_path / "classes.txt"


def save(folder: Path, weights: albef_models.State) -> str:
    hf_models.word_pieces(folder)
    torch.save({"model": weights, "epoch": 29}, folder / "ALBEF.pth")
    return f"albef:{folder / 'ALBEF.pth'}"


@pytest.mark.parametrize(
    ("layout", "layers"),
    [
        ({}, 2),
        ({"bert": ""}, 2),  # as the paper's code names it
        ({"fused_from": 0, "token_types": False, "bert": ""}, 3),  # BLIP
    ],
)
def test_logits_are_those_of_the_forward_written_down(layout, layers, classes: Path, tmp_path: Path) -> None:
    weights = albef_models.state(**layout)
    source = open_source(save(tmp_path, weights), ExportOptions(classes=classes))
    pixels = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    expected = albef_models.logits(weights, pixels, tmp_path, PROMPTS, layers, layout.get("bert", "bert."))
    assert np.ptp(expected.numpy()) > 0.5
    np.testing.assert_allclose(source.logits(pixels.numpy())["zs"], expected.numpy(), atol=1e-4)


def test_one_graph_with_a_probe_on_the_class_token_and_the_token_form(classes: Path, image_set, tmp_path: Path) -> None:
    weights = albef_models.state()
    source = save(tmp_path, weights)
    finetune_lp(source, image_set(6), tmp_path / "lp", LpSettings(split=None, epochs=3))
    options = ExportOptions(classes=classes, heads=(f"lp=linear:{tmp_path / 'lp'}",), tokens=True)
    export_artifact(source, tmp_path / "artifact", options)
    artifact = load_artifact(tmp_path / "artifact")
    assert [(head.name, head.kind) for head in artifact.heads] == [("zs", "zero-shot"), ("lp", "linear")]
    assert artifact.patches == 4
    geometry = artifact.geometry
    assert (geometry.size, geometry.crop, geometry.interpolation) == (32, "squash", "bicubic")
    pixels = torch.from_numpy(hf_models.noise(geometry))
    found = hf_models.exported_logits(artifact, pixels.numpy())
    expected = albef_models.logits(weights, pixels, tmp_path, PROMPTS, 2)
    np.testing.assert_allclose(found["zs"], expected.numpy(), atol=1e-4)
    with torch.inference_mode():
        token = open_tower(str(tmp_path / "lp")).tower(pixels)
    np.testing.assert_allclose(token.numpy(), albef_models.image_features(weights, pixels).numpy(), atol=1e-4)


def test_its_tower_is_trained_without_a_vocabulary(image_set, tmp_path: Path) -> None:
    torch.save(albef_models.state(), tmp_path / "ALBEF.pth")
    settings = FtSettings(split=None, epochs=1, lr=1e-3, batch=3, threads=1)
    finetune_ft(f"albef:{tmp_path / 'ALBEF.pth'}", image_set(6), tmp_path / "ft", settings)
    assert [info.name for info in open_source(str(tmp_path / "ft"), ExportOptions()).infos] == ["ft"]


def test_a_vocabulary_that_is_missing_or_another_is_named(classes: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    torch.save(albef_models.state(), tmp_path / "ALBEF.pth")
    source, options = f"albef:{tmp_path / 'ALBEF.pth'}", ExportOptions(classes=classes)
    with pytest.raises(UsageError, match=r"hf download google-bert/bert-base-uncased vocab.txt --local-dir"):
        open_source(source, options)
    words = [*hf_models.WORDS[:5], *(f"word{k}" for k in range(30)), "photo"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    with pytest.raises(UsageError, match=r"vocab\.txt gives token 35, the model knows 32"):
        open_source(source, options)


@pytest.mark.parametrize(
    ("without", "message"),
    [
        ("vision_proj.", "lacks vision_proj.weight, vision_proj.bias: it is fine-tuned for another task"),
        ("visual_encoder.cls", "lacks cls_token; expected a vision transformer"),
        ("visual_encoder.blocks.1.norm1", "do not fit the model: missing: blocks.1.norm1"),
        ("text_encoder.bert.embeddings.word", "has no text encoder"),
        ("text_encoder.bert.encoder.layer.1.output", "the text encoder in .* do not fit the model: missing"),
    ],
)
def test_a_checkpoint_without_its_parts_is_refused(without, message, classes: Path, tmp_path: Path) -> None:
    weights = {name: value for name, value in albef_models.state().items() if not name.startswith(without)}
    with pytest.raises(UsageError, match=message):
        open_source(save(tmp_path, weights), ExportOptions(classes=classes))
