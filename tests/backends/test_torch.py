"""PyTorch behind the boundary: the model itself, in f32 and in halves with their islands, and only the model it was."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_models
import perturbing
import pytest
import torch
from msgspec import structs
from torch import nn
from torch_specs import spec_of_module

from rate.artifacts.artifact import Artifact, load_artifact
from rate.artifacts.parity import judge
from rate.artifacts.parity_sample import load_sample
from rate.artifacts.records import Request
from rate.backends.onnxruntime import OrtSpec
from rate.backends.torch import TorchSpec
from rate.engine.choose_backend import TORCH, offers
from rate.errors import BackendError, UsageError
from rate.export.export import ExportOptions, export_artifact
from rate.export.precision.half_proof import add_half, write_rounded
from rate.export.sources.half_torch import HalfTower
from rate.export.sources.open_source import open_source
from rate.export.sources.torch_backend import load_module, spec_of_artifact
from rate.kernels.separable import occlusion, rise
from rate.types import Rows

SIZE = 20
HALVES = {"fp16": torch.float16, "bf16": torch.bfloat16}


class Small(nn.Module):
    """A convolution with every kind of norm, and attention: pixels [b,3,h,w] -> features [b,8]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 5, stride=5)
        self.batch = nn.BatchNorm2d(8)
        self.group = nn.GroupNorm(2, 8)
        self.layer = nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.batch.running_var.fill_(2.0)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        tokens = self.group(self.batch(self.conv(pixels))).flatten(2).transpose(1, 2)
        tokens = tokens + self.attention(*[self.layer(tokens)] * 3, need_weights=False)[0]
        return tokens.mean(1)


@pytest.fixture
def live() -> tuple[nn.Module, dict[str, nn.Module]]:
    torch.manual_seed(0)
    return Small().eval(), {"a": nn.Linear(8, 5), "b": nn.Linear(8, 3)}


def by_hand(tower, heads, perturbation, images: np.ndarray, rows: Rows) -> dict[str, np.ndarray]:
    with torch.inference_mode():
        features = tower(torch.from_numpy(perturbing.by_hand(perturbation, images, rows)))
        return {name: head(features).numpy() for name, head in heads.items()}


@pytest.mark.parametrize("perturbation", [rise(SIZE, 7), occlusion(SIZE, 5, 3)], ids=lambda p: p.name)
def test_a_live_model_computes_what_it_does_on_images_masked_by_hand(live, perturbation) -> None:
    tower, heads = live
    images, rows = perturbing.pictures(3, SIZE), perturbing.draw(perturbation, 3, 11)
    found = perturbing.run(spec_of_module(tower, heads, SIZE), perturbation, images, rows)
    expected = by_hand(tower, heads, perturbation, images, rows)
    assert list(found) == ["a", "b"]
    for name, values in found.items():
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, expected[name], atol=1e-5)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_halves_have_f32_islands_and_leave_the_callers_model_alone(live, precision: str) -> None:
    tower, heads = live
    before = {name: value.clone() for name, value in tower.state_dict().items()}
    masks, images = rise(SIZE, 4), perturbing.pictures(2, SIZE)
    rows = perturbing.draw(masks, 2, 9)
    spec = spec_of_module(tower, heads, SIZE, precision)
    found, expected = perturbing.run(spec, masks, images, rows)["a"], by_hand(tower, heads, masks, images, rows)["a"]
    difference = np.abs(found - expected).max()
    assert 0 < difference < 0.05 * np.abs(expected).max()
    for name, value in tower.state_dict().items():
        assert value.dtype == before[name].dtype
        assert torch.equal(value, before[name])
    assert not any(module._forward_hooks for module in tower.modules())


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_norms_see_f32_and_the_rest_sees_halves(live, precision: str) -> None:
    tower, _ = live
    half, seen = HalfTower(tower, precision), {}
    norms = {"batch", "group", "layer"}
    for name, module in half.tower.named_children():
        stored = {tensor.dtype for tensor in module.state_dict().values() if tensor.is_floating_point()}
        assert stored == {torch.float32 if name in norms else HALVES[precision]}
        module.register_forward_hook(lambda m, given, made, name=name: seen.update({name: (given[0].dtype, made)}))
    for name in norms:
        for key, value in getattr(half.tower, name).state_dict().items():
            assert torch.equal(value, getattr(tower, name).state_dict()[key]), "not rounded and widened again"
    features = half(torch.randn(2, 3, SIZE, SIZE))
    assert features.dtype == torch.float32
    assert {name: kind == torch.float32 for name, (kind, _) in seen.items()} == {
        name: name in norms for name in ("conv", "batch", "group", "layer", "attention")
    }
    assert all(seen[name][1].dtype == HALVES[precision] for name in norms), "and give halves back"


