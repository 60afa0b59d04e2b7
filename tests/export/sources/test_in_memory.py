"""Modules in memory are the models that their SOURCE is, and say what they lack."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import hf_models
import numpy as np
import pytest
import timm
import torch
import transformers
from torch import nn

import rate
from rate.errors import UsageError
from rate.export.options import ExportOptions
from rate.export.sources.families import hf, open_clip
from rate.export.sources.in_memory import Description, open_module
from rate.export.sources.open_source import open_source
from rate.export.sources.source_model import SourceModel
from rate.export.sources.source_string import parse_source

TINY = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 32, "layers": 1, "head_width": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
CLASSES = {"dark": "dark square", "light": "light square"}
USUAL = ExportOptions()


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    path = tmp_path / "classes.json"
    path.write_text(json.dumps(CLASSES))
    return path


def same(one: SourceModel, other: Any) -> None:
    pixels = hf_models.noise(one.geometry)
    [logits], [expected] = one.logits(pixels).values(), other.logits(pixels).values()
    assert (one.geometry, one.infos) == (other.geometry, other.infos)
    assert np.allclose(logits, expected, atol=1e-5)


def test_a_model_of_open_clip(tmp_path: Path, classes: Path) -> None:
    (tmp_path / "tiny.json").write_text(json.dumps({"model_cfg": TINY, "preprocess_cfg": {"mean": [0.5] * 3}}))
    source = f"open_clip:{tmp_path / 'tiny.json'}"
    encoder = open_clip.load(parse_source(source))
    encoder.model.train()
    told = Description(CLASSES, ["a photo of a {}"], encoder.tokenizer)
    same(open_module(encoder.model, told, USUAL), open_source(source, ExportOptions(classes=classes)))
    assert encoder.model.training
    with pytest.raises(UsageError, match=r"processor=open_clip.get_tokenizer\(NAME\)"):
        open_module(encoder.model, Description(CLASSES), USUAL)
    with pytest.raises(UsageError, match="give the names of the classes"):
        open_module(encoder.model, Description(processor=encoder.tokenizer), USUAL)


def test_a_model_of_transformers_that_reads_text(tmp_path: Path, classes: Path) -> None:
    folder = hf_models.save_clip(tmp_path / "clip")
    encoder = hf.load(parse_source(f"hf:{folder}"))
    processor = transformers.CLIPProcessor(transformers.AutoImageProcessor.from_pretrained(folder), encoder.tokenizer)
    made = open_module(encoder.model, Description(classes, processor=processor), USUAL)
    same(made, open_source(f"hf:{folder}", ExportOptions(classes=classes)))
    with pytest.raises(UsageError, match="one with a tokenizer and an image processor"):
        open_module(encoder.model, Description(classes, processor=encoder.tokenizer), USUAL)


def test_a_classifier_of_transformers_says_its_classes_and_its_images() -> None:
    config = transformers.ViTConfig(**hf_models.VISION, id2label={0: "dark", 1: "light"}, label2id={})
    model = transformers.ViTForImageClassification(config)
    processor = transformers.ViTImageProcessor(size={"height": 32, "width": 32})
    made = open_module(model, Description(processor=processor), USUAL)
    assert made.infos[0].classes == ("dark", "light")
    assert (made.geometry.size, made.geometry.crop, made.geometry.mean) == (32, "squash", (0.5, 0.5, 0.5))
    pixels = hf_models.noise(made.geometry)
    assert np.array_equal(made.logits(pixels)["native"], model.eval()(torch.from_numpy(pixels)).logits.detach())


def test_a_model_of_timm_says_how_its_images_are_prepared() -> None:
    model = timm.create_model("test_vit", num_classes=2)
    made = open_module(model, Description(["dark", "light"]), USUAL)
    assert (made.geometry.size, made.notices) == (160, ())
    assert open_module(model, Description(["dark", "light"]), ExportOptions(size=160)).notices[0].startswith("assumed ")


def linear(count: int = 2) -> nn.Module:
    return nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(3 * 16, count))


def test_wrappers_and_halves_are_the_model_inside() -> None:
    model = linear()
    told, options = Description(["dark", "light"]), ExportOptions(size=32)
    plain = open_module(model, told, options)
    wrapped = open_module(nn.DataParallel(model), told, options)
    assert (wrapped.weights, wrapped.source) == (plain.weights, "module:Sequential")
    assert (
        open_module(linear().bfloat16(), told, options).logits(hf_models.noise(plain.geometry))["native"].dtype == "f4"
    )


@pytest.mark.slow
def test_a_compiled_model_is_the_model_inside() -> None:
    model, told, options = linear(), Description(["dark", "light"]), ExportOptions(size=32)
    compiled = open_module(torch.compile(model), told, options)
    assert (compiled.weights, compiled.source) == (open_module(model, told, options).weights, "module:Sequential")


class Unrunnable(nn.Module):
    def forward(self, pixels: torch.Tensor, more: torch.Tensor) -> torch.Tensor:
        return pixels + more


class Uncopied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lines = (line for line in ())


@pytest.mark.parametrize(
    ("module", "told", "options", "message"),
    [
        (linear(), Description(["a", "b"]), {}, "Sequential does not say how large its images are; add size"),
        (linear(3), Description(["a", "b"]), {"size": 32}, "classes has 2 names, Sequential has 3 classes"),
        (linear(), Description(["a", "a"]), {"size": 32}, "classes: 1 different ones of 2"),
        (linear(), Description(["a", ""]), {"size": 32}, "classes: '' is empty or no text"),
        (linear(), Description(), {"size": 32}, "has 2 classes without names; give their names as classes"),
        (linear(), Description(["a", "b"], ["{}"]), {"size": 32}, "reads no text; leave them out"),
        (linear(), Description(["a", "b"]), {"size": 24}, "cannot be run on images of 24 x 24 pixels"),
        (linear(), Description(["a", "b"]), {"size": 32, "input": "x"}, "input: a module in memory has one input"),
        (nn.Identity(), Description(["a", "b"]), {"size": 32}, r"gives \(2, 3, 32, 32\) for 2 images"),
        (Unrunnable(), Description(["a", "b"]), {"size": 32}, "expected a classifier from pixels"),
        (Uncopied(), Description(["a", "b"]), {"size": 32}, "Uncopied cannot be copied"),
        (object(), Description(), {}, "a SOURCE in text or a torch module is needed, got object"),
    ],
)
def test_what_a_module_lacks_is_said(module: Any, told: Description, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_module(module, told, ExportOptions(**options))


def test_a_source_in_text_takes_files_alone(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="classes: of a SOURCE in text these are in a file"):
        rate.export("timm:test_vit", tmp_path / "out", classes=["a", "b"])
    with pytest.raises(UsageError, match="processor: timm:test_vit says itself"):
        rate.export("timm:test_vit", tmp_path / "out", processor=object())
