"""The half graph of an artifact, and the proof on a CPU that it computes what the source computes.

ONNX Runtime does not compute in halves on a CPU: it casts to f32 and back, which hides an overflow of fp16, and it does
not support bf16. The proof therefore runs the graph in f32 with every half tensor rounded to a half, which equals the
result of a device with f32 accumulators.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import structs

from rate.artifacts.artifact import Artifact, write_artifact
from rate.artifacts.folders import digest_files
from rate.artifacts.parity import judge
from rate.artifacts.parity_sample import ParitySample, load_sample
from rate.artifacts.records import Parity
from rate.backends.base import Graph
from rate.backends.onnxruntime import OrtSpec
from rate.errors import BackendError, ParityError, RateError, UsageError, need
from rate.export.graph.share_weights import share_weights
from rate.export.precision.half import FLOAT, FORMS, KINDS, element_types, halve

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_TRIAL = "rounded.onnx"


def add_half(artifact: Artifact, precision: str, forms: Sequence[str] = FORMS) -> Artifact:
    """Write every graph of ``artifact`` also in ``precision`` into the artifact's folder, after a proof.

    Args:
        artifact: complete, in f32.
        precision: fp16 | bf16.
        forms: the forms of attention to try, in order; the first one that the proof accepts is kept.

    Raises:
        ParityError: the half graph is too far from the source: its activations need the range or digits of an f32.
        RateError: no part of the model can be computed in that precision.
    """
    folder, graphs, proven = artifact.path, dict(artifact.graphs), dict(artifact.parity)
    for form in artifact.graphs:
        name = f"{form}-{precision}"
        graph = replace(artifact.graph(form), path=folder / f"{name}.onnx", precision=precision)
        first = None if form == "pixels" else folder / graphs[f"pixels-{precision}"]
        proven[name] = _write_proven(artifact.graph(form).path, graph, first, load_sample(artifact, form), forms)
        graphs[name] = graph.path.name
    written = [path.name for name in graphs.values() for path in folder.glob(f"{name}*")]
    whole = structs.replace(
        artifact,
        precision=precision,
        graphs=graphs,
        files=artifact.files | digest_files(folder, written),
        parity=proven,
    )
    write_artifact(whole)
    return whole


def _write_proven(f32: Path, graph: Graph, first: Path | None, sample: ParitySample, forms: Sequence[str]) -> Parity:
    """Write ``graph`` in the first of ``forms`` that passes; ``first``: a graph whose weights it shares."""
    refused: RateError | None = None
    for form in forms:
        # What has no attention is the same in every form, and is written in the last one.
        if not halve(f32, graph.path, graph.precision, form):
            continue
        if first is not None:
            share_weights(graph.path, first)
        try:
            return prove(graph, sample)
        except (ParityError, BackendError) as error:
            refused = error
    if refused is None:
        raise UsageError(f"{f32} has no attention to write as {' or '.join(forms)}; leave --attention out")
    raise refused


def prove(graph: Graph, sample: ParitySample) -> Parity:
    """Compare a half ``graph`` with the source's logits on ``sample``.

    Raises:
        ParityError: the difference is too large.
    """
    trial = graph.path.with_name(_TRIAL)
    try:
        write_rounded(graph.path, trial, graph.precision)
        return judge(sample, OrtSpec(replace(graph, path=trial, precision="f32")), precision=graph.precision)
    finally:
        trial.unlink(missing_ok=True)


def write_rounded(graph: Path, out: Path, precision: str) -> None:
    """Write the half ``graph`` to ``out`` as an f32 graph that rounds every half tensor; weights stay in their files.

    Args:
        graph: an .onnx file in ``precision``.
        out: a path in the same folder.
        precision: fp16 | bf16.
    """
    onnx = need("onnx", "export")
    model: ModelProto = onnx.load(str(graph), load_external_data=False)
    kind, helper = KINDS[precision], onnx.helper
    half = {name for name, element_type in element_types(model).items() if element_type == kind}
    nodes: list[NodeProto] = []
    exact = {tensor.name: f"{tensor.name}_f32" for tensor in model.graph.initializer if tensor.name in half}
    nodes += [helper.make_node("Cast", [name], [wide], to=FLOAT) for name, wide in exact.items()]
    for node in model.graph.node:
        node.input[:] = [exact.get(name, name) for name in node.input]
        rounded = [name for name in node.output if name in half]
        node.output[:] = [f"{name}_exact" if name in half else name for name in node.output]
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == kind:
                attribute.i = FLOAT
        nodes.append(node)
        for name in rounded:
            nodes.append(helper.make_node("Cast", [f"{name}_exact"], [f"{name}_rounded"], to=kind))
            nodes.append(helper.make_node("Cast", [f"{name}_rounded"], [name], to=FLOAT))
    del model.graph.node[:], model.graph.value_info[:]
    model.graph.node.extend(nodes)
    onnx.save(model, str(out))
