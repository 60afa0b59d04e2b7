"""Adapters: the exported artifact gives the logits of the adapter's own, unmerged forward."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import hf_models
import numpy as np
import peft
import pytest
import torch
import transformers

from rate.errors import MissingExtra, UsageError
from rate.export.export import ExportOptions, export_artifact
from rate.export.sources.families import open_clip
from rate.export.sources.open_source import open_source, open_tower
from rate.export.sources.source_string import parse_source

PROMPTS = ["a photo of a dark square", "a photo of a light"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hf_models.save_clip(tmp_path_factory.mktemp("hf") / "clip")


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    (tmp_path / "classes.txt").write_text("dark\tdark square\nlight\n")
    return tmp_path / "classes.txt"


def adapted(model: Any, config: Any, out: Path) -> Any:
    """An adapter whose every trained tensor is random, saved."""
    wrapped = peft.get_peft_model(model, config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in (one for one in wrapped.parameters() if one.requires_grad):
            value.add_(torch.empty_like(value).normal_(0.0, 0.3, generator=generator))
    wrapped.save_pretrained(out)
    return wrapped.eval()


def changed(adapter: Path, name: str, **values: object) -> Path:
    """A copy with other values in its settings."""
    copy = Path(shutil.copytree(adapter, adapter.with_name(name)))
    config = json.loads((copy / "adapter_config.json").read_text())
    (copy / "adapter_config.json").write_text(json.dumps(config | values))
    return copy


def lora(**settings: Any) -> Any:
    return peft.LoraConfig(r=2, lora_alpha=8, **settings)


@pytest.fixture
def both_towers(clip: Path, tmp_path: Path) -> Any:
    """LoRA on a CLIP, in the folder `lora`."""
    config = lora(target_modules=["q_proj", "fc1"], modules_to_save=["visual_projection"], lora_dropout=0.5)
    return adapted(transformers.CLIPModel.from_pretrained(clip), config, tmp_path / "lora")


def own_logits(model: Any, clip: Path, pixels: np.ndarray) -> np.ndarray:
    tokens = transformers.AutoTokenizer.from_pretrained(clip)(PROMPTS, padding=True, return_tensors="pt")
    with torch.inference_mode():
        return model(pixel_values=torch.from_numpy(pixels), **tokens).logits_per_image.numpy()


def test_lora_on_both_towers_gives_the_logits_of_its_own_forward(both_towers, clip, classes, tmp_path: Path) -> None:
    source = open_source(f"peft:{tmp_path / 'lora'}", ExportOptions(classes=classes))  # the adapter names its base
    assert source.family == "hf"
    pixels = hf_models.noise(source.geometry, 3)
    expected = own_logits(both_towers, clip, pixels)
    base = open_source(f"hf:{clip}", ExportOptions(classes=classes)).logits(pixels)["zs"]
    assert np.abs(base - expected).max() > 1
    np.testing.assert_allclose(source.logits(pixels)["zs"], expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.slow
def test_an_exported_adapter_gives_them_too(both_towers, clip, classes, tmp_path: Path) -> None:
    options = ExportOptions(classes=classes)
    artifact = export_artifact(f"peft:{tmp_path / 'lora'}", tmp_path / "artifact", options)
    pixels = hf_models.noise(artifact.geometry, 3)
    expected = own_logits(both_towers, clip, pixels)
    logits = hf_models.exported_logits(artifact, pixels)["zs"]
    np.testing.assert_allclose(logits, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(
    "config",
    [
        lora(target_modules=["attn", "c_fc"]),  # attn packs its projections into one tensor
        lora(target_modules=["c_fc", "c_proj"], use_dora=True),
        peft.IA3Config(target_modules=["c_fc", "c_proj"], feedforward_modules=["c_proj"]),
    ],
    ids=["lora", "dora", "ia3"],
)
def test_adapters_of_open_clip_are_merged(config: Any, tiny_vit, tmp_path: Path) -> None:
    encoder = open_clip.load(parse_source(tiny_vit.source))
    model = adapted(encoder.model, config, tmp_path / "adapter").base_model.model
    source = open_source(f"peft:{tmp_path / 'adapter'}:{tiny_vit.source}", ExportOptions(classes=tiny_vit.classes))
    images = torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        texts = encoder.tokenizer(["a photo of a dark", "a photo of a light"])
        units = model.encode_image(images, normalize=True), model.encode_text(texts, normalize=True)
        expected = (model.logit_scale.exp() * units[0] @ units[1].T).numpy()
    np.testing.assert_allclose(source.logits(images.numpy())["zs"], expected, atol=2e-4)


def test_an_adapter_of_one_tower_leaves_the_other(clip: Path, classes: Path, tmp_path: Path) -> None:
    config = lora(target_modules="vision_model.*q_proj")
    adapted(transformers.CLIPModel.from_pretrained(clip), config, tmp_path / "lora")
    folder = changed(tmp_path / "lora", "both", target_modules=["q_proj"], of_tomorrow=1)
    source = open_source(f"peft:{folder}", ExportOptions(classes=classes))
    assert "['of_tomorrow']" in source.notices[0]
    assert source.notices[1] == "the adapter holds nothing for text_model: as in the base"
    base = open_source(f"hf:{clip}", ExportOptions(classes=classes))
    assert source.weights != base.weights
    assert torch.equal(source.heads[0].module.weight, base.heads[0].module.weight)


def test_what_does_not_fit_is_refused(clip: Path, tiny_vit, tmp_path: Path, monkeypatch) -> None:
    options = ExportOptions(classes=tiny_vit.classes)
    adapted(transformers.CLIPModel.from_pretrained(clip), lora(target_modules=["q_proj"]), tmp_path / "lora")

    adapter = tmp_path / "lora"

    def refused(source: str, message: str) -> None:
        with pytest.raises(UsageError, match=message):
            open_source(source, options)

    refused(str(tmp_path / "lora"), "is an adapter of the peft library: write peft:")
    refused(f"hf:{tmp_path / 'lora'}", "holds an adapter: write peft:")
    refused(f"peft:{tmp_path}", "has no adapter_config.json")
    refused(f"peft:{tmp_path / 'lora'}:{tiny_vit.source}", "do not fit each other .*Target modules")
    refused(f"peft:{tmp_path / 'lora'}:timm:resnet18", "are merged into hf, open_clip, openai models")
    refused(f"peft:{changed(adapter, 'bare', base_model_name_or_path=None)}", "does not name the adapter's base")
    refused(
        f"peft:{changed(adapter, 'more', target_modules=['q_proj', 'k_proj'])}", "the adapter lacks .*k_proj.lora_A"
    )
    refused(f"peft:{changed(adapter, 'less', target_modules=['k_proj'])}", "the base has no place for .*q_proj.lora_A")
    peft.PromptTuningConfig(num_virtual_tokens=4).save_pretrained(tmp_path / "prompt")
    refused(f"peft:{tmp_path / 'prompt'}", "PROMPT_TUNING: learned inputs, .*embeddings:FILE")
    refused(f"peft:{changed(adapter, 'odd', peft_type='MAGIC')}", "cannot be read by peft")
    (changed(adapter, "empty") / "adapter_model.safetensors").unlink()
    refused(f"peft:{tmp_path / 'empty'}", "has no adapter_model.safetensors")
    torch.save({"x": Path("x")}, tmp_path / "empty/adapter_model.bin")
    refused(f"peft:{tmp_path / 'empty'}", "unpickling that could run any code, so it is refused")
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(MissingExtra, match=r"rate-engine\[lora\]"):
        open_source(f"peft:{tmp_path / 'lora'}", options)


def test_a_probe_stands_on_the_merged_tower(clip: Path, image_set, tmp_path: Path) -> None:
    from rate.finetune.lp import LpSettings, finetune_lp

    adapted(transformers.CLIPModel.from_pretrained(clip), lora(target_modules=["q_proj"]), tmp_path / "lora")
    finetune_lp(f"peft:{tmp_path / 'lora'}", image_set(4), tmp_path / "lp", LpSettings(split=None, epochs=1))
    assert open_tower(str(tmp_path / "lp")).weights == open_tower(f"peft:{tmp_path / 'lora'}").weights
