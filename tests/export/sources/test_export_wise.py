"""Weights between two models: their own at the ends, tensor by tensor between, and refusals where there are none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rate.errors import UsageError
from rate.export.options import ExportOptions
from rate.export.sources.families import open_clip
from rate.export.sources.open_source import open_source, open_tower
from rate.export.sources.source_string import packages_of, parse_source


@pytest.fixture
def tuned(tiny_vit, tmp_path: Path) -> str:
    """SOURCE of the tiny model with other weights everywhere."""
    state = open_clip.load(parse_source(tiny_vit.source)).model.state_dict()
    generator = torch.Generator().manual_seed(1)
    moved = {
        name: value + 0.3 * torch.randn(value.shape, generator=generator) * value.std(correction=0).clamp(min=0.1)
        for name, value in state.items()
        if value.is_floating_point()
    }
    save_file(state | moved, tmp_path / "tuned.safetensors")
    return f"{tiny_vit.source}:{tmp_path / 'tuned.safetensors'}"


@pytest.fixture
def between(tiny_vit, tuned: str) -> Callable[[float | str], str]:
    return lambda alpha: f"wise:{alpha}:{tiny_vit.source},{tuned}"


def test_weights_are_interpolated_tensor_by_tensor(tiny_vit, tuned: str, between, tmp_path: Path) -> None:
    (tmp_path / "templates.txt").write_text("a photo of a {}\nthe {}, in ink\n")
    options = ExportOptions(classes=tiny_vit.classes, templates=tmp_path / "templates.txt")
    base, end = open_source(tiny_vit.source, options), open_source(tuned, options)
    pixels = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)).numpy()
    for alpha, one in ((0, base), (1, end)):
        source = open_source(between(alpha), options)
        assert (source.weights, source.infos) == (one.weights, one.infos)
        np.testing.assert_array_equal(source.logits(pixels)["zs"], one.logits(pixels)["zs"])
    middle = open_source(between(0.25), options)
    tower = open_tower(tiny_vit.source).tower
    tower.load_state_dict({k: 0.75 * v + 0.25 * end.tower.state_dict()[k] for k, v in tower.state_dict().items()})
    weight, scale, bias = (
        0.75 * getattr(base.heads[0].module, name) + 0.25 * getattr(end.heads[0].module, name)
        for name in ("weight", "scale", "bias")
    )
    with torch.inference_mode():
        unit = torch.nn.functional.normalize(tower(torch.from_numpy(pixels)), dim=-1)
        expected = (scale * unit @ weight.T + bias).numpy()
    np.testing.assert_allclose(middle.logits(pixels)["zs"], expected, atol=1e-4)
    assert packages_of(between(0.25)) == {"torch": "train", "open_clip": "train"}


def test_a_probe_and_the_tuning_that_began_with_it_have_a_linear_head_between(image_set, tmp_path: Path) -> None:
    from rate.artifacts.checkpoint import load_checkpoint
    from rate.finetune.full import FtSettings, finetune_ft
    from rate.finetune.lp import LpSettings, finetune_lp

    data = image_set(4)
    finetune_lp("timm:test_efficientnet", data, tmp_path / "lp", LpSettings(split=None, epochs=1))
    finetune_ft(str(tmp_path / "lp"), data, tmp_path / "ft", FtSettings(split=None, epochs=1, batch=4, threads=1))
    source = open_source(f"wise:0.5:{tmp_path / 'lp'},{tmp_path / 'ft'}", ExportOptions())
    assert [(head.name, head.kind) for head in source.infos] == [("ft", "linear")]
    ends = [load_checkpoint(tmp_path / name).read()[1].weight for name in ("lp", "ft")]
    torch.testing.assert_close(source.heads[0].module.weight, (ends[0] + ends[1]) / 2)
    assert source.notices == (
        "the tower has batch norms, whose statistics are interpolated as its weights are and not measured again; "
        "between the two models they fit neither",
    )
    with pytest.raises(UsageError, match="both are checkpoints with classes of their own"):
        open_source(f"wise:0.5:{tmp_path / 'lp'},{tmp_path / 'ft'}", ExportOptions(classes=data))
    with pytest.raises(UsageError, match=r"head 'ft' of .* has no partner in timm:test_efficientnet, .* are: none"):
        open_tower(f"wise:0.5:timm:test_efficientnet,{tmp_path / 'ft'}")


def test_where_there_is_nothing_between_it_says_so(tiny_vit, between, tmp_path: Path) -> None:
    options = ExportOptions(classes=tiny_vit.classes)
    config = json.loads(Path(tiny_vit.source.removeprefix("open_clip:")).read_text())
    model, vision = config["model_cfg"], config["model_cfg"]["vision_cfg"]

    def refused(source: str, message: str) -> None:
        with pytest.raises(UsageError, match=message):
            open_source(source, options)

    def variant(name: str, **changed: object) -> str:
        (tmp_path / name).write_text(json.dumps(config | {"model_cfg": model | changed}))
        return f"wise:0.5:{tiny_vit.source},open_clip:{tmp_path / name}"

    refused(between("much"), "ALPHA must be a number from 0 to 1, got 'much'")
    refused(between(1.5), "from 0 to 1, got '1.5'")
    refused(f"wise:0.5:{tiny_vit.source}", "two models with one comma")
    refused(f"wise:0.5:{tiny_vit.source},onnx:m.onnx", "onnx:m.onnx has no PyTorch tower")
    refused(variant("quick.json", quick_gelu=True), "other architectures although the shapes .* are equal")
    refused(variant("short.json", vision_cfg=vision | {"layers": 1}), "no weights between the towers of .*resblocks.1")
    refused(variant("large.json", vision_cfg=vision | {"image_size": 64}), "see other pixels")
