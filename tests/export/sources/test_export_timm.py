"""timm models: their graphs compute what PyTorch computes, and weights, names and heads that do not fit are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import perturbing
import pytest
import safetensors.torch
import timm
import torch

from rate.artifacts.artifact import load_artifact
from rate.artifacts.checkpoint import Checkpoint, save_checkpoint
from rate.artifacts.records import Base
from rate.backends.batches import clean_rows
from rate.backends.onnxruntime import OrtSpec
from rate.data.images.geometry import Geometry
from rate.data.images.prepare import prepare
from rate.data.manifest import read_manifest
from rate.errors import ConfigError, UsageError
from rate.export.export import ExportOptions, export_artifact
from rate.export.graph.onnx_walk import shape
from rate.export.graph.perturbed import dims
from rate.export.sources.families.timm import geometry_of
from rate.export.sources.open_source import open_source, open_tower
from rate.export.sources.source_model import SourceModel
from rate.kernels.separable import occlusion, rise

MODELS = ("test_resnet", "test_vit")


def weights(name: str = "test_vit", classes: int = 1000, seed: int = 5) -> dict[str, torch.Tensor]:
    """A state dict of its own, larger than timm's first guess, so that logits differ visibly."""
    torch.manual_seed(seed)
    return timm.create_model(name, num_classes=classes).state_dict()


def linear_checkpoint(model: SourceModel, folder: Path, classes: tuple[str, ...] = ("x", "y", "z")) -> Path:
    head = torch.nn.Linear(model.dim, len(classes))
    recipe = {"name": "lp", "seed": 0, "train_accuracy": 1.0}
    base = Base(model.source, model.weights)
    made = Checkpoint(
        path=folder,
        family=model.family,
        model=model.config,
        classes=classes,
        prompts=(),
        geometry=model.geometry,
        recipe=recipe,
        base=base,
    )
    save_checkpoint(made, model.tower.state_dict(), head, force=False)
    return folder


@pytest.mark.parametrize("name", MODELS)
def test_the_graph_computes_what_pytorch_does_on_images_masked_by_hand(name, exported) -> None:
    """Other I, B, s and T than the graph was traced with, one and the same graph for RISE and occlusion."""
    artifact = exported(name)
    model, size = timm_model(name), artifact.geometry.size
    images = perturbing.pictures(2, size)
    for perturbation in (rise(size, 4), rise(size, 9), occlusion(size, 40, 30)):
        rows = perturbing.draw(perturbation, len(images), 3)
        found = perturbing.run(OrtSpec(artifact.graph(), 1), perturbation, images, rows)["native"]
        with torch.inference_mode():
            expected = model(torch.from_numpy(perturbing.by_hand(perturbation, images, rows))).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-4)
        assert np.abs(expected[0] - expected[1]).max() > 1e-9


def timm_model(name: str) -> torch.nn.Module:
    """The model that `timm:NAME` without weights stands for."""
    torch.manual_seed(0)
    return timm.create_model(name).eval()


@pytest.mark.parametrize("name", MODELS)
def test_axes_weights_and_what_the_graph_says_about_this_machine(name, exported) -> None:
    artifact = exported(name)
    path = artifact.graph().path
    graph = onnx.load(path, load_external_data=False)
    assert {value.name: shape(value) for value in graph.graph.input} == dims(160)
    assert [shape(value) for value in graph.graph.output] == [("B", 1000)]
    tensors = timm_model(name).state_dict().values()
    stored = sum(t.numel() * t.element_size() for t in tensors)
    assert path.with_name("pixels.onnx.data").stat().st_size < 1.02 * stored  # once, not once a head or a form
    content = path.read_bytes()
    assert len(content) < 100_000
    for trace in (b"site-packages", b".py", str(Path.home()).encode()):
        assert trace not in content


def test_parity_versions_and_geometry_are_recorded(exported) -> None:
    artifact = exported("test_resnet")
    assert 0 < artifact.parity["pixels"].max_abs["native"] <= 1e-4
    assert artifact.parity["pixels"].runtime.startswith("onnxruntime ")
    assert {"rate", "torch", "timm", "onnx"} <= set(artifact.versions)
    assert artifact.geometry == Geometry(160, 168, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "center", "bilinear")
    assert artifact.heads[0].classes[:2] == ("n01440764", "n01443537")


def test_a_process_that_allows_itself_low_precision_compares_with_the_same_logits() -> None:
    """On CPUs with bf16, `medium` moves these logits by 1e-3: the comparison must not be made with it."""
    model = open_source("timm:test_vit", ExportOptions())
    images = np.random.default_rng(0).normal(size=(2, 3, 160, 160)).astype(np.float32)
    expected = model.logits(images)["native"]
    torch.set_float32_matmul_precision("medium")
    try:
        found = model.logits(images)["native"]
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
def test_a_process_that_allows_itself_low_precision_exports_the_same(exported, tmp_path) -> None:
    torch.set_float32_matmul_precision("medium")
    try:
        artifact = export_artifact("timm:test_vit", tmp_path / "artifact", ExportOptions())
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert max(artifact.parity["pixels"].max_abs.values()) < 1e-4
    assert artifact.digest == exported("test_vit").digest
    assert artifact.weights == exported("test_vit").weights


