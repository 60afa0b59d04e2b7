"""Checkpoints of the paper's own code, told by their names."""

from __future__ import annotations

from pathlib import Path

import albef_models
import clip_weights
import hf_models
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from rate.errors import UsageError
from rate.export.options import ExportOptions
from rate.export.sources.open_source import open_source, open_tower
from rate.finetune.contrastive import open_encoder

PROMPTS = ["a photo of a dark square", "a photo of a light"]
HEAD = {"classifier.weight": torch.randn(3, 32), "classifier.bias": torch.randn(3)}


@pytest.fixture
def names(tmp_path: Path) -> Path:
    (tmp_path / "names.txt").write_text("cat\ndog\nowl\n")
    return tmp_path / "names.txt"


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    (tmp_path / "classes.txt").write_text("dark\tdark square\nlight\n")
    return tmp_path / "classes.txt"


def prefixed(prefix: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": value for name, value in state.items()}


def save(path: Path, state: dict[str, torch.Tensor]) -> str:
    torch.save(state, path)
    return f"reference:{path}"


def clip() -> dict[str, torch.Tensor]:
    told = ("input_resolution", "context_length", "vocab_size")  # not in what it trains
    return {name: value for name, value in clip_weights.clip(clip_weights.VIT).items() if name not in told}


def test_lp_and_ft_of_clip_are_a_head_on_the_embedding(names: Path, prompts: Path, tmp_path: Path) -> None:
    """Saved by several GPUs at once, too; the frozen tower reads text as before."""
    whole = prefixed("module.", prefixed("clip_feature_extractor.", clip()) | HEAD)
    source = save(tmp_path / "00099.pyth", whole)
    model = open_source(source, ExportOptions(classes=names, heads=(f"zs=zero-shot:{prompts}",)))
    assert [(info.name, info.kind) for info in model.infos] == [("native", "linear"), ("zs", "zero-shot")]
    assert model.infos[0].classes == ("cat", "dog", "owl")
    assert f"write {source}:224" in model.notices[0]
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    found = model.logits(pixels.numpy())
    np.testing.assert_allclose(found["zs"], clip_weights.logits(clip(), pixels, PROMPTS), atol=1e-4)
    tower = open_encoder(save(tmp_path / "clip.pyth", clip())).model
    with torch.inference_mode():
        expected = torch.nn.functional.linear(tower.encode_image(pixels), HEAD["classifier.weight"])
    np.testing.assert_allclose(found["native"], (expected + HEAD["classifier.bias"]).numpy(), atol=1e-4)


def test_flcp_of_clip_is_read_by_its_prompts_and_can_be_trained_on(prompts: Path, tmp_path: Path) -> None:
    source = save(tmp_path / "00009.pyth", clip())
    model = open_source(source, ExportOptions(classes=prompts))
    pixels = torch.randn(2, 3, 32, 32)
    np.testing.assert_allclose(
        model.logits(pixels.numpy())["zs"], clip_weights.logits(clip(), pixels, PROMPTS), atol=1e-4
    )
    assert open_encoder(source).geometry == model.geometry
    assert open_tower(source).heads == ()


def test_lp_and_ft_of_albef_and_blip_are_a_head_on_the_class_token(names: Path, tmp_path: Path) -> None:
    weights = albef_models.state()
    encoder = {name.partition(".")[2]: value for name, value in weights.items() if name.startswith("visual_encoder.")}
    head = {"classifier.weight": torch.randn(3, 128), "classifier.bias": torch.randn(3)}
    source = save(tmp_path / "00099.pyth", prefixed("ab_feature_extractor.", encoder) | head)
    model = open_source(source, ExportOptions(classes=names))
    assert model.family == "albef"
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    token = albef_models.image_features(weights, pixels)
    expected = torch.nn.functional.linear(token, head["classifier.weight"], head["classifier.bias"])
    np.testing.assert_allclose(model.logits(pixels.numpy())["native"], expected.numpy(), atol=1e-4)
    with pytest.raises(UsageError, match="only a CLIP is trained further by flcp"):
        open_encoder(source)


def test_flcp_of_albef_is_read_by_its_prompts(prompts: Path, tmp_path: Path) -> None:
    weights = albef_models.state(bert="")
    hf_models.word_pieces(tmp_path)
    model = open_source(save(tmp_path / "00009.pyth", weights), ExportOptions(classes=prompts))
    pixels = torch.randn(2, 3, 32, 32)
    expected = albef_models.logits(weights, pixels, tmp_path, PROMPTS, 2, "")
    np.testing.assert_allclose(model.logits(pixels.numpy())["zs"], expected.numpy(), atol=1e-4)


def test_pixels_are_those_of_its_scripts(prompts: Path, tmp_path: Path) -> None:
    source = save(tmp_path / "clip.pyth", clip())
    image = hf_models.photograph(90, 70)
    for text, resize in ((source, 256), (f"{source}:48", 48)):
        model = open_source(text, ExportOptions(classes=prompts))
        assert bool(model.notices) == (text == source)
        assert (model.geometry.resize, model.geometry.size) == (resize, 32)
        steps = transforms.Compose(
            [
                transforms.Resize(resize, interpolation=Image.Resampling.BILINEAR),
                transforms.CenterCrop(32),
                transforms.ToTensor(),
                transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            ]
        )
        found = model.geometry.image_to_picture(image).pixels
        np.testing.assert_allclose(found, steps(image).numpy(), atol=2.1 / 255 / 0.224)


def test_what_cannot_be_meant_is_refused(names: Path, prompts: Path, tmp_path: Path) -> None:
    source = save(tmp_path / "lp.pyth", prefixed("clip_feature_extractor.", clip()) | HEAD)
    with pytest.raises(UsageError, match="has 3 classes without names; add --classes FILE"):
        open_source(source, ExportOptions())
    with pytest.raises(UsageError, match="has 2 names, the model has 3 classes"):
        open_source(source, ExportOptions(classes=prompts))
    with pytest.raises(UsageError, match="RESIZE must be a number of pixels, got 'x'"):
        open_source(f"{source}:x", ExportOptions(classes=names))
    with pytest.raises(UsageError, match="--templates: only for image-text models without a classifier"):
        open_source(source, ExportOptions(classes=names, templates=names))
    with pytest.raises(UsageError, match="is no CLIP state dict with OpenAI's names"):
        open_source(save(tmp_path / "x.pyth", HEAD), ExportOptions(classes=names))
    odd = prefixed("clip_feature_extractor.", clip()) | HEAD | {"classifier.weight": torch.zeros(3, 7)}
    with pytest.raises(UsageError, match=r"the classifier in .* do not fit the model"):
        open_source(save(tmp_path / "odd.pyth", odd), ExportOptions(classes=names))
