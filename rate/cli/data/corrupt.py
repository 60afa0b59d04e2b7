"""`rate data corrupt`: a set under ImageNet-C's corruptions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def corrupt(
    manifest: Annotated[Path, typer.Argument(help="Manifest of the clean set.")],
    corruption: Annotated[
        list[str], typer.Option("--corrupt", help="fog:3, fog (five severities), all:3, all; repeatable.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for images, masks and one manifest a corruption.")],
    split: Annotated[str | None, typer.Option(help="Rows of this split only.")] = None,
    seed: Annotated[int, typer.Option(help="Of everything that is chance.")] = 0,
    workers: Annotated[int | None, typer.Option(help="Processes; as many as there are cores.", min=1)] = None,
) -> None:
    """Crop images as ImageNet-C does (short side 256, centre 224), corrupt them, and transform their regions.

    The same command resumes after an interruption.
    """
    from rate.backends.process import usable_cores
    from rate.cli.console import Steps, notice, say
    from rate.cli.data.commands import counted
    from rate.data.images.corrupt import parse_corruption
    from rate.data.make.corrupt_set import corrupt_set
    from rate.data.make.index import named
    from rate.data.manifest import read_manifest

    wanted = tuple(dict.fromkeys(one for text in corruption for one in parse_corruption(text, seed)))
    total = len(read_manifest(manifest, split=split).samples)
    with Steps("corrupt", total) as steps:
        report = corrupt_set(
            manifest,
            wanted,
            out,
            split=split,
            workers=usable_cores() if workers is None else workers,
            tick=lambda done, total: steps.show(done),
        )
    if report.failed:
        notice(f"{len(report.failed)} images could not be corrupted and were left out: {named(report.failed)}")
    for path in report.manifests:
        say(f"{path}: {counted(report.samples, 'row')}")
    say(f"{counted(report.made, 'image')} made, {report.kept} kept")
