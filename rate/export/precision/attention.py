"""The forms of attention in a graph: softmax between two products, and one `Attention` operation (opset 23).

Runtimes with a fused kernel never store the scores of queries and keys. TensorRT finds the kernel for both forms if no
cast stands between the operations, ONNX Runtime for the operation alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from rate.errors import need
from rate.export.graph.onnx_walk import reads

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

OPSET = 23
"""The first opset with the operation."""

_LEAST_OPSET = 20
"""From this opset to `OPSET`, `_CHANGED` alone mean something else; the others only take more types."""

_CHANGED = frozenset({"GroupNormalization"})
_AXES = 4  # of queries, keys and values: rows, heads, tokens, width of a head
_SWAP_LAST = [0, 1, 3, 2]


@dataclass(frozen=True, slots=True)
class SoftmaxAttention:
    """A softmax between two products, with what stands between them."""

    scores: int  # index of the product of queries and keys
    between: tuple[int, ...]  # indices of the nodes from there to the last product: the softmax, a scale, casts
    softmax: int
    product: int  # index of the product with the values
    scale: float  # of the scores
    casts: int


@dataclass(frozen=True, slots=True)
class Forms:
    """The numbers of attentions in a graph by their form."""

    operations: int  # `Attention`
    plain: int  # two products and a softmax without a cast between them
    in_f32: int  # with a softmax in another precision

    @property
    def total(self) -> int:
        """The number of all of them."""
        return self.operations + self.plain + self.in_f32

    def __str__(self) -> str:
        told = {
            "as operations that can be fused": self.operations,
            "as a softmax between products, that TensorRT can fuse": self.plain,
            "with a softmax in f32 between casts, that nothing fuses": self.in_f32,
        }
        return ", ".join(f"{count} {form}" for form, count in told.items() if count) or "none"


def forms_of(graph: Path) -> Forms:
    """Count the attentions in an .onnx file."""
    model: ModelProto = need("onnx", "export").load(str(graph), load_external_data=False)
    patterns = Counter(one.casts > 0 for one in attentions(model))
    operations = sum(node.op_type == "Attention" for node in model.graph.node)
    return Forms(operations, patterns[False], patterns[True])


def attentions(model: ModelProto) -> Iterator[SoftmaxAttention]:
    """Yield every softmax along the last axis of a product, perhaps scaled, whose output only another product reads."""
    nodes = model.graph.node
    makers = {name: index for index, node in enumerate(nodes) for name in node.output}
    readers: dict[str, list[int]] = {}
    for index, node in enumerate(nodes):
        for name in node.input:
            readers.setdefault(name, []).append(index)
    numbers = _numbers(model)
    for softmax, node in enumerate(nodes):
        if node.op_type != "Softmax" or any(a.name == "axis" and a.i != -1 for a in node.attribute):
            continue
        before, scale, between = node.input[0], 1.0, [softmax]
        while before in makers and len(readers[before]) == 1:
            made = nodes[makers[before]]
            if made.op_type == "Mul" and made.input[1] in numbers:
                scale *= numbers[made.input[1]]
            elif made.op_type != "Cast":
                break
            between.append(makers[before])
            before = made.input[0]
        after = node.output[0]
        while [nodes[k].op_type for k in readers.get(after, [])] == ["Cast"]:
            between.append(readers[after][0])
            after = nodes[between[-1]].output[0]
        scores, products = makers.get(before), readers.get(after, [])
        if (
            scores is not None
            and nodes[scores].op_type == "MatMul"
            and len(readers[before]) == 1
            and [(nodes[k].op_type, nodes[k].input[0]) for k in products] == [("MatMul", after)]
        ):
            casts = sum(nodes[k].op_type == "Cast" for k in between)
            yield SoftmaxAttention(scores, tuple(between), softmax, products[0], scale, casts)


def _numbers(model: ModelProto) -> dict[str, float]:
    """Map the names of stored real numbers to their values."""
    onnx = need("onnx", "export")
    kinds = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
    single = (one for one in model.graph.initializer if one.data_type in kinds and prod(one.dims) == 1)
    return {
        one.name: float(onnx.numpy_helper.to_array(one).item())
        for one in single
        if one.data_location != onnx.TensorProto.EXTERNAL
    }


def fuse(model: ModelProto, axes: Mapping[str, int]) -> int:
    """Replace attentions of an f32 ``model`` by the operation, and return their number; the opset becomes `OPSET`.

    Args:
        model: it is changed.
        axes: the number of axes of every tensor, as far as it is known.
    """
    version = next((entry for entry in model.opset_import if entry.domain in ("", "ai.onnx")), None)
    nodes = list(model.graph.node)
    if version is None or not _LEAST_OPSET <= version.version <= OPSET or any(n.op_type in _CHANGED for n in nodes):
        return 0
    chosen = [one for one in attentions(model) if not one.casts and axes.get(nodes[one.product].input[1]) == _AXES]
    replaced = {one.product: _operation(model, one, axes) for one in chosen}
    gone = {index for one in chosen for index in (one.scores, *one.between)}
    del model.graph.node[:]
    for index, node in enumerate(nodes):
        if index not in gone:
            model.graph.node.extend(replaced.get(index, [node]))
    if chosen:
        version.version, model.ir_version = OPSET, max(model.ir_version, 11)
        _drop_unread(model)
    return len(chosen)


def _operation(model: ModelProto, attention: SoftmaxAttention, axes: Mapping[str, int]) -> list[NodeProto]:
    """Make the nodes for one attention: keys with their axes as the operation takes them, and the operation."""
    helper = need("onnx", "export").helper
    scores, product = model.graph.node[attention.scores], model.graph.node[attention.product]
    queries, transposed = scores.input
    made, keys = _keys(model, transposed, axes)
    inputs, output = [queries, keys, product.input[1]], product.output[0]
    return [*made, helper.make_node("Attention", inputs, [output], name=f"Attention_{output}", scale=attention.scale)]


def _keys(model: ModelProto, transposed: str, axes: Mapping[str, int]) -> tuple[list[NodeProto], str]:
    """Return keys [..,n,d] for the ``transposed`` ones [..,d,n], with the nodes that make them.

    A transposition of the last two axes is left out instead of undone, also as torch writes it: a reshape to three
    axes, a transposition, a reshape to four, and perhaps a scale.
    """
    helper = need("onnx", "export").helper
    makers = {name: node for node in model.graph.node for name in node.output}
    numbers = _numbers(model)
    source, scale = _untransposed(makers, transposed), None
    if (last := makers.get(transposed)) is not None and last.op_type == "Mul" and last.input[1] in numbers:
        source, scale = _untransposed(makers, last.input[0]), last.input[1]
    keys = f"{transposed}_keys"
    if source is None or axes.get(source) != _AXES:
        return [helper.make_node("Transpose", [transposed], [keys], name=f"Transpose_{keys}", perm=_SWAP_LAST)], keys
    if scale is None:
        return [], source
    return [helper.make_node("Mul", [source, scale], [keys], name=f"Mul_{keys}")], keys


def _untransposed(makers: Mapping[str, NodeProto], name: str) -> str | None:
    """Return the tensor whose last two axes are exchanged in tensor ``name``; None = it was made by other means."""
    if (last := makers.get(name)) is None:
        return None
    if last.op_type == "Transpose" and _permutation(last) == _SWAP_LAST:
        return str(last.input[0])
    turned = makers.get(last.input[0]) if last.op_type == "Reshape" else None
    if turned is None or turned.op_type != "Transpose" or _permutation(turned) != [0, 2, 1]:
        return None
    first = makers.get(turned.input[0])
    return str(first.input[0]) if first is not None and first.op_type == "Reshape" else None


def _permutation(node: NodeProto) -> list[int]:
    return next((list(attribute.ints) for attribute in node.attribute if attribute.name == "perm"), [])


def _drop_unread(model: ModelProto) -> None:
    """Remove the nodes whose outputs nothing reads any longer."""
    wanted = {output.name for output in model.graph.output}
    kept: list[NodeProto] = []
    for node in reversed(model.graph.node):
        if wanted & set(node.output):
            kept.append(node)
            wanted.update(reads(node))
    del model.graph.node[:]
    model.graph.node.extend(reversed(kept))