def test_several_heads_share_one_tower(tmp_path) -> None:
    safetensors.torch.save_file(weights("test_resnet", classes=5), tmp_path / "five.safetensors")
    source = f"timm:test_resnet:{tmp_path / 'five.safetensors'}"
    tower = open_tower(source)
    assert tower.heads == ()
    folder = linear_checkpoint(tower, tmp_path / "lp")
    names = tmp_path / "names.txt"
    names.write_text("a\nb\nc\nd\ne\n")
    options = ExportOptions(classes=names, heads=(f"probe=linear:{folder}", f"again=linear:{folder}"))
    artifact = export_artifact(source, tmp_path / "artifact", options)
    assert [(head.name, len(head.classes)) for head in artifact.heads] == [("native", 5), ("probe", 3), ("again", 3)]
    assert load_artifact(artifact.path) == artifact
    one_tower = sum(t.numel() * t.element_size() for t in tower.tower.state_dict().values())
    assert (artifact.path / "pixels.onnx.data").stat().st_size < 1.02 * one_tower + 10_000
    images = perturbing.pictures(1, 160)
    masks = rise(160, 3)
    logits = perturbing.run(OrtSpec(artifact.graph()), masks, images, perturbing.draw(masks, 1, 2))
    np.testing.assert_array_equal(logits["probe"], logits["again"])
    assert logits["native"].shape == (2, 5)

    alone = open_source(str(folder), ExportOptions())
    assert [(head.name, head.classes) for head in alone.infos] == [("lp", ("x", "y", "z"))]
    assert alone.weights == tower.weights == artifact.weights


def test_a_head_of_another_tower_or_form_is_refused(tmp_path) -> None:
    folder = linear_checkpoint(open_tower("timm:test_vit"), tmp_path / "lp")
    for source in ("timm:test_vit2", "timm:test_resnet"):
        with pytest.raises(UsageError, match="stands on another tower"):
            open_source(source, ExportOptions(heads=(f"lp=linear:{folder}",)))
    for text in ("lp", "lp=linear", "lp=linear:", "lp=zero-shot:x", "a b=linear:x", "=linear:x"):
        with pytest.raises(UsageError, match=r"--head|head name"):
            open_source("timm:test_vit", ExportOptions(heads=(text,)))
    with pytest.raises(UsageError, match=r"two heads are named 'native'; .* unlike those of the source: native"):
        open_source("timm:test_vit", ExportOptions(heads=(f"native=linear:{folder}",)))
    with pytest.raises(UsageError, match=r"has no checkpoint.json"):
        open_source("timm:test_vit", ExportOptions(heads=(f"lp=linear:{tmp_path}",)))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("resnet10", "resnet10t"),
        ("test_vitt", "test_vit"),
        ("resnet10t.c3_in1", "resnet10t.c3_in1k"),
        ("?", "there are"),
    ],
)
def test_an_unknown_name_is_refused_before_any_work_with_close_ones(name, meant, tmp_path) -> None:
    with pytest.raises(UsageError, match=f"timm has no .*{meant}"):
        export_artifact(f"timm:{name}", tmp_path / "out", ExportOptions())
    assert list(tmp_path.iterdir()) == []


def test_weights_of_any_container_are_the_same_weights(tmp_path) -> None:
    state = weights()
    safetensors.torch.save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "b.pth")
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3}, tmp_path / "c.pt")
    headless = {name: value for name, value in state.items() if not name.startswith("head.")}
    torch.save({"model": headless}, tmp_path / "d.ckpt")
    towers = [open_tower(f"timm:test_vit:{tmp_path / name}") for name in ("a.safetensors", "b.pth", "c.pt", "d.ckpt")]
    assert len({tower.weights for tower in towers}) == 1
    assert towers[0].weights != open_tower("timm:test_vit").weights
    with pytest.raises(UsageError, match="has no classifier of its own; add one with --head"):
        open_source(f"timm:test_vit:{tmp_path / 'd.ckpt'}", ExportOptions())


class Needy:
    """Something only a full unpickler brings back."""


def test_a_pickle_that_needs_more_than_tensors_is_refused(tmp_path) -> None:
    torch.save({"state_dict": weights(), "config": Needy()}, tmp_path / "needy.pth")
    with pytest.raises(UsageError, match="holds more than tensors, and unpickling that could run any code"):
        open_tower(f"timm:test_vit:{tmp_path / 'needy.pth'}")