@pytest.mark.parametrize("precision", ["f32", "fp16", "bf16"])
@pytest.mark.parametrize("which", ["trained", "tiny_vit"])
def test_an_artifact_finds_its_model_again(request: pytest.FixtureRequest, which: str, precision: str) -> None:
    """A checkpoint with a linear head, and a zero-shot head that is made of class names."""
    artifact = load_artifact(request.getfixturevalue(which).artifact)
    spec = spec_of_artifact(artifact, precision, threads=1)
    parity = judge(load_sample(artifact), spec)
    assert (spec.name, spec.precision, parity.precision) == ("torch", precision, precision)
    if precision == "f32":
        assert max(parity.max_abs.values()) <= 1e-4


def test_two_ways_to_halves_agree_more_than_either_with_f32(tiny_vit, tmp_path: Path) -> None:
    """The torch model with f32 islands, and the exported graph with them, run in f32 with every half rounded."""
    copied = Path(shutil.copytree(tiny_vit.artifact, tmp_path / "artifact"))
    artifact = add_half(load_artifact(copied), "fp16")
    half = artifact.graph("pixels", "fp16")
    trial = half.path.with_name("trial.onnx")
    write_rounded(half.path, trial, "fp16")
    size = artifact.geometry.size
    masks, images = rise(size, 5), perturbing.pictures(4, size)
    rows = perturbing.draw(masks, 4, 24)
    specs = {
        "f32": OrtSpec(artifact.graph(), 1),
        "graph": OrtSpec(replace(half, path=trial, precision="f32"), 1),
        "torch": spec_of_artifact(artifact, "fp16", threads=1),
    }
    found = {name: perturbing.run(spec, masks, images, rows)["zs"] for name, spec in specs.items()}
    apart = {name: np.abs(found[name] - found["f32"]).mean() for name in ("graph", "torch")}
    between = np.abs(found["graph"] - found["torch"]).mean()
    assert 0 < between < 1.5 * min(apart.values())
    assert max(apart.values()) < 0.02 * np.abs(found["f32"]).max()


@pytest.fixture
def movable(trained, tmp_path: Path) -> tuple[Artifact, Path]:
    """An artifact and the checkpoint that it was made of, both one's own."""
    checkpoint = Path(shutil.copytree(trained.checkpoint, tmp_path / "lp"))
    return structs.replace(load_artifact(trained.artifact), source=str(checkpoint)), checkpoint


def test_a_source_that_is_gone_is_refused_with_the_cure(movable) -> None:
    artifact, checkpoint = movable
    load_module(artifact)
    shutil.rmtree(checkpoint)
    with pytest.raises(UsageError, match=r"cannot be opened in PyTorch: .*SOURCE .*lp.* or use another --backend"):
        judge(load_sample(artifact), spec_of_artifact(artifact))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"weights": "0" * 64}, "weights"),
        ({"heads": ()}, "heads"),
        ({"weights": "0" * 64, "heads": ()}, "weights, heads"),
    ],
)
def test_a_source_that_changed_is_refused_with_what_changed(movable, change: dict[str, object], named: str) -> None:
    artifact, _ = movable
    with pytest.raises(UsageError, match=rf"is no longer what .* was exported from: its {named} changed"):
        load_module(structs.replace(artifact, **change))


