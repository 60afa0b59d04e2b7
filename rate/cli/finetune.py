"""`rate finetune`: the fine-tuning of a pretrained model to a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rate.cli.console import Steps, notice, print_json
from rate.cli.options import with_settings
from rate.errors import check_installed
from rate.finetune.settings import FlcpSettings, FtSettings, LpSettings
from rate.reading import Reading

if TYPE_CHECKING:
    from rate.finetune.recipe import Finetuned, Watch


def _installed(source: str) -> str:
    """Report missing packages before the recipes are imported, since they import torch."""
    from rate.export.sources.source_string import packages_of

    check_installed(f"fine-tuning of {source}", {"torch": "train"} | packages_of(source))
    return source


_Source = Annotated[
    str,
    typer.Argument(
        help="timm:NAME[:FILE|:pretrained], open_clip:NAME[:WEIGHTS], hf:DIR_OR_ID, "
        "peft:ADAPTER_DIR[:BASE], albef:FILE, openai:FILE, reference:FILE[:RESIZE], or a checkpoint folder.",
        callback=_installed,
    ),
]
_Encoder = Annotated[
    str,
    typer.Argument(
        help="open_clip:NAME[:WEIGHTS] or open_clip:CONFIG.json[:WEIGHTS], openai:FILE, reference:FILE[:RESIZE] of a "
        "CLIP, or a checkpoint of flcp.",
        callback=_installed,
    ),
]
_Data = Annotated[Path, typer.Argument(help="Manifest: .csv, .jsonl or .parquet.")]
_Out = Annotated[Path, typer.Option(help="Checkpoint folder to write.")]
_AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

app = typer.Typer(help="Fine-tune a model on a data set.", no_args_is_help=True)


@app.callback()
def root() -> None:
    """Fine-tune a model on a data set."""


@app.command("lp")
@with_settings
def lp(
    source: _Source, data: _Data, out: _Out, settings: LpSettings, reading: Reading, as_json: _AsJson = False
) -> None:
    """Linear probing: freeze the tower, train a linear classifier on its features."""
    from rate.finetune.lp import finetune_lp

    _run_training(lambda watch: finetune_lp(source, data, out, settings, watch, reading), settings.epochs, as_json)


@app.command("ft")
@with_settings
def ft(
    source: _Source, data: _Data, out: _Out, settings: FtSettings, reading: Reading, as_json: _AsJson = False
) -> None:
    """Full fine-tuning: train the tower and a linear classifier on it. An interrupted training resumes."""
    from rate.finetune.full import finetune_ft

    _run_training(lambda watch: finetune_ft(source, data, out, settings, watch, reading), settings.epochs, as_json)


@app.command("flcp")
@with_settings
def flcp(
    source: _Encoder, data: _Data, out: _Out, settings: FlcpSettings, reading: Reading, as_json: _AsJson = False
) -> None:
    """Fine-tuning like CLIP's pre-training: train both towers on images and the prompts of their classes."""
    from rate.finetune.contrastive import finetune_flcp

    _run_training(lambda watch: finetune_flcp(source, data, out, settings, watch, reading), settings.epochs, as_json)


def _run_training(work: Callable[[Watch], Finetuned], epochs: int, as_json: bool) -> None:
    """Run the training with progress, print the result, and name the next command."""
    from rate.finetune.recipe import Watch

    with Steps() as steps:
        shown = _Progress(steps, epochs)
        result = work(Watch(notice, shown.features, shown.epoch, shown.images, shown.rows, shown.validated))
    if as_json:
        print_json(result)
    else:
        typer.echo(f"checkpoint      {result.checkpoint}")
        typer.echo(f"classes         {len(result.classes)}")
        typer.echo(f"samples         {result.samples} ({len(result.failed)} left out)")
        typer.echo(f"train accuracy  {result.train_accuracy:.4f}")
        if result.val_accuracy is not None:
            typer.echo(f"val accuracy    {result.val_accuracy:.4f}")
    notice(f"next: rate export {result.checkpoint} --out ARTIFACT")


class _Progress:
    """A progress bar for each stage: features or images, training, features of the validation rows."""

    def __init__(self, steps: Steps, epochs: int) -> None:
        self._steps, self._epochs = steps, epochs
        self._detail = self._val = ""
        self._rows = 0  # rows of an epoch, if the recipe reports them

    def features(self, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` images have their features."""
        self._steps.stage("features", total, "images", done)

    def images(self, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` images are decoded."""
        self._steps.stage("decoding", total, "images", done)

    def rows(self, epoch: int, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` rows of an epoch are trained; `epoch` ends the bar."""
        self._rows = total
        if done < total:
            self._steps.stage("training", self._epochs * total, "images", (epoch - 1) * total + done, self._detail)

    def validated(self, number: int, accuracy: float) -> None:
        """Record the accuracy on the validation rows after epoch ``number``."""
        self._val = f", val accuracy {accuracy:.4f}"

    def epoch(self, number: int, loss: float, accuracy: float) -> None:
        """End the bar of epoch ``number``, counted from 1."""
        self._detail = f"loss {loss:.4f}, accuracy {accuracy:.4f}{self._val}"
        if self._rows:
            self._detail = f"epoch {number}: {self._detail}"
            self._steps.stage("training", self._epochs * self._rows, "images", number * self._rows, self._detail)
        else:
            self._steps.stage("training", self._epochs, "epochs", number, self._detail)
