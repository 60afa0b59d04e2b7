"""Insertion of the perturbation in front of an existing ONNX graph, node by node."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rate.artifacts.records import HeadInfo
from rate.backends.batches import INPUTS, PICTURES
from rate.errors import need
from rate.export.graph.onnx_walk import graphs, reads
from rate.export.graph.perturbed import BYTES, SIDES, dims

OLDEST_OPSET = 7
"""Add and Mul do not broadcast as required in older versions."""

_PREFIX = "rate_"
_AXES_BECAME_AN_INPUT = 13
_SOFTMAX = ("Softmax", "LogSoftmax")


def opset(model: Any) -> int:
    """Return the version of the standard operators that a model uses."""
    return next((int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)


def before_softmax(model: Any, output: str) -> str | None:
    """Return the name of the tensor that a final Softmax over the classes turns into ``output``; None = there is no
    Softmax.

    Identity nodes behind the Softmax are skipped. Nodes are searched in order from the last one: in a graph in which a
    node reads what it or a later one writes the search ends, and no runtime loads such a graph.
    """
    node = None
    for one in reversed(model.graph.node):
        if output in one.output:
            node = one
            if one.op_type != "Identity" or not one.input:
                break
            output = one.input[0]
    if node is None or node.op_type not in _SOFTMAX or node.domain not in ("", "ai.onnx") or not node.input:
        return None
    axes = [attribute.i for attribute in node.attribute if attribute.name == "axis"]
    return str(node.input[0]) if not axes or axes[0] in (1, -1) else None


def set_output(model: Any, name: str) -> None:
    """Make the tensor ``name`` [b,c] the model's only output, and remove everything that it does not need."""
    onnx = need("onnx", "export")
    del model.graph.output[:]
    value = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["B", None])
    model.graph.output.append(value)
    _prune(model)


def perturb(model: Any, image: str, size: int, head: HeadInfo) -> None:
    """Turn a model from images to logits into a perturbed graph, in place.

    Args:
        model: its input ``image`` is f32 [b,3,h,w], its only output the logits f32 [b,c].
        image: the name of the input.
        size: side of the square input, pixels.
        head: the new name of the output.
    """
    onnx = need("onnx", "export")
    graph = model.graph
    renamed = _free_names(model, {*INPUTS, head.output})
    image, logits = renamed.get(image, image), graph.output[0].name
    # shapes recorded for another batch may be wrong for this one
    del graph.input[:], graph.output[:], graph.value_info[:]
    graph.input.extend(_inputs(size))
    axes = ["B", len(head.classes)]
    graph.output.append(onnx.helper.make_tensor_value_info(head.output, onnx.TensorProto.FLOAT, axes))
    last = onnx.helper.make_node("Identity", [logits], [head.output], name=f"{_PREFIX}Identity")
    nodes = [*_mask_nodes(image, opset(model)), *graph.node, last]
    del graph.node[:]
    graph.node.extend(nodes)
    # since version 4, initializers need not be listed among the inputs, where a runtime would expect values for them
    model.ir_version = max(model.ir_version, 4)


def _inputs(size: int) -> list[Any]:
    onnx = need("onnx", "export")
    types = onnx.TensorProto
    kinds = dict.fromkeys(INPUTS, types.FLOAT)
    kinds |= dict.fromkeys(("slot", "fill", "side", "offset"), types.INT64) | dict.fromkeys(BYTES, types.UINT8)
    return [onnx.helper.make_tensor_value_info(name, kinds[name], list(axes)) for name, axes in dims(size).items()]


