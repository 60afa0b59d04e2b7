"""`rate finetune`: a pretrained model to a checkpoint."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rate.cli.console import Steps

app = typer.Typer(help="Fine-tune a model on a data set.", no_args_is_help=True)


@app.callback()
def root() -> None:
    """Fine-tune a model on a data set."""


@app.command("lp")
def lp(
    source: Annotated[str, typer.Argument(help="timm:NAME[:FILE|:pretrained], or a checkpoint folder.")],
    data: Annotated[Path, typer.Argument(help="Manifest: .csv, .jsonl or .parquet.")],
    out: Annotated[Path, typer.Option(help="Checkpoint folder to write.")],
    split: Annotated[str, typer.Option(help="Rows to train on.")] = "train",
    val_split: Annotated[str | None, typer.Option(help="Rows to measure accuracy on afterwards.")] = None,
    epochs: Annotated[int, typer.Option(help="Passes over the rows.")] = 100,
    lr: Annotated[float, typer.Option(help="Learning rate of Adam.")] = 1e-3,
    batch: Annotated[int, typer.Option(help="Rows a step.")] = 64,
    seed: Annotated[int, typer.Option(help="Of the order of the rows.")] = 0,
    classes: Annotated[Path | None, typer.Option(help="Class names, one a line; the labels, sorted.")] = None,
    threads: Annotated[int, typer.Option(help="0 = all this process may use.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace a checkpoint that exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Linear probing: freeze the tower, train a linear classifier on its features."""
    from rate.cli.console import notice, print_json
    from rate.finetune.lp import LpSettings, Watch, finetune_lp

    settings = LpSettings(
        split=split,
        val_split=val_split,
        epochs=epochs,
        lr=lr,
        batch=batch,
        seed=seed,
        classes=classes,
        threads=threads,
        force=force,
    )
    with ExitStack() as stages:
        progress = _Progress(stages, epochs)
        result = finetune_lp(source, data, out, settings, Watch(notice, progress.features, progress.epoch))
    if as_json:
        print_json(result.to_json())
    else:
        typer.echo(f"checkpoint      {result.path}")
        typer.echo(f"classes         {len(result.classes)}")
        typer.echo(f"samples         {result.samples} ({len(result.failed)} left out)")
        typer.echo(f"train accuracy  {result.train_accuracy:.4f}")
        if result.val_accuracy is not None:
            typer.echo(f"val accuracy    {result.val_accuracy:.4f}")
    notice(f"next: rate export {out} --out ARTIFACT")


class _Progress:
    """One row of progress a stage: features, training, features of the held-out rows."""

    def __init__(self, stages: ExitStack, epochs: int) -> None:
        self._stages, self._epochs = stages, epochs
        self._title = ""
        self._steps: Steps | None = None

    def features(self, done: int, total: int) -> None:
        """``done`` of ``total`` images have their features."""
        self._show("features", total, "images", done)

    def epoch(self, number: int, loss: float, accuracy: float) -> None:
        """Epoch ``number``, from 1 on, is over."""
        self._show("training", self._epochs, "epochs", number, f"loss {loss:.4f}, accuracy {accuracy:.4f}")

    def _show(self, title: str, total: int, unit: str, done: int, detail: str = "") -> None:
        from rate.cli.console import Steps

        if self._steps is None or title != self._title:
            self._stages.close()
            self._title, self._steps = title, self._stages.enter_context(Steps(title, total, unit))
        self._steps.show(done, detail)
