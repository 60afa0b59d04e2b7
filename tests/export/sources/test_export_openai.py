"""OpenAI's CLIP state dicts: the weights say what the model is."""

from __future__ import annotations

import warnings
from pathlib import Path

import clip_weights
import hf_models
import numpy as np
import pytest
import torch

from rate.artifacts.checkpoint import load_checkpoint
from rate.errors import UsageError
from rate.export.export import ExportOptions, export_artifact
from rate.export.sources.open_source import open_source, open_tower
from rate.finetune.contrastive import FlcpSettings, finetune_flcp, open_encoder

PROMPTS = ["a photo of a dark square", "a photo of a light"]


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    (tmp_path / "classes.txt").write_text("dark\tdark square\nlight\n")
    return tmp_path / "classes.txt"


def save(folder: Path, state: dict[str, torch.Tensor], name: str = "clip.pt") -> str:
    torch.save(state, folder / name)
    return f"openai:{folder / name}"


@pytest.mark.parametrize(
    "vision", [clip_weights.VIT, pytest.param(clip_weights.RESNET, marks=pytest.mark.slow)], ids=["vit", "resnet"]
)
def test_the_graph_gives_the_logits_of_the_loader_that_open_clip_has(vision, classes: Path, tmp_path: Path) -> None:
    state = clip_weights.clip(vision)
    source = save(tmp_path, state)
    artifact = export_artifact(source, tmp_path / "artifact", ExportOptions(classes=classes))
    size = vision["image_size"]
    assert (artifact.family, artifact.geometry.size, artifact.geometry.resize) == ("open_clip", size, size)
    assert artifact.geometry.mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))
    assert (artifact.geometry.crop, artifact.geometry.interpolation) == ("center", "bicubic")
    pixels = torch.from_numpy(hf_models.noise(artifact.geometry, 3))
    expected = clip_weights.logits(state, pixels, PROMPTS)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(hf_models.exported_logits(artifact, pixels.numpy())["zs"], expected, atol=1e-4)


def test_half_precision_weights_are_read_as_f32(classes: Path, tmp_path: Path) -> None:
    state = clip_weights.clip(clip_weights.VIT)
    half = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    source = open_source(save(tmp_path, half), ExportOptions(classes=classes))
    pixels = torch.randn(2, 3, 32, 32)
    expected = clip_weights.logits({name: value.float() for name, value in half.items()}, pixels, PROMPTS)
    np.testing.assert_allclose(source.logits(pixels.numpy())["zs"], expected, atol=1e-4)


def test_every_recipe_starts_from_it(image_set, tmp_path: Path) -> None:
    source = save(tmp_path, clip_weights.clip(clip_weights.VIT))
    settings = FlcpSettings(split=None, epochs=1, batch=3, threads=1)
    finetune_flcp(source, image_set(6), tmp_path / "flcp", settings)
    checkpoint = load_checkpoint(tmp_path / "flcp")
    assert (checkpoint.family, checkpoint.base.weights) == ("open_clip", open_tower(source).weights)
    assert open_encoder(str(tmp_path / "flcp")).geometry == open_tower(source).geometry


def test_a_torchscript_archive_is_refused_with_the_way_to_convert_it(classes: Path, tmp_path: Path) -> None:
    path = tmp_path / "ViT-B-32.pt"
    with warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning):
            warnings.simplefilter("ignore", category)  # torch goes on reading these archives, and so do users
        torch.jit.save(torch.jit.trace(torch.nn.Linear(3, 2).eval(), torch.zeros(2, 3)), path)
    with pytest.raises(UsageError, match=r"is a TorchScript archive.*torch.jit.load\('.*ViT-B-32.pt'.*state_dict\(\)"):
        open_source(f"openai:{path}", ExportOptions(classes=classes))


def test_other_weights_are_refused_by_name(classes: Path, tmp_path: Path) -> None:
    state = clip_weights.clip(clip_weights.VIT)
    options = ExportOptions(classes=classes)
    with pytest.raises(UsageError, match=r"is no CLIP state dict with OpenAI's names .* starts with fc.weight"):
        open_source(save(tmp_path, {"fc.weight": torch.zeros(2, 3)}), options)
    del state["visual.ln_pre.weight"]
    with pytest.raises(UsageError, match=r"do not fit the model: missing: visual.ln_pre.weight"):
        open_source(save(tmp_path, state), options)