def _mask_nodes(image: str, version: int) -> list[Any]:
    """Make the nodes of `rate.export.graph.perturbed` from `INPUTS` to the pixels, whose name is ``image``."""
    helper, types = need("onnx", "export").helper, need("onnx", "export").TensorProto

    def node(kind: str, inputs: Iterable[str], output: str, **attributes: Any) -> Any:
        return helper.make_node(kind, list(inputs), [output], name=f"{_PREFIX}{kind}_{output}", **attributes)

    def p(name: str) -> str:
        return _PREFIX + name

    def constant(name: str, values: Sequence[float], shape: list[int], kind: int = types.FLOAT) -> Any:
        return node("Constant", [], p(name), value=helper.make_tensor(p(name), kind, shape, values))

    def unsqueeze(given: str, output: str, axes: list[int]) -> list[Any]:
        if version < _AXES_BECAME_AN_INPUT:
            return [node("Unsqueeze", [given], output, axes=axes)]
        named = f"{output.removeprefix(_PREFIX)}_axes"
        return [constant(named, axes, [len(axes)], types.INT64), node("Unsqueeze", [given, p(named)], output)]

    def seen(row: str, output: str) -> list[Any]:
        """Gather the pictures that ``row`` names and convert them to what the model sees."""
        return [
            *(node("Gather", [name, row], p(f"{name}_of_{row}"), axis=0) for name in PICTURES),
            *unsqueeze(p(f"zero_of_{row}"), p(f"zeros_of_{row}"), [2, 3]),
            *unsqueeze(p(f"scale_of_{row}"), p(f"scales_of_{row}"), [2, 3]),
            node("Cast", [p(f"pixels_of_{row}")], p(f"levels_of_{row}"), to=types.FLOAT),
            node("Sub", [p(f"levels_of_{row}"), p(f"zeros_of_{row}")], p(f"above_zero_of_{row}")),
            node("Mul", [p(f"above_zero_of_{row}"), p(f"scales_of_{row}")], p(output)),
        ]

    sides = [
        each
        for name, weights in zip(("of_grid", "of_region", "of_one"), SIDES, strict=True)
        for each in (
            constant(f"{name}_by_side", weights, [len(weights)]),
            node("Gather", [p(f"{name}_by_side"), p("side_of_row")], p(name), axis=0),
        )
    ]
    return [
        *unsqueeze("side", p("side_of_row"), [1, 2]),
        *sides,
        constant("y", [0], [], types.INT64),
        constant("x", [1], [], types.INT64),
        node("Gather", ["offset", p("y")], p("offset_y"), axis=1),
        node("Gather", ["offset", p("x")], p("offset_x"), axis=1),
        node("Gather", ["table", p("offset_y")], p("tall"), axis=0),
        node("Gather", ["table", p("offset_x")], p("wide"), axis=0),
        node("Transpose", [p("wide")], p("wide_t"), perm=[0, 2, 1]),
        node("Mul", ["grid", p("of_grid")], p("cells")),
        node("MatMul", [p("tall"), p("cells")], p("rows")),
        node("MatMul", [p("rows"), p("wide_t")], p("pattern")),
        node("Mul", [p("pattern"), "b"], p("scaled")),
        node("Mul", ["a", p("of_grid")], p("level")),
        node("Add", [p("level"), p("of_one")], p("base")),
        node("Add", [p("scaled"), p("base")], p("without_region")),
        node("Gather", ["region", "slot"], p("weights_of_row"), axis=0),
        node("Cast", [p("weights_of_row")], p("levels_of_region"), to=types.FLOAT),
        constant("most", [255.0], []),
        node("Div", [p("levels_of_region"), p("most")], p("region_of_row")),
        node("Mul", [p("region_of_row"), p("of_region")], p("signed_region")),
        node("Add", [p("without_region"), p("signed_region")], p("mask")),
        *unsqueeze(p("mask"), p("shown"), [1]),
        constant("one", [1.0], []),
        node("Sub", [p("one"), p("shown")], p("hidden")),
        *seen("slot", "images"),
        *seen("fill", "fills"),
        node("Mul", [p("images"), p("shown")], p("kept")),
        node("Mul", [p("fills"), p("hidden")], p("filled")),
        node("Add", [p("kept"), p("filled")], image),
    ]


def _free_names(model: Any, wanted: set[str]) -> dict[str, str]:
    """Rename every tensor of the model whose name the perturbation needs, at every occurrence; return old name -> new.

    Renaming all occurrences keeps every binding, including those between a graph and the graphs inside its nodes.
    """
    taken = {name for graph in graphs(model.graph) for name in _names(graph)}
    clash = {name for name in taken if name in wanted or name.startswith(_PREFIX)}
    renamed = {name: _fresh_name(name, taken) for name in clash}
    for graph in graphs(model.graph):
        for owner in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
            owner.name = renamed.get(owner.name, owner.name)
        for sparse in graph.sparse_initializer:
            sparse.values.name = renamed.get(sparse.values.name, sparse.values.name)
        for node in graph.node:
            node.input[:] = [renamed.get(name, name) for name in node.input]
            node.output[:] = [renamed.get(name, name) for name in node.output]
    return renamed


def _names(graph: Any) -> Iterable[str]:
    for owner in (*graph.input, *graph.output, *graph.initializer):
        yield owner.name
    yield from (sparse.values.name for sparse in graph.sparse_initializer)
    for node in graph.node:
        yield from node.input
        yield from node.output


def _fresh_name(name: str, taken: set[str]) -> str:
    fresh = f"source_{name}"
    while fresh in taken:
        fresh += "_"
    return fresh


def _prune(model: Any) -> None:
    """Remove nodes, weights and inputs that no output depends on."""
    graph = model.graph
    needed = {output.name for output in graph.output}
    kept: list[Any] = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(reads(node))
    kept.reverse()
    del graph.node[:]
    graph.node.extend(kept)
    for stored in (graph.initializer, graph.input):
        used = [entry for entry in stored if entry.name in needed]
        del stored[:]
        stored.extend(used)
