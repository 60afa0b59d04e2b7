"""From SOURCE to artifact: open, write the graph, prove it, describe it; whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rate.backends.base import Graph
from rate.backends.onnxruntime import OrtSpec
from rate.errors import UsageError, need
from rate.export.artifact import ARTIFACT, GRAPH, Artifact, check_heads, write_artifact
from rate.export.folders import check_replaceable, digest_files, replacing
from rate.export.options import ExportOptions as ExportOptions
from rate.export.options import check_head_name
from rate.export.parity import judge, make_sample, save_sample
from rate.export.sources import Source, open_source
from rate.version import __version__

Notify = Callable[[str], None]


def _silent(message: str) -> None:
    """Nobody listens."""


def export_artifact(source: str, out: Path, options: ExportOptions, notify: Notify = _silent) -> Artifact:
    """Export SOURCE (see `rate.export.sources`) to the artifact folder ``out``.

    Args:
        source: what to export.
        out: the folder; it appears when everything is proven, else nothing is left behind.
        options: what the source cannot say itself.
        notify: told notices and the steps taken, one sentence each.

    Raises:
        UsageError: source and options cannot be used, or ``out`` may not be replaced.
        ParityError: the graph does not reproduce the source's logits.
        RateError: the model cannot be exported.
    """
    check_replaceable(out, ARTIFACT, options.force)
    for module, extra in (("onnx", "export"), ("onnxruntime", "cpu")):
        need(module, extra)
    model = open_source(source, options)
    for info in model.infos:
        check_head_name(info.name)
    check_heads(model.infos, UsageError)
    for notice in model.notices:
        notify(notice)
    with replacing(out, ARTIFACT, options.force) as draft:
        artifact = _build(model, draft, options, notify)
    return replace(artifact, path=out)


def _build(model: Source, folder: Path, options: ExportOptions, notify: Notify) -> Artifact:
    notify(f"exporting the graph of {model.source}")
    opset = model.write_graph(folder / GRAPH)
    notify("comparing its logits with the source model's")
    heads = tuple(info.name for info in model.infos)
    graph = Graph(folder / GRAPH, heads, model.geometry.size, options.precision)
    sample = make_sample(model.geometry.size, model.logits)
    parity = judge(sample, OrtSpec(graph))
    save_sample(sample, folder)
    names = sorted(path.name for path in folder.iterdir())
    artifact = Artifact(
        path=folder,
        family=model.family,
        source=model.source,
        weights=model.weights,
        geometry=model.geometry,
        heads=model.infos,
        precision=options.precision,
        opset=opset,
        graphs={"pixels": GRAPH},
        files=digest_files(folder, names),
        parity=parity.to_json(),
        versions=_versions(),
    )
    write_artifact(artifact)
    return artifact


def _versions() -> dict[str, str]:
    """Versions of `rate` and of the libraries that made the graph."""
    found = {"rate": __version__}
    for name in ("torch", "timm", "onnx", "onnxscript", "onnxruntime"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
