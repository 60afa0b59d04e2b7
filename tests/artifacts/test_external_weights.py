"""Every place where an ONNX file can name another file is found without the onnx package, as that package finds it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from rate.artifacts.external_weights import check_external
from rate.errors import ArtifactError


def outside(name: str) -> TensorProto:
    """A tensor whose values are elsewhere."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=name)
    tensor.external_data.add(key="offset", value="0")
    return tensor


def everywhere() -> onnx.ModelProto:
    """External tensors in all messages that can hold one."""
    graph = helper.make_graph([], "inner", [], [], [outside("initializer of a branch")])
    nodes = [
        helper.make_node("Constant", [], ["a"], value=outside("attribute")),
        helper.make_node("If", ["c"], ["b"], then_branch=graph, else_branch=helper.make_graph([], "e", [], [])),
    ]
    nodes[0].attribute.add(name="several", type=onnx.AttributeProto.TENSORS).tensors.append(outside("tensors"))
    nodes[0].attribute.add(name="graphs", type=onnx.AttributeProto.GRAPHS).graphs.append(
        helper.make_graph([], "g", [], [], [outside("graphs")])
    )
    sparse = onnx.SparseTensorProto(values=outside("sparse values"), indices=outside("sparse indices"))
    nodes[0].attribute.add(name="sparse", type=onnx.AttributeProto.SPARSE_TENSOR).sparse_tensor.CopyFrom(
        onnx.SparseTensorProto(values=outside("sparse attribute"))
    )
    model = helper.make_model(helper.make_graph(nodes, "outer", [], [], [outside("initializer")]))
    model.graph.sparse_initializer.append(sparse)
    model.functions.append(
        onnx.FunctionProto(name="f", node=[helper.make_node("Constant", [], ["x"], value=outside("function"))])
    )
    model.training_info.add().algorithm.CopyFrom(helper.make_graph([], "t", [], [], [outside("training")]))
    return model


PLACES = (
    *("initializer", "initializer of a branch", "attribute", "tensors", "graphs", "sparse values", "sparse indices"),
    *("sparse attribute", "function", "training"),
)


@pytest.mark.parametrize("place", PLACES)
def test_every_place_is_looked_at(place: str, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(everywhere().SerializeToString())
    check_external(tmp_path / "m.onnx", frozenset(PLACES))
    with pytest.raises(ArtifactError, match=f"keeps weights in '{place}'"):
        check_external(tmp_path / "m.onnx", frozenset(PLACES) - {place})


def test_the_order_and_the_form_of_fields_do_not_hide_one(tmp_path: Path) -> None:
    """A writer may put the value first, repeat a field, and use longer numbers than it needs."""
    entry = b"\x12\x01y\x0a\x88\x00location\x12\x02/x"  # value, key with a length of two bytes, value again
    tensor = b"\x6a" + bytes([len(entry)]) + entry
    graph = b"\x2a" + bytes([len(tensor)]) + tensor
    (tmp_path / "m.onnx").write_bytes(b"\x3a" + bytes([len(graph)]) + graph)
    assert (
        onnx.load(str(tmp_path / "m.onnx"), load_external_data=False).graph.initializer[0].external_data[0].value
        == "/x"
    )
    with pytest.raises(ArtifactError, match="'/x'"):
        check_external(tmp_path / "m.onnx", frozenset({"y"}))


@given(st.binary(max_size=200))
@settings(max_examples=200)
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("bytes") / "m.onnx"
    path.write_bytes(data)
    with suppress(ArtifactError):
        check_external(path, frozenset())


def test_graphs_nested_without_end_are_refused(tmp_path: Path) -> None:
    graph = helper.make_graph([], "g", [], [])
    for _ in range(25):
        graph = helper.make_graph([helper.make_node("If", ["c"], ["x"], then_branch=graph)], "g", [], [])
    (tmp_path / "m.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    with pytest.raises(ArtifactError, match="nested more than 64 deep"):
        check_external(tmp_path / "m.onnx", frozenset())