def test_heads_are_asked_for_again_as_they_were(trained, tmp_path: Path) -> None:
    options = ExportOptions(heads=(f"again=linear:{trained.checkpoint}",))
    artifact = export_artifact(str(trained.checkpoint), tmp_path / "artifact", options)
    assert artifact.request == Request(None, None, options.heads)
    assert load_artifact(artifact.path).request == artifact.request
    assert set(judge(load_sample(artifact), spec_of_artifact(artifact, threads=1)).max_abs) == {"lp", "again"}
    assert len(open_source(artifact.source, ExportOptions()).infos) == 1


def test_a_finished_graph_has_no_model_behind_it(tmp_path: Path) -> None:
    source = onnx_models.Model().save(tmp_path / "m.onnx")
    options = ExportOptions(classes=onnx_models.write_classes(tmp_path / "classes.txt"))
    artifact = export_artifact(f"onnx:{source}", tmp_path / "artifact", options)
    assert artifact.request is None
    assert TORCH not in offers(artifact)
    with pytest.raises(UsageError, match=r"made of onnx:.*m.onnx, from which no PyTorch model"):
        spec_of_artifact(artifact)
    with pytest.raises(UsageError, match="not in int8"):
        spec_of_artifact(artifact, "int8")


def test_what_the_process_had_set_is_left_as_it_was(live) -> None:
    tower, heads = live
    masks = rise(SIZE, 3)
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        spec = replace(spec_of_module(tower, heads, SIZE), threads=threads + 1)
        with spec.open(masks, 1) as backend:
            assert torch.get_num_threads() == threads + 1
            backend.put(0, perturbing.pictures(1, SIZE)[0])
            backend.submit(perturbing.draw(masks, 1, 3)).wait()
            assert torch.get_float32_matmul_precision() == "medium"
        assert torch.get_num_threads() == threads
    finally:
        torch.set_float32_matmul_precision(precision)


def test_bad_requests_are_refused(live) -> None:
    tower, heads = live
    masks = rise(SIZE, 3)
    spec = spec_of_module(tower, heads, SIZE)
    with spec.open(masks, 1) as backend:
        good = perturbing.draw(masks, 1, 2)
        for name in ("slot", "fill", "side", "grid", "offset"):
            with pytest.raises(BackendError, match=f"^{name} must be"):
                backend.submit(replace(good, **{name: getattr(good, name)[..., None]}))
        for name, value in (("slot", 7), ("slot", -1), ("fill", 1), ("side", 3), ("offset", 99)):
            with pytest.raises(BackendError, match=rf"^{name} must lie from 0 to \d+, got -?\d+ to {max(0, value)}"):
                backend.submit(replace(good, **{name: np.where(getattr(good, name) * 0 + [0, 1], value, 0)}))
    with pytest.raises(BackendError, match="takes 20 pixels, the masks are made for 32"), spec.open(rise(32, 3), 1):
        pass
    with pytest.raises(UsageError, match="device must be"):
        replace(spec, device="tpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_where_there_is_none_is_an_error_with_a_cure(live) -> None:
    tower, heads = live
    spec = spec_of_module(tower, heads, SIZE, device="cuda:0")
    assert spec.name == "torch-cuda"
    with pytest.raises(BackendError, match=r"sees no CUDA device.*--device cpu"), spec.open(rise(SIZE, 3), 1):
        pass


def test_names_tell_arithmetic_apart(live) -> None:
    tower, heads = live
    spec = spec_of_module(tower, heads, SIZE)
    names = {replace(spec, device=device).name for device in ("cpu", "cuda:1")}
    assert names == {"torch", "torch-cuda"}
    assert hash(spec) == hash(replace(spec))
    with TorchSpec(spec.load, spec.heads, SIZE).open(rise(SIZE, 2), 1) as backend:
        assert (backend.name, backend.precision, backend.device, backend.depth) == ("torch", "f32", "cpu", 1)
