"""`rate demo`: data, training, export and evaluation in minutes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from rate.cli.console import Steps, notice, results
from rate.errors import check_installed


def demo(
    out: Annotated[Path, typer.Option(help="New folder for everything that is made.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Of everything that is chance.")] = 0,
) -> None:
    """Make data, train a small dual encoder, export it, and see which of two heads is right for the right reasons."""
    check_installed(
        "`rate demo`",
        {"torch": "train", "open_clip": "train", "onnx": "train", "onnxscript": "train", "onnxruntime": "cpu"},
    )
    from rate.demo import DemoSettings, Listener, conclusions, run_demo
    from rate.runs.summary.table import summary_table

    began = time.monotonic()
    with Steps() as steps:
        listener = Listener(notice, lambda title, done, total: steps.stage(title, total, "done", done))
        done = run_demo(out, DemoSettings(seed=seed), listener)
    for title, summary in (
        ("Pictures like those of the encoder's training", done.agreeing),
        ("Pictures whose scene says nothing", done.broken),
    ):
        typer.echo(f"\n{title}\n")
        results().print(summary_table(summary))
    for sentence in conclusions(done):
        typer.echo(sentence)
    for head, picture in done.pictures.items():
        typer.echo(f"The evidence of {head} for one and the same picture: {picture}")
    notice(f"\n{time.monotonic() - began:.0f} s; everything is in {done.folder}. Next:")
    for command in done.commands:
        notice(f"  {command}")
