"""Every tensor of a model is found, wherever it is stored, and a graph that bites its own tail ends no walk."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper

from rate.export.graph.onnx_walk import strip_traces, tensors
from rate.export.graph.prepend_mask import before_softmax

PLACES = (
    *("initializer", "attribute", "attributes", "branch", "sparse initializer", "sparse_value", "sparse_values"),
    *("function", "branch of a function", "sparse_value of a function", "default of a function", "training"),
)


def named(name: str) -> TensorProto:
    return helper.make_tensor(name, TensorProto.FLOAT, [1], [0.0])


def sparse(name: str) -> onnx.SparseTensorProto:
    return onnx.SparseTensorProto(values=named(name), indices=helper.make_tensor(name, TensorProto.INT64, [1], [0]))


def branch(name: str) -> onnx.GraphProto:
    return helper.make_graph([], name, [], [], [named(name)], doc_string="/home/me")


def everywhere() -> onnx.ModelProto:
    """A tensor in each of PLACES."""
    node = helper.make_node("Constant", [], ["a"], value=named("attribute"), sparse_value=sparse("sparse_value"))
    node.attribute.add(name="t", type=onnx.AttributeProto.TENSORS).tensors.append(named("attributes"))
    several = node.attribute.add(name="s", type=onnx.AttributeProto.SPARSE_TENSORS)
    several.sparse_tensors.append(sparse("sparse_values"))
    branching = helper.make_node("If", ["c"], ["b"], then_branch=branch("branch"))
    model = helper.make_model(helper.make_graph([node, branching], "g", [], [], [named("initializer")]))
    model.graph.sparse_initializer.append(sparse("sparse initializer"))
    inside = helper.make_node(
        "Constant", [], ["x"], value=named("function"), sparse_value=sparse("sparse_value of a function")
    )
    branching = helper.make_node("If", ["c"], ["y"], then_branch=branch("branch of a function"))
    function = onnx.FunctionProto(name="f", node=[inside, branching])
    function.attribute_proto.add(name="d", type=onnx.AttributeProto.TENSOR).t.CopyFrom(named("default of a function"))
    model.functions.append(function)
    model.training_info.add().algorithm.CopyFrom(branch("training"))
    return model


def test_every_tensor_is_found() -> None:
    assert {tensor.name for tensor in tensors(everywhere())} == set(PLACES)


def test_no_trace_stays_in_any_graph() -> None:
    model = everywhere()
    strip_traces(model)
    assert b"/home/me" not in model.SerializeToString()


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "nodes",
    [
        [helper.make_node("Identity", ["out"], ["out"])],
        [helper.make_node("Identity", ["b"], ["out"]), helper.make_node("Identity", ["out"], ["b"])],
        [helper.make_node("Identity", [], ["out"])],
        [helper.make_node("Softmax", [], ["out"])],
        [],
    ],
)
def test_a_graph_that_is_no_graph_has_no_softmax(nodes: list[onnx.NodeProto]) -> None:
    assert before_softmax(helper.make_model(helper.make_graph(nodes, "g", [], [])), "out") is None


def test_a_softmax_behind_identities_is_found() -> None:
    nodes = [
        helper.make_node("Softmax", ["raw"], ["a"], axis=1),
        helper.make_node("Identity", ["a"], ["b"]),
        helper.make_node("Identity", ["b"], ["out"]),
    ]
    assert before_softmax(helper.make_model(helper.make_graph(nodes, "g", [], [])), "out") == "raw"
