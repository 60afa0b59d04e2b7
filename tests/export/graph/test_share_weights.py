"""Two graphs, one copy of their weights, the same numbers as before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, load, numpy_helper

from rate.export.graph.onnx_walk import save, tensors
from rate.export.graph.share_weights import share_weights


def linear(path: Path, weights: dict[str, np.ndarray]) -> Path:
    """y = x @ each weight in turn."""
    nodes, last = [], "x"
    for name in weights:
        nodes.append(helper.make_node("MatMul", [last, name], [f"y_{name}"]))
        last = f"y_{name}"
    made = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 32]) for name in ("x", last)]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], made)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def run(path: Path) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.eye(32, dtype=np.float32)})[0]


def random(*seeds: int) -> list[np.ndarray]:
    return [np.random.default_rng(seed).normal(size=(32, 32)).astype(np.float32) for seed in seeds]


def files(path: Path) -> set[str]:
    model = load(str(path), load_external_data=False)
    return {entry.value for tensor in tensors(model) for entry in tensor.external_data if entry.key == "location"}


def test_equal_tensors_are_stored_once_whatever_their_names(tmp_path: Path) -> None:
    a, b = random(1, 2)
    first = linear(tmp_path / "first.onnx", {"a": a, "b": b})
    second = linear(tmp_path / "second.onnx", {"other": b, "name": a})
    before, data = run(second), (tmp_path / "first.onnx.data").read_bytes()
    share_weights(second, first)
    assert not (tmp_path / "second.onnx.data").exists()
    assert files(second) == {"first.onnx.data"}
    assert (tmp_path / "first.onnx.data").read_bytes() == data
    np.testing.assert_array_equal(run(second), before)


def test_a_tensor_of_its_own_stays_with_the_second_graph(tmp_path: Path) -> None:
    a, b, c = random(1, 2, 3)
    first = linear(tmp_path / "first.onnx", {"a": a, "b": b})
    second = linear(tmp_path / "second.onnx", {"c": c, "b": b, "t": a.T.copy()})
    before = run(second)
    share_weights(second, first)
    assert (tmp_path / "second.onnx.data").stat().st_size == 2 * a.nbytes
    assert files(second) == {"first.onnx.data", "second.onnx.data"}
    np.testing.assert_array_equal(run(second), before)
