"""Forms of attention in a half graph: which can be fused, and that none changes a verdict."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from msgspec import structs
from onnx import TensorProto, helper, numpy_helper

from rate.artifacts.artifact import Artifact, load_artifact
from rate.artifacts.parity_sample import load_sample
from rate.backends.onnxruntime import OrtSpec
from rate.cli.inspect import describe
from rate.config import Measurement
from rate.data.bank import BankDraw
from rate.data.manifest import read_manifest
from rate.engine.job import decoder
from rate.engine.make_job import bank_size, job_of_samples
from rate.errors import ConfigError, UsageError
from rate.execution import Execution
from rate.export.options import ExportOptions
from rate.export.precision.attention import Forms, forms_of, fuse
from rate.export.precision.half import FORMS, halve, tensor_axes
from rate.export.precision.half_proof import add_half, prove, write_rounded
from rate.studies.flips import answers, flips_between

LAYERS = {"operation": Forms(2, 0, 0), "half": Forms(0, 2, 0), "f32": Forms(0, 0, 2)}
"""Of the small vision transformer."""


@pytest.fixture
def artifact(tiny_vit, tmp_path: Path) -> Artifact:
    whole = load_artifact(tiny_vit.artifact)
    return structs.replace(whole, path=Path(shutil.copytree(whole.path, tmp_path / "artifact")))


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_every_form_is_written_as_asked_and_passes_the_proof(artifact: Artifact, precision: str) -> None:
    sample = load_sample(artifact)
    for form in FORMS:
        graph = replace(artifact.graph(), path=artifact.path / f"{form}.onnx", precision=precision)
        assert halve(artifact.graph().path, graph.path, precision, form)
        assert forms_of(graph.path) == LAYERS[form]
        onnx.checker.check_model(str(graph.path), full_check=True)
        assert max(prove(graph, sample).error.values()) < 0.25


def test_the_fastest_form_that_passes_is_kept_and_shown(artifact: Artifact) -> None:
    shown = {form: describe(add_half(artifact, "fp16", (form,))) for form in FORMS}
    assert "attentions fp16: 2 as operations that can be fused" in shown["operation"]
    assert "attentions fp16: 2 as a softmax between products, that TensorRT can fuse" in shown["half"]
    assert "attentions fp16: 2 with a softmax in f32 between casts, that nothing fuses" in shown["f32"]
    assert "fp16: 2 as operations" in describe(add_half(artifact, "fp16"))


def test_verdicts_are_equal_in_every_form(artifact: Artifact, image_set, tmp_path: Path) -> None:
    samples = read_manifest(image_set(12)).samples
    classes = artifact.heads[0].classes
    labelled = tuple(replace(one, label=classes[k % len(classes)]) for k, one in enumerate(samples))
    usual = Measurement(seed=1)
    draw = BankDraw(bank_size(usual), usual.seed)
    for one in labelled:
        draw.add(one)
    bank = draw.bank(decoder(usual, artifact.geometry))
    job = job_of_samples(artifact, labelled, usual, Execution(save_maps=0, threads=1), bank=bank)
    f32 = answers(job, OrtSpec(artifact.graph(), 1))
    assert len(f32) == len(samples) * len(artifact.heads)
    for form in FORMS:
        half, rounded = (artifact.path / f"{form}-{name}.onnx" for name in ("half", "rounded"))
        halve(artifact.graph().path, half, "fp16", form)
        write_rounded(half, rounded, "fp16")
        own = answers(job, OrtSpec(replace(artifact.graph(), path=rounded), 1))
        for flips in flips_between(job, own, f32):
            assert (flips.samples, flips.predictions, flips.verdicts) == (len(samples), 0, 0)


def by_hand(axes: str, scaled: bool = True, mask: bool = False) -> onnx.ModelProto:
    """Attention as authors write it: softmax(q k^T / 4) v, of tensors of 4 axes, or of 3 with rows and heads in one."""
    shape = {"rows, heads": ["B", 2, 5, 16], "rows": ["B", 5, 16]}[axes]
    last = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
    nodes = [helper.make_node("Transpose", ["k"], ["kt"], perm=last)]
    nodes += [helper.make_node("MatMul", ["q", "kt"], ["products"])]
    nodes += [helper.make_node("Mul", ["products", "scale"], ["scores"])] if scaled else []
    scores = "scores" if scaled else "products"
    nodes += [helper.make_node("Add", [scores, "mask"], ["masked"])] if mask else []
    nodes += [helper.make_node("Softmax", ["masked" if mask else scores], ["p"], axis=-1)]
    nodes += [helper.make_node("MatMul", ["p", "v"], ["out"])]
    stored = [
        numpy_helper.from_array(np.float32(0.25), "scale"),
        numpy_helper.from_array(np.zeros(5, np.float32), "mask"),
    ]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "qkv"]
    outputs = [helper.make_tensor_value_info("out", TensorProto.FLOAT, shape)]
    graph = helper.make_graph(nodes, "g", inputs, outputs, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(model: onnx.ModelProto, values: dict[str, np.ndarray]) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, values)[0])


@pytest.mark.parametrize("scaled", [True, False])
def test_attention_by_hand_becomes_the_operation_without_its_transposition(scaled: bool) -> None:
    model = by_hand("rows, heads", scaled)
    rng = np.random.default_rng(0)
    values = {name: rng.normal(size=(3, 2, 5, 16)).astype(np.float32) for name in "qkv"}
    expected = run(model, values)
    assert fuse(model, tensor_axes(model)) == 1
    assert [node.op_type for node in model.graph.node] == ["Attention"]
    assert list(model.graph.node[0].input) == ["q", "k", "v"]
    np.testing.assert_allclose(run(model, values), expected, atol=1e-6)


@pytest.mark.parametrize(
    "model",
    [by_hand("rows"), by_hand("rows, heads", mask=True)],
    ids=["three axes", "masked"],
)
def test_what_the_operation_does_not_say_stays_as_it_is(model: onnx.ModelProto) -> None:
    before = model.SerializeToString()
    assert fuse(model, tensor_axes(model)) == 0
    assert model.SerializeToString() == before


def test_another_opset_is_left_alone() -> None:
    model = by_hand("rows, heads", scaled=False)
    model.opset_import[0].version = 17
    assert fuse(model, tensor_axes(model)) == 0


def test_a_model_without_attention_is_refused_by_name_where_a_form_is_asked(trained, tmp_path: Path) -> None:
    whole = load_artifact(trained.artifact)
    copied = structs.replace(whole, path=Path(shutil.copytree(whole.path, tmp_path / "artifact")))
    with pytest.raises(UsageError, match="has no attention to write as operation; leave --attention out"):
        add_half(copied, "fp16", ("operation",))
    assert "attentions fp16: none" in describe(add_half(copied, "fp16"))


def test_the_form_of_attention_is_for_halves() -> None:
    with pytest.raises(ConfigError, match="--attention half is for --precision fp16 and bf16"):
        ExportOptions(attention="half")
    assert ExportOptions(precision="fp16").forms == FORMS
    assert ExportOptions(precision="bf16", attention="f32").forms == ("f32",)
