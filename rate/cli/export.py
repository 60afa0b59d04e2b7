"""`rate export`: the export of a model to an artifact."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from rate.cli.console import Steps, notice, print_json, say
from rate.cli.inspect import describe
from rate.cli.options import Shown, with_settings
from rate.export.options import INT8, ExportOptions
from rate.reading import OF_MANIFESTS, Reading


@with_settings
def export(
    source: Annotated[
        str,
        typer.Argument(
            help="timm:NAME[:FILE], open_clip:NAME[:WEIGHTS], hf:DIR_OR_ID, hf-vlm:DIR_OR_ID[:SIZE], "
            "peft:ADAPTER_DIR[:BASE], albef:FILE, openai:FILE, reference:FILE[:RESIZE], onnx:FILE, or a checkpoint "
            "folder."
        ),
    ],
    *,
    out: Annotated[Path | None, typer.Option(help="Artifact folder to write.")] = None,
    head: Annotated[
        list[str] | None,
        typer.Option(
            help="Further head, repeatable: NAME=linear:CHECKPOINT_DIR, NAME=zero-shot:CLASSES[:TEMPLATES] or "
            "NAME=embeddings:FILE[:CLASSES]."
        ),
    ] = None,
    options: ExportOptions,
    reading: Annotated[Reading, Shown(INT8, OF_MANIFESTS)],
    as_json: Annotated[bool, typer.Option("--json", help="Print artifact.json.")] = False,
) -> None:
    """Export a model with the perturbation in its graph, and prove that it computes the same.

    With --format tensorrt SOURCE may be an artifact: the plan is built into it, and --out is left out. A generative
    model (hf-vlm) has no graph: its artifact keeps the folder's digest and a proof, and runs in PyTorch alone.

    Exit codes: 0 done, 2 the source or an option cannot be used, 4 the graph does not reproduce the model's
    logits, or int8 changes too many verdicts.
    """
    from rate.export.export import export as export_measured

    options = replace(options, heads=tuple(head or ()), reading=reading)
    with Steps() as steps:
        artifact = export_measured(
            source, out, options, notice, lambda share, phase: steps.stage("plan", 100, "%", int(100 * share), phase)
        )
    if as_json:
        print_json(artifact.document)
    else:
        say(describe(artifact))
    notice(f"next: rate eval {artifact.path} DATA --out RUN")
