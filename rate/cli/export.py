"""`rate export`: the export of a model to an artifact."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from rate.cli.settings import settings_of
from rate.errors import ConfigError

_BARE = "Bare ONNX models only"
_INT8 = "int8 only"


def export(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            help="timm:NAME[:FILE], open_clip:NAME[:WEIGHTS], hf:DIR_OR_ID, albef:FILE, openai:FILE, "
            "reference:FILE[:RESIZE], onnx:FILE, or a checkpoint folder."
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Artifact folder to write.")] = None,
    classes: Annotated[Path | None, typer.Option(help="Class names, one a line, in the order of the logits.")] = None,
    templates: Annotated[
        Path | None, typer.Option(help='Prompt templates, one a line, each with {}; "a photo of a {}" if not given.')
    ] = None,
    head: Annotated[
        list[str] | None,
        typer.Option(
            help="Further head: NAME=linear:CHECKPOINT_DIR or NAME=zero-shot:CLASSES[:TEMPLATES]; repeatable."
        ),
    ] = None,
    precision: Annotated[
        str, typer.Option(help="f32 | fp16, bf16 (GPUs), int8: a graph in that precision beside the f32 one.")
    ] = "f32",
    format: Annotated[str, typer.Option(help="onnx | tensorrt: also a plan for the GPU of this machine.")] = "onnx",
    plan_batch: Annotated[
        str, typer.Option(help="Rows a forward that the plan is built for: 8,32", rich_help_panel="TensorRT only")
    ] = "32,256",
    tokens: Annotated[
        bool, typer.Option("--tokens", help="Also the form that drops patches (plain ViTs), for rise-tokens.")
    ] = False,
    calibrate: Annotated[
        Path | None, typer.Option(help="Manifest of images like those to evaluate.", rich_help_panel=_INT8)
    ] = None,
    split: Annotated[str | None, typer.Option(help="Only its rows of this split.", rich_help_panel=_INT8)] = None,
    calibration_images: Annotated[int, typer.Option(help="Images at most.", rich_help_panel=_INT8)] = 300,
    max_flips: Annotated[
        float, typer.Option(help="Largest share of verdicts or predictions it may change.", rich_help_panel=_INT8)
    ] = 0.02,
    size: Annotated[int | None, typer.Option(help="Side of the square input, pixels.", rich_help_panel=_BARE)] = None,
    mean: Annotated[str | None, typer.Option(help="Channel means: R,G,B.", rich_help_panel=_BARE)] = None,
    std: Annotated[str | None, typer.Option(help="Channel deviations: R,G,B.", rich_help_panel=_BARE)] = None,
    interpolation: Annotated[str | None, typer.Option(help="bicubic | bilinear", rich_help_panel=_BARE)] = None,
    crop_pct: Annotated[float | None, typer.Option(help="size / resize, in (0, 1].", rich_help_panel=_BARE)] = None,
    input: Annotated[str | None, typer.Option(help="Name of the image input.", rich_help_panel=_BARE)] = None,
    output: Annotated[str | None, typer.Option(help="Name of the logits.", rich_help_panel=_BARE)] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an artifact that exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print artifact.json.")] = False,
) -> None:
    """Export a model with the perturbation in its graph, and prove that it computes the same.

    With --format tensorrt SOURCE may be an artifact: the plan is built into it, and --out is left out.

    Exit codes: 0 done, 2 the source or an option cannot be used, 4 the graph does not reproduce the model's
    logits, or int8 changes too many verdicts.
    """
    from rate.cli.console import notice, print_json, say
    from rate.cli.inspect import describe
    from rate.export.options import ExportOptions
    from rate.export.precision.accept_int8 import export as export_measured

    options = settings_of(
        ExportOptions,
        context,
        heads=tuple(head or ()),
        plan_batch=_rows(plan_batch),
        mean=_channels("--mean", mean),
        std=_channels("--std", std),
    )
    with _plan_bar() as observe:
        artifact = export_measured(source, out, options, notice, observe)
    if as_json:
        print_json(artifact.document)
    else:
        say(describe(artifact))
    notice(f"next: rate eval {artifact.path} DATA --out RUN")


def _rows(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(f"--plan-batch must be whole numbers separated by commas, as 8,32; got {text!r}") from error


@contextmanager
def _plan_bar() -> Iterator[Callable[[float, str], None]]:
    """Make a progress bar that appears when a plan is built."""
    from rate.cli.console import Steps

    with ExitStack() as stack:
        shown: list[Steps] = []

        def observe(share: float, phase: str) -> None:
            if not shown:
                shown.append(stack.enter_context(Steps("plan", 100, "%")))
            shown[0].show(int(100 * share), phase)

        yield observe


def _channels(flag: str, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(f"{flag} must be three numbers such as 0.485,0.456,0.406; got {text!r}") from error