BROKEN = {
    "torn.safetensors": (b"\x10\x00\x00\x00\x00\x00\x00\x00{", "cannot be read as safetensors"),
    "torn.pth": (b"PK\x03\x04rubbish", "cannot be read|holds more than tensors"),
    "empty.pt": (b"", "cannot be read"),
    "weights.h5": (b"x", "ends in '.h5'; expected .safetensors"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_or_strange_weights_file_is_named(name, tmp_path) -> None:
    content, message = BROKEN[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=f"{name} ({message})"):
        open_tower(f"timm:test_vit:{tmp_path / name}")


def test_weights_that_do_not_fit_are_refused_by_the_first_names_at_fault(tmp_path) -> None:
    state = weights()
    del state["norm.weight"]
    state["nrom.weight"] = torch.zeros(3)
    state["norm.bias"] = torch.zeros(3)
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(UsageError, match=r"missing: norm.weight; unexpected: nrom.weight; of another shape: norm.bias"):
        open_tower(f"timm:test_vit:{tmp_path / 'w.pt'}")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(UsageError, match="is no state dict"):
        open_tower(f"timm:test_vit:{tmp_path / 'list.pt'}")
    with pytest.raises(UsageError, match="does not exist"):
        open_tower("timm:test_vit:gone.pt")
    with pytest.raises(UsageError, match="ends in a colon"):
        open_tower("timm:test_vit:")


def test_classes_without_names_ask_for_them(tmp_path) -> None:
    torch.save(weights(classes=7), tmp_path / "w.pt")
    with pytest.raises(UsageError, match="have 7 classes without names; add --classes"):
        open_source(f"timm:test_vit:{tmp_path / 'w.pt'}", ExportOptions())
    with pytest.raises(ConfigError, match="--size, --crop-pct: only for onnx: sources"):
        open_source("timm:test_vit", ExportOptions(size=32, crop_pct=1.0))


def test_random_weights_are_always_the_same_and_said_to_be_random() -> None:
    torch.manual_seed(99)
    before = torch.get_rng_state()
    one, two = open_tower("timm:test_vit"), open_tower("timm:test_vit")
    assert one.weights == two.weights
    assert torch.equal(torch.get_rng_state(), before)  # the caller's random numbers are left alone
    assert any("random weights" in notice for notice in one.notices)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"input_size": (3, 160, 128)}, "only square colour images"),
        ({"input_size": (1, 160, 160)}, "only square colour images"),
        ({"crop_mode": "border"}, "'border'"),
        ({"interpolation": "lanczos"}, "'lanczos'"),
        ({"crop_mode": "squash", "crop_pct": 0.9}, "squashed image"),
    ],
)
def test_image_preparations_without_an_equal_are_refused(changed, message) -> None:
    model = timm_model("test_vit")
    model.pretrained_cfg = model.pretrained_cfg | changed
    with pytest.raises(UsageError, match=message):
        geometry_of(model, "test_vit")


def test_squash_and_rounding_of_the_resize_are_kept() -> None:
    model = timm_model("test_vit")
    base = model.pretrained_cfg
    model.pretrained_cfg = base | {"crop_mode": "squash", "crop_pct": 1.0}
    assert (geometry_of(model, "m").crop, geometry_of(model, "m").resize) == ("squash", 160)
    model.pretrained_cfg = base | {"crop_pct": 0.9}
    assert geometry_of(model, "m").resize == 177  # floor(177.8), as timm does


def test_a_model_with_more_than_one_classifier_is_refused() -> None:
    with pytest.raises(UsageError, match="is not a tower followed by one classifier"):
        open_source("timm:deit_tiny_distilled_patch16_224", ExportOptions())


@pytest.mark.slow
def test_attention_with_a_bias_can_be_exported(tmp_path) -> None:
    artifact = export_artifact("timm:test_vit_relpos", tmp_path / "a", ExportOptions())
    assert artifact.parity["pixels"].max_abs["native"] <= 1e-4


@pytest.mark.slow
def test_real_weights_recognise_real_dalmatians(shared_data, tmp_path) -> None:
    source = f"timm:tf_efficientnet_lite0:{shared_data / 'weights/tf_efficientnet_lite0.safetensors'}"
    artifact = export_artifact(source, tmp_path / "artifact", ExportOptions())
    samples = read_manifest(shared_data / "caltech101-boxes/annotations.csv", split="test").samples
    dogs = [sample for sample in samples if sample.label == "dalmatian"][:8]
    images = [prepare(sample, artifact.geometry).picture for sample in dogs]
    masks = rise(artifact.geometry.size, 7)
    clean = clean_rows(masks, np.arange(len(images)))
    logits = perturbing.run(OrtSpec(artifact.graph()), masks, images, clean)["native"]
    found = [artifact.heads[0].classes[k] for k in logits.argmax(axis=1)]
    assert found.count("n02110341") == len(dogs)  # the synset of dalmatians


@pytest.mark.slow
def test_a_full_size_vision_transformer(tmp_path) -> None:
    artifact = export_artifact("timm:vit_base_patch32_224", tmp_path / "artifact", ExportOptions())
    assert artifact.parity["pixels"].max_abs["native"] <= 1e-4
    assert (artifact.path / "pixels.onnx.data").stat().st_size > 350e6
