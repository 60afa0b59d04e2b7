"""The export from SOURCE to an artifact: open the source, write the graph, prove it, describe it, all or nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from msgspec import structs

from rate.artifacts.artifact import ARTIFACT, GRAPH, PARITY_TOKENS, TOKENS, Artifact, check_heads, write_artifact
from rate.artifacts.folders import check_replaceable, digest_files, replacing
from rate.artifacts.parity import judge, make_sample, make_token_sample, save_sample
from rate.artifacts.records import Parity
from rate.backends.base import Graph
from rate.backends.onnxruntime import OrtSpec
from rate.errors import UsageError, check_installed
from rate.export.graph.token_graph import TokenSource, token_source
from rate.export.options import ExportOptions as ExportOptions
from rate.export.options import check_head_name
from rate.export.precision.half import KINDS
from rate.export.precision.half_proof import add_half
from rate.export.precision.int8 import Prove, add_int8, read_calibration
from rate.export.sources.open_source import Source, open_source
from rate.export.sources.reopen import request_of
from rate.export.sources.source_string import packages_of
from rate.machine import versions

Notify = Callable[[str], None]

_MAKERS = ("torch", "timm", "transformers", "onnx", "onnxscript", "onnxruntime")
"""The distributions that make a graph."""


def _silent(message: str) -> None:
    """Ignore a notice."""


def export_artifact(
    source: str, out: Path, options: ExportOptions, notify: Notify = _silent, prove: Prove | None = None
) -> Artifact:
    """Export SOURCE (see `rate.export.sources.source_string`) to the artifact folder ``out``.

    Args:
        source: what to export.
        out: the folder; it appears when every proof has passed, and otherwise nothing is left.
        options: settings that the source does not define itself.
        notify: receives notices and steps, one sentence each.
        prove: int8 only: measures or refuses what the int8 graph changes; see `rate.export.precision.accept_int8`.

    Raises:
        UsageError: source and options cannot be used, or ``out`` may not be replaced.
        ParityError: the graph does not reproduce the source's logits.
        RateError: the model cannot be exported.
    """
    check_replaceable(out, ARTIFACT, options.force)
    packages = packages_of(source)
    writing = dict.fromkeys(("onnx", "onnxscript") if "torch" in packages else (), packages.get("torch", ""))
    quantizing = {"openvino": "cpu", "nncf": "int8"} if options.precision == "int8" else {}
    check_installed(f"export of {source}", packages | writing | quantizing | {"onnxruntime": "cpu"})
    data = read_calibration(options, prove) if options.precision == "int8" else None
    model = open_source(source, options)
    for info in model.infos:
        check_head_name(info.name)
    check_heads(model.infos, UsageError)
    for notice in model.notices:
        notify(notice)
    tokens = token_source(model) if options.tokens else None
    with replacing(out, ARTIFACT, options.force) as draft:
        artifact = _build(model, tokens, draft, options, notify)
        if options.precision in KINDS:
            notify(f"writing the graph in {options.precision}, and comparing its logits with every half rounded")
            artifact = add_half(artifact, options.precision)
        if data is not None and prove is not None:
            notify(f"calibrating int8 on up to {options.calibration_images} images of {options.calibrate}")
            artifact = add_int8(artifact, data, model.logits, options, prove)
    return structs.replace(artifact, path=out)


def _build(model: Source, tokens: TokenSource | None, folder: Path, options: ExportOptions, notify: Notify) -> Artifact:
    notify(f"exporting the graph of {model.source}")
    opset = model.write_graph(folder / GRAPH)
    notify("comparing its logits with the source model's")
    heads = tuple(info.name for info in model.infos)
    graph = Graph(folder / GRAPH, heads, model.geometry.size)
    sample = make_sample(model.geometry.size, model.logits)
    parity = judge(sample, OrtSpec(graph))
    save_sample(sample, folder)
    proven = {"pixels": parity}
    if tokens is not None:
        notify("exporting the token form, and comparing its logits on dropped patches")
        proven["tokens"] = _add_tokens(tokens, graph)
    names = sorted(path.name for path in folder.iterdir())
    artifact = Artifact(
        path=folder,
        family=model.family,
        source=model.source,
        weights=model.weights,
        geometry=model.geometry,
        heads=model.infos,
        precision="f32",
        opset=opset,
        graphs={"pixels": GRAPH} | ({} if tokens is None else {"tokens": TOKENS}),
        files=digest_files(folder, names),
        parity=proven,
        versions=versions(_MAKERS),
        patches=None if tokens is None else tokens.patches,
        request=request_of(model, options),
    )
    write_artifact(artifact)
    return artifact


def _add_tokens(tokens: TokenSource, pixels: Graph) -> Parity:
    """Write the token graph beside the graph ``pixels``, and compare it with torch on explicitly dropped patches."""
    graph = replace(pixels, path=pixels.path.with_name(TOKENS), patches=tokens.patches)
    tokens.write_graph(graph.path, pixels.path)
    sample = make_token_sample(graph.size, tokens.patches, tokens.logits)
    parity = judge(sample, OrtSpec(graph))
    save_sample(sample, graph.path.parent, PARITY_TOKENS)
    return parity
