"""A model without what it has learned: the same values, other places, other logits, a parity sample of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from msgspec import structs
from onnx import numpy_helper

from rate.artifacts.artifact import Artifact, load_artifact
from rate.artifacts.parity import judge
from rate.artifacts.parity_sample import load_sample
from rate.backends.onnxruntime import OrtSpec
from rate.errors import UsageError
from rate.export.graph.randomized import randomize, randomized_artifact
from rate.export.options import ExportOptions
from rate.export.sources.open_source import open_source


def weights(path: Path) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(str(path)).graph.initializer}


def assert_shuffled(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> None:
    assert before.keys() == after.keys()
    moved = 0
    for name, values in before.items():
        np.testing.assert_array_equal(np.sort(after[name], axis=None), np.sort(values, axis=None))
        if values.ndim < 2 or values.dtype != np.float32:
            np.testing.assert_array_equal(after[name], values)
        else:
            moved += bool((after[name] != values).any())
    assert moved


@pytest.mark.parametrize("form", ["pixels", "tokens"])
def test_weights_keep_their_values_and_the_artifact_passes_its_own_self_test(
    tiny_vit, tmp_path: Path, form: str
) -> None:
    artifact = load_artifact(tiny_vit.artifact)
    made = randomized_artifact(artifact, tmp_path / "made", form)
    assert_shuffled(weights(artifact.graph(form).path), weights(made.graph(form).path))
    judge(load_sample(made, form), OrtSpec(made.graph(form)))
    one, other = load_sample(artifact, form).logits["zs"], load_sample(made, form).logits["zs"]
    assert np.isfinite(other).all()
    assert np.abs(one - other).max() > 0.01
    again = randomized_artifact(artifact, tmp_path / "again", form)
    assert again.graph(form).path.read_bytes() == made.graph(form).path.read_bytes()


def test_a_bare_graph_is_randomized_too(shared_artifact: Artifact, tmp_path: Path) -> None:
    made = randomized_artifact(shared_artifact, tmp_path / "made")
    assert_shuffled(weights(shared_artifact.graph().path), weights(made.graph().path))


def test_a_torch_model_is_randomized_in_place_tower_and_heads(tiny_vit) -> None:
    source = ExportOptions(classes=tiny_vit.classes)
    before, model = (open_source(tiny_vit.source, source) for _ in range(2))
    assert randomize(model) is model
    for one, other in ((before.tower, model.tower), (before.heads[0].module, model.heads[0].module)):
        states = [{name: value.numpy() for name, value in m.state_dict().items()} for m in (one, other)]
        assert_shuffled(*states)


def test_a_graph_without_weights_is_refused(shared_artifact: Artifact, tmp_path: Path) -> None:
    model = onnx.load(str(shared_artifact.graph().path))
    for tensor in model.graph.initializer:
        if len(tensor.dims) > 1:
            flat = numpy_helper.to_array(tensor).ravel()
            tensor.CopyFrom(numpy_helper.from_array(flat, tensor.name))
    empty = tmp_path / "empty"
    empty.mkdir()
    onnx.save(model, str(empty / "pixels.onnx"))
    with pytest.raises(UsageError, match="holds no weights"):
        randomized_artifact(structs.replace(shared_artifact, path=empty), tmp_path / "made")
