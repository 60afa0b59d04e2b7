"""fp16 and bf16 graphs: halves where the arithmetic is, f32 where digits or range are needed, and proof of both."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import onnx
import onnx_models
import pytest
import torch
from msgspec import structs
from onnx import TensorProto, numpy_helper

from rate.artifacts.artifact import Artifact, load_artifact
from rate.artifacts.parity_sample import load_sample
from rate.cli.inspect import describe
from rate.errors import ArtifactError, ConfigError, ParityError, RateError, UsageError
from rate.export.export import ExportOptions, export_artifact
from rate.export.precision.half import KINDS, NORMS, PRODUCTS, halve
from rate.export.precision.half_proof import add_half, prove, write_rounded

F32 = TensorProto.FLOAT
IN_F32 = {"ReduceL2", "ReduceMean", "ReduceSum", "ReduceSumSquare", "Pow", "Sqrt"}


def onnx_source(folder: Path, model: onnx_models.Model) -> tuple[str, ExportOptions]:
    path = model.save(folder / "model.onnx")
    return f"onnx:{path}", ExportOptions(classes=onnx_models.write_classes(folder / "classes.txt"))


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory, tiny_vit, trained, exported) -> Callable[[str, str], Artifact]:
    """Small models of every kind of source: exported once, and made half from there."""
    made: dict[tuple[str, str], Artifact] = {}

    def f32(name: str) -> Artifact:
        if name in ("clip", "efficientnet"):
            return load_artifact((tiny_vit if name == "clip" else trained).artifact)
        if name != "onnx":
            return exported(name)
        folder = tmp_path_factory.mktemp(name)
        source, options = onnx_source(folder, onnx_models.Model(channels=16, deep=True))
        return export_artifact(source, folder / "artifact", options)

    def get(name: str, precision: str) -> Artifact:
        if (name, "f32") not in made:
            made[name, "f32"] = f32(name)
        if (name, precision) not in made:
            whole = made[name, "f32"]
            copied = Path(shutil.copytree(whole.path, tmp_path_factory.mktemp(f"{name}-{precision}") / "artifact"))
            made[name, precision] = add_half(structs.replace(whole, path=copied), precision)
        return made[name, precision]

    return get


def typed(graph: Path) -> tuple[onnx.ModelProto, dict[str, int]]:
    """The graph, which must be well formed, and the element type of every tensor."""
    onnx.checker.check_model(str(graph), full_check=True)
    model = onnx.load(graph, load_external_data=False)
    found = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True).graph
    values = (*found.value_info, *found.input, *found.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return model, types | {tensor.name: tensor.data_type for tensor in found.initializer}


def behind(model: onnx.ModelProto, start: str) -> set[str]:
    """Tensors that depend on ``start``."""
    seen = {start}
    for node in model.graph.node:
        if seen & set(node.input):
            seen.update(node.output)
    return seen


@pytest.mark.parametrize(
    ("name", "precision"),
    [*product(("test_vit", "clip", "onnx"), ("fp16", "bf16")), ("efficientnet", "fp16")],
)
def test_halves_are_where_the_arithmetic_is_and_nowhere_else(artifacts, name: str, precision: str) -> None:
    artifact = artifacts(name, precision)
    model, types = typed(artifact.graph("pixels", precision).path)
    half, image = KINDS[precision], behind(model, "pixels")
    assert all(types[value.name] != half for value in (*model.graph.input, *model.graph.output))
    assert [value.name for value in model.graph.output] == [head.output for head in artifact.heads]
    counted = {True: 0, False: 0}
    for node in model.graph.node:
        kinds = {types[tensor] for tensor in node.input if types[tensor] in (F32, half)}
        if node.op_type in NORMS | IN_F32:
            assert kinds == {F32}, node.name
        elif node.op_type in PRODUCTS:
            assert len(kinds) == 1
            counted[kinds == {half}] += 1
            assert kinds == {F32} or image & set(node.input), "what makes the mask is f32"
    in_f32 = 2 + len(artifact.heads)  # two products make the mask, one is each head
    if precision == "bf16" and model.opset_import[0].version < 22:  # whose convolutions need a newer opset
        in_f32 += sum(node.op_type == "Conv" for node in model.graph.node)
    assert counted[False] == in_f32
    assert counted[True] >= (1 if name == "onnx" else 8)
    last = [node for node in model.graph.node if node.op_type in PRODUCTS][-1]
    assert types[last.input[0]] == F32


@pytest.mark.parametrize(("name", "precision"), [("test_vit", "fp16"), ("clip", "bf16"), ("onnx", "fp16")])
def test_the_proof_is_recorded_and_the_files_are_covered(artifacts, name: str, precision: str, tmp_path: Path) -> None:
    artifact = artifacts(name, precision)
    assert load_artifact(artifact.path) == artifact
    assert artifact.precision == precision
    assert (
        artifact.graphs.items() >= {"pixels": "pixels.onnx", f"pixels-{precision}": f"pixels-{precision}.onnx"}.items()
    )
    found = artifact.parity[f"pixels-{precision}"]
    assert set(found.error) == {head.name for head in artifact.heads}
    assert all(0 < value <= 0.25 for value in found.error.values())
    assert all(value > artifact.parity["pixels"].max_abs[head] for head, value in found.max_abs.items())
    assert not list(artifact.path.glob("rounded*"))
    assert f"{precision:<10} error of the scores over their spread" in describe(artifact)
    graph = artifact.graph("pixels", precision)
    assert (graph.precision, graph.path.name) == (precision, f"pixels-{precision}.onnx")
    weights = graph.path.with_name(graph.path.name + ".data")
    assert weights.name in artifact.files
    copy = Path(shutil.copytree(artifact.path, tmp_path / "artifact"))
    raw = bytearray((copy / weights.name).read_bytes())
    raw[len(raw) // 2] ^= 1
    (copy / weights.name).write_bytes(raw)
    with pytest.raises(ArtifactError, match=rf"pixels-{precision}.onnx.data has changed"):
        load_artifact(copy)
    files = artifact.files | {weights.name: "0" * 64}
    assert structs.replace(artifact, files=files).digest != artifact.digest


def test_the_tower_takes_half_the_room(artifacts) -> None:
    artifact = artifacts("test_vit", "fp16")
    whole, half = ((artifact.path / f"{name}.onnx.data").stat().st_size for name in ("pixels", "pixels-fp16"))
    head = 4 * 1000 * 64
    assert half < 0.5 * (whole - head) + head + 20_000


def test_an_export_in_half_holds_the_f32_graph_unchanged(tmp_path: Path) -> None:
    source, options = onnx_source(tmp_path, onnx_models.Model(channels=16, deep=True))
    without = export_artifact(source, tmp_path / "f32", options)
    said: list[str] = []
    with_half = export_artifact(source, tmp_path / "fp16", replace(options, precision="fp16"), said.append)
    assert load_artifact(tmp_path / "fp16") == with_half
    for name, sha in without.files.items():
        assert name == "parity.npz" or with_half.files[name] == sha
    assert set(with_half.files) - set(without.files) == {"pixels-fp16.onnx", "pixels-fp16.onnx.data"}
    assert any("in fp16" in text for text in said)
    with pytest.raises(UsageError, match=r"has no pixels graph in fp16.*--precision fp16$"):
        without.graph("pixels", "fp16")


def scaled(folder: Path, factor: float) -> Path:
    """The deep model with a hidden layer ``factor`` times as large, and a head that takes it back."""
    path = onnx_models.Model(channels=16, deep=True).save(folder / "model.onnx")
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        power = {"hidden": factor, "fc": 1 / factor}.get(tensor.name)
        if power is not None:
            values = (numpy_helper.to_array(tensor) * power).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, path)
    return path


def test_what_does_not_fit_into_fp16_is_refused_and_fits_into_bf16(tmp_path: Path) -> None:
    """The runtime on the CPU computes such a graph without any overflow; a GPU would not."""
    source = f"onnx:{scaled(tmp_path, 1e5)}"
    classes = onnx_models.write_classes(tmp_path / "classes.txt")
    with pytest.raises(ParityError, match="in fp16 does not reproduce the source model"):
        export_artifact(source, tmp_path / "fp16", ExportOptions(classes=classes, precision="fp16"))
    assert not (tmp_path / "fp16").exists()
    artifact = export_artifact(source, tmp_path / "bf16", ExportOptions(classes=classes, precision="bf16"))
    assert artifact.parity["pixels-bf16"].error["native"] < 0.25


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_weights_are_rounded_as_torch_rounds_them(tmp_path: Path, precision: str) -> None:
    rng = np.random.default_rng(0)
    values = (rng.normal(size=(16, 64)) * 10.0 ** rng.integers(-9, 4, (16, 64))).astype(np.float32)
    values[0, :4] = [3.4028235e38, -3.4028235e38, np.inf, 1.0 + 2**-9]
    helper = onnx.helper
    inputs = [helper.make_tensor_value_info("pixels", F32, ["I", 16])]
    nodes = [
        helper.make_node("MatMul", ["pixels", "w"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "v"], ["logits_a"]),
    ]
    stored = [numpy_helper.from_array(values, "w"), numpy_helper.from_array(np.ones((64, 2), np.float32), "v")]
    outputs = [helper.make_tensor_value_info("logits_a", F32, ["I", 2])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), tmp_path / "a.onnx")
    halve(tmp_path / "a.onnx", tmp_path / "b.onnx", precision)
    tensors = {tensor.name: tensor for tensor in onnx.load(tmp_path / "b.onnx").graph.initializer}
    assert set(tensors) == {f"w_{precision}", "v"}
    kind = torch.float16 if precision == "fp16" else torch.bfloat16
    largest = torch.finfo(kind).max
    expected = torch.from_numpy(values).clamp(-largest, largest).to(kind)
    assert tensors[f"w_{precision}"].raw_data == expected.view(torch.uint8).numpy().tobytes()


def test_the_proof_rounds_every_half(artifacts, tmp_path: Path) -> None:
    """As many roundings as the graph has half tensors; the graph it runs is f32 and reads the same weights."""
    path = artifacts("clip", "fp16").graph("pixels", "fp16").path
    model, types = typed(path)
    out = path.with_name("trial.onnx")
    try:
        write_rounded(path, out, "fp16")
        rounded, kinds = typed(out)
    finally:
        out.unlink()
    produced = {name for node in model.graph.node for name in node.output if types[name] == KINDS["fp16"]}
    casts = [node for node in rounded.graph.node if kinds[node.output[0]] == KINDS["fp16"]]
    assert {node.op_type for node in casts} == {"Cast"}
    assert len(casts) == len(produced) > 50


def test_a_half_graph_of_another_model_does_not_pass(artifacts, tmp_path: Path) -> None:
    artifact = artifacts("clip", "fp16")
    graph = artifact.graph("pixels", "fp16")
    sample = load_sample(artifact)
    assert prove(graph, sample).precision == "fp16"
    other = replace(sample, logits={name: values[:, ::-1] + 3 for name, values in sample.logits.items()})
    with pytest.raises(ParityError, match="in fp16 does not reproduce"):
        prove(graph, other)


def test_a_model_without_any_product_that_bf16_has_is_refused(tmp_path: Path, trained) -> None:
    source, options = onnx_source(tmp_path, onnx_models.Model(channels=16))
    with pytest.raises(RateError, match=r"can be computed in bf16 at opset 17; use --precision fp16"):
        export_artifact(source, tmp_path / "out", replace(options, precision="bf16"))
    assert not (tmp_path / "out").exists()
    with pytest.raises(RateError, match="can be computed in bf16 at opset 20"):
        halve(trained.artifact / "pixels.onnx", tmp_path / "half.onnx", "bf16")


def test_the_token_form_becomes_half_too_and_shares_the_weights(artifacts) -> None:
    artifact = artifacts("clip", "fp16")
    assert load_artifact(artifact.path) == artifact
    assert set(artifact.graphs) == {"pixels", "tokens", "pixels-fp16", "tokens-fp16"}
    assert set(artifact.parity) >= {"tokens", "pixels-fp16", "tokens-fp16"}
    assert artifact.parity["tokens-fp16"].error["zs"] <= 0.25
    graph = artifact.graph("tokens", "fp16")
    assert (graph.precision, graph.patches) == ("fp16", artifact.patches)
    model, types = typed(graph.path)
    products = [node for node in model.graph.node if node.op_type in PRODUCTS]
    assert [types[node.input[0]] for node in products] == [KINDS["fp16"]] * (len(products) - 1) + [F32]
    own = graph.path.with_name(graph.path.name + ".data")
    assert not own.exists() or own.stat().st_size < 10_000
    assert "tokens-fp16" in describe(artifact)


@pytest.mark.parametrize("options", [{"calibrate": "m.csv"}, {"split": "test"}])
def test_calibration_is_not_for_halves(options: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="are for --precision int8"):
        ExportOptions(precision="fp16", **options)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_whole_vision_transformer_keeps_its_logits(tmp_path: Path, precision: str) -> None:
    artifact = export_artifact("timm:vit_base_patch32_224", tmp_path / "a", ExportOptions(precision=precision))
    assert max(artifact.parity[f"pixels-{precision}"].error.values()) < 0.1
