"""`rate demo`: data, training, export and evaluation in minutes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rate.errors import check_installed

if TYPE_CHECKING:
    from rate.cli.console import Steps


def demo(
    out: Annotated[Path, typer.Option(help="New folder for everything that is made.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Of everything that is chance.")] = 0,
) -> None:
    """Make data, train a small dual encoder, export it, and see which of two heads is right for the right reasons."""
    check_installed(
        "`rate demo`",
        {"torch": "train", "open_clip": "train", "onnx": "train", "onnxscript": "train", "onnxruntime": "cpu"},
    )
    from rate.cli.console import notice, results
    from rate.demo import DemoSettings, Listener, conclusions, run_demo
    from rate.report.tables.run import summary_table

    began = time.monotonic()
    bars = _Bars()
    done = run_demo(out, DemoSettings(seed=seed), Listener(bars.say, bars.step))
    bars.close()
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


class _Bars:
    """One progress bar at a time."""

    def __init__(self) -> None:
        self._title = ""
        self._steps: Steps | None = None

    def say(self, text: str) -> None:
        """Announce a step."""
        from rate.cli.console import notice

        self.close()
        notice(text)

    def step(self, title: str, done: int, total: int) -> None:
        """Show ``done`` of ``total`` within a step."""
        from rate.cli.console import Steps

        if self._steps is None or title != self._title:
            self.close()
            self._title, self._steps = title, Steps(title, total, "done").__enter__()
        self._steps.show(done)

    def close(self) -> None:
        """End the current bar."""
        if self._steps is not None:
            self._steps.__exit__(None, None, None)
            self._steps = None
