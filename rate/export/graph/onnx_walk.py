"""Traversal and cleaning of ONNX protobufs, including the graphs inside nodes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rate.errors import BackendError, need

if TYPE_CHECKING:
    from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

_EXTERNAL_FROM = 1024  # bytes of a tensor that is stored outside the graph file


def graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """Yield ``graph`` and every graph inside its nodes (branches, loop bodies)."""
    yield graph
    for node in graph.node:
        for inner in _subgraphs(node):
            yield from graphs(inner)


def reads(node: NodeProto) -> Iterator[str]:
    """Yield the names that a node reads, including the graphs inside it; an omitted input has an empty name."""
    yield from node.input
    for inner in _subgraphs(node):
        for graph in graphs(inner):
            yield from (output.name for output in graph.output)
            for inner_node in graph.node:
                yield from inner_node.input


def all_graphs(model: ModelProto) -> Iterator[GraphProto]:
    """Yield every graph of a model: its own, those of its training, and those inside the nodes of its functions."""
    yield from graphs(model.graph)
    for training in model.training_info:
        yield from graphs(training.initialization)
        yield from graphs(training.algorithm)
    for function in model.functions:
        for node in function.node:
            for inner in _subgraphs(node):
                yield from graphs(inner)


def tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Yield every tensor stored in a model: initializers and attributes, also those of functions."""
    for graph in all_graphs(model):
        yield from graph.initializer
        yield from _attribute_tensors(attribute for node in graph.node for attribute in node.attribute)
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for function in model.functions:
        yield from _attribute_tensors(function.attribute_proto)
        yield from _attribute_tensors(attribute for node in function.node for attribute in node.attribute)


def shape(value: ValueInfoProto) -> tuple[str | int | None, ...]:
    """Return the axis sizes of an input or output: a number, a name, or None if the size is unknown."""
    return tuple(
        dim.dim_value if dim.HasField("dim_value") else (dim.dim_param or None)
        for dim in value.type.tensor_type.shape.dim
    )


def strip_traces(model: ModelProto) -> None:
    """Remove the exporter's stack traces, which contain folder names of this machine."""
    model.ClearField("metadata_props")
    model.ClearField("doc_string")
    for graph in all_graphs(model):
        for owner in (graph, *graph.value_info, *graph.initializer, *graph.input, *graph.output, *graph.node):
            owner.ClearField("metadata_props")
            owner.ClearField("doc_string")
    for function in model.functions:
        for node in function.node:
            node.ClearField("metadata_props")
            node.ClearField("doc_string")


def _subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _attribute_tensors(attributes: Iterable[AttributeProto]) -> Iterator[TensorProto]:
    for attribute in attributes:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        sparse = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
        for one in (*sparse, *attribute.sparse_tensors):
            yield from (one.values, one.indices)


def save(model: ModelProto, path: Path) -> None:
    """Write a model to ``path`` and its larger weights to ``path`` + ".data"."""
    from onnx.external_data_helper import set_external_data

    data = path.with_name(path.name + ".data")
    with data.open("wb") as stream:
        for graph in graphs(model.graph):
            for tensor in graph.initializer:
                if len(tensor.raw_data) >= _EXTERNAL_FROM:
                    start = stream.tell()
                    stream.write(tensor.raw_data)
                    set_external_data(tensor, data.name, start, len(tensor.raw_data))
                    tensor.ClearField("raw_data")
        empty = stream.tell() == 0
    if empty:
        data.unlink()
    path.write_bytes(model.SerializeToString())


def with_float_inputs(graph: Path) -> bytes:
    """Return a graph whose 8-bit inputs are f32 instead, for a library that gathers no 8-bit integers.

    Its weights stay in their file. The casts behind those inputs then change nothing.

    Raises:
        BackendError: the file cannot be read.
    """
    onnx = need("onnx", "export")
    try:
        model = onnx.load(str(graph), load_external_data=False)
    except Exception as error:  # protobuf's decoding errors have no public type
        raise BackendError(f"{graph} cannot be read as an ONNX model ({error}); export the artifact again") from error
    for value in model.graph.input:
        if value.type.tensor_type.elem_type == onnx.TensorProto.UINT8:
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    del model.graph.value_info[:]
    return bytes(model.SerializeToString())
