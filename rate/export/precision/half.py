"""fp16 and bf16: the tower of the perturbed graph in half precision, in a separate graph beside the f32 one.

Operations that need more precision stay in f32: the mask and what it makes of the pixels, norms, sums, powers and roots
(including the L2 norm), and every head from its matrix product to the logits. Inputs and outputs of the graph stay f32.
The precision is part of the graph, so every runtime computes the same.

Attention has three forms, of which the fastest that passes the proof is kept (`rate.export.precision.half_proof`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rate.errors import RateError, need
from rate.export.graph.onnx_walk import reads, save
from rate.export.precision.attention import attentions, fuse

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

    from rate.types import Float32

FLOAT = 1  # these three are numbers of TensorProto.DataType
KINDS = {"fp16": 10, "bf16": 16}
"""Maps each precision to the element type of its tensors."""

PRODUCTS = frozenset({"MatMul", "Gemm", "Conv", "ConvTranspose", "Einsum", "Attention"})
"""Operations that benefit from half precision. Tensors are half behind the first of them that depends on the image."""

NORMS = frozenset(
    {"LayerNormalization", "GroupNormalization", "InstanceNormalization", "BatchNormalization", "RMSNormalization"}
    | {"Softmax", "LogSoftmax"}
)
"""Operations that are computed in f32 between two halves, since their results fit a half again."""

_FOLLOWING = frozenset({
    "Add", "Sub", "Mul", "Div", "Neg", "Abs", "Min", "Max", "Clip", "Where", "Identity",
    "Relu", "LeakyRelu", "PRelu", "Elu", "Gelu", "Erf", "Mish", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh",
    "Reshape", "Transpose", "Concat", "Split", "Slice", "Squeeze", "Unsqueeze", "Expand", "Flatten", "Pad", "Tile",
    "Gather", "GatherElements", "GatherND", "MaxPool", "AveragePool", "DepthToSpace", "SpaceToDepth",
})  # fmt: skip
"""Operations in half if all their inputs from the image are half. All operations outside these sets are in f32."""

_LARGEST = {"fp16": 65504.0, "bf16": 3.3895314e38}
_IMAGE = "pixels"


FORMS = ("operation", "half", "f32")
"""The forms of attention, the fastest first: one operation, a softmax in half, and a softmax in f32 between casts."""


def halve(graph: Path, out: Path, precision: str, form: str = "f32") -> bool:
    """Write the f32 perturbed ``graph`` in ``precision`` to ``out`` and its weights to ``out`` + ".data".

    ``form``: one of `FORMS`. Returns False, and writes nothing, if the graph has no attention to write in that form.

    Raises:
        RateError: no part of the model can be computed in that precision.
    """
    onnx = need("onnx", "export")
    bare, model = onnx.load(str(graph), load_external_data=False), onnx.load(str(graph))
    if form == "operation":
        axes = tensor_axes(bare)
        if not (fuse(bare, axes) and fuse(model, axes)):
            return False
    elif form == "half" and not any(attentions(bare)):
        return False
    types = element_types(bare)
    plan = make_plan(model, types, precision, form == "half")
    if not any(model.graph.node[index].op_type in PRODUCTS for index in plan.nodes):
        raise RateError(
            f"no matrix product or convolution of this model can be computed in {precision} at opset "
            f"{_opset(model)}; use --precision {'fp16' if precision == 'bf16' else 'f32'}"
        )
    _Writer(model, plan, precision).rewrite()
    save(model, out)
    return True


def element_types(model: ModelProto) -> dict[str, int]:
    """Map each tensor name to its element type, as far as it is known without running the model."""
    inferred: ModelProto = need("onnx", "export").shape_inference.infer_shapes(model)
    graph = inferred.graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.input, *graph.output)}
    return types | {tensor.name: tensor.data_type for tensor in graph.initializer}


def tensor_axes(model: ModelProto) -> dict[str, int]:
    """Map each tensor name to its number of axes, as far as it is known without running the model."""
    inferred: ModelProto = need("onnx", "export").shape_inference.infer_shapes(model)
    values = (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)
    shaped = (value for value in values if value.type.tensor_type.HasField("shape"))
    return {value.name: len(value.type.tensor_type.shape.dim) for value in shaped}


@dataclass(slots=True)
class HalfPlan:
    """The nodes and tensors of a graph that are half."""

    types: dict[str, int]  # element types of the tensors in the f32 graph
    nodes: set[int] = field(default_factory=set)  # indices of the nodes that compute in half
    # float tensors behind the first product -> whether they may be stored as half
    tensors: dict[str, bool] = field(default_factory=dict)


def make_plan(model: ModelProto, types: dict[str, int], precision: str, soft: bool = False) -> HalfPlan:
    """Decide the precision of every node of a perturbed ``model``; ``soft``: the softmax of attention is half, too."""
    plan, opset = HalfPlan(types), _opset(model)
    halved = {one.softmax for one in attentions(model)} if soft else set()
    heads, seen = _heads(model), {_IMAGE}
    for index, node in enumerate(model.graph.node):
        inputs = set(reads(node))
        product = node.op_type in PRODUCTS and bool(inputs & seen)
        if inputs & seen:
            seen.update(node.output)
        behind = [plan.tensors[name] for name in inputs if name in plan.tensors]
        if not (behind or product):
            continue
        able = index not in heads and _exists(node, types, opset, precision)
        if able and (product or ((node.op_type in _FOLLOWING or index in halved) and all(behind))):
            plan.nodes.add(index)
        small = index not in heads and (index in plan.nodes or product or node.op_type in NORMS)
        plan.tensors |= {name: small for name in node.output if types.get(name) == FLOAT}
    return plan


def _opset(model: ModelProto) -> int:
    return next((int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)


def _heads(model: ModelProto) -> set[int]:
    """Return the indices of the nodes from the outputs back to the nearest product on every path, including it."""
    nodes = model.graph.node
    makers = {name: index for index, node in enumerate(nodes) for name in node.output}
    indices: set[int] = set()
    waiting = [makers[output.name] for output in model.graph.output]
    while waiting:
        index = waiting.pop()
        if index not in indices:
            indices.add(index)
            if nodes[index].op_type not in PRODUCTS:
                waiting += [makers[name] for name in reads(nodes[index]) if name in makers]
    return indices


def _exists(node: NodeProto, types: dict[str, int], opset: int, precision: str) -> bool:
    """Tell whether ONNX has this operation in ``precision``, and whether all relevant types are known."""
    onnx = need("onnx", "export")
    if node.domain not in ("", "ai.onnx") or not all(name in types for name in (*node.input, *node.output) if name):
        return False
    kind = "tensor(float16)" if precision == "fp16" else "tensor(bfloat16)"
    try:
        schema = onnx.defs.get_schema(node.op_type, opset, "")
    except onnx.defs.SchemaError:
        return False
    pairs = [*_formal(node.input, schema.inputs), *_formal(node.output, schema.outputs)]
    return all(kind in formal.types for name, formal in pairs if types[name] == FLOAT)


def _formal(names: Iterable[str], parameters: Any) -> Iterator[tuple[str, Any]]:
    """Yield names with their formal parameters in the schema; the last parameter may cover several names."""
    for place, name in enumerate(names):
        if name:
            yield name, parameters[min(place, len(parameters) - 1)]


class _Writer:
    """Gives every float tensor its f32 form under its own name and its half form under another name, as they are
    needed.
    """

    def __init__(self, model: ModelProto, plan: HalfPlan, precision: str) -> None:
        self._graph, self._plan, self._precision = model.graph, plan, precision
        self._weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self._kept: dict[str, TensorProto] = {}
        self._there = {value.name for value in model.graph.input}
        self._nodes: list[NodeProto] = []

    def rewrite(self) -> None:
        """Apply the plan to the model."""
        for index, node in enumerate(self._graph.node):
            half = index in self._plan.nodes
            own = set(node.input)
            for name in reads(node):
                if name and name not in own:
                    self._form(name, half=False)
            node.input[:] = [self._form(name, half) for name in node.input]
            node.output[:] = [self._named(name, half) for name in node.output]
            self._there.update(node.output)
            self._nodes.append(node)
        for output in self._graph.output:
            self._form(output.name, half=False)
        for stored, content in ((self._graph.node, self._nodes), (self._graph.initializer, self._kept.values())):
            kept = list(content)
            del stored[:]
            stored.extend(kept)
        del self._graph.value_info[:]

    def _named(self, name: str, half: bool) -> str:
        return f"{name}_{self._precision}" if half and self._plan.types.get(name) == FLOAT else name

    def _form(self, name: str, half: bool) -> str:
        """Return the name of a tensor's f32 or half form; the form is made if it does not exist yet."""
        wanted = self._named(name, half)
        if name and wanted not in self._there:
            self._there.add(wanted)
            if name not in self._weights:
                self._cast(name, half)
            else:
                tensor = self._weights[name]
                self._kept[wanted] = tensor if wanted == name else _converted(tensor, wanted, self._precision)
        return wanted

    def _cast(self, name: str, half: bool) -> None:
        source, target = self._named(name, not half), self._named(name, half)
        if source not in self._there:
            return  # the tensor is of an outer graph, or an omitted input
        helper = need("onnx", "export").helper
        kind = KINDS[self._precision] if half else FLOAT
        self._nodes.append(helper.make_node("Cast", [source], [target], name=f"Cast_{target}", to=kind))


def _converted(tensor: TensorProto, name: str, precision: str) -> TensorProto:
    """Round a weight to half; a value beyond the largest half becomes the largest half."""
    onnx = need("onnx", "export")
    values = onnx.numpy_helper.to_array(tensor).clip(-_LARGEST[precision], _LARGEST[precision])
    made: TensorProto = onnx.TensorProto(name=name, data_type=KINDS[precision], dims=tensor.dims)
    made.raw_data = _half_bytes(values, precision)
    return made


def _half_bytes(values: Float32, precision: str) -> bytes:
    """Return little-endian bytes of the nearest halves, ties to even; bf16 is the upper half of an f32."""
    if precision == "fp16":
        return values.astype("<f2").tobytes()
    bits = np.ascontiguousarray(values, "<f4").view(np.uint32)
    return ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype("<u2").tobytes()
