"""Sets that `rate` makes itself: `rate data synth` with planted evidence, `rate data corrupt` as ImageNet-C."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def synth(
    out: Annotated[Path, typer.Option(help="New folder for images, masks and manifest.csv.")],
    train: Annotated[int, typer.Option(help="Images of split train.")] = 2000,
    test: Annotated[int, typer.Option(help="Images of split test, and as many of test-broken.")] = 400,
    size: Annotated[int, typer.Option(help="Side of the images, pixels.")] = 96,
    shortcut: Annotated[str, typer.Option(help="none | scene | tag: what gives the class away beside it.")] = "tag",
    rho: Annotated[float, typer.Option(help="Share of train and test in which the shortcut is right.")] = 0.9,
    seed: Annotated[int, typer.Option(help="Of everything that is chance.")] = 0,
    graded: Annotated[
        bool, typer.Option("--graded", help="Also every test picture with other objects and on other scenes.")
    ] = False,
) -> None:
    """Make a synthetic set: objects on scenes with exact masks, and a shortcut outside the object.

    With --graded, graded.csv lists renderings from which a model's true share of object and scene can be computed.
    """
    from rate.backends.process import usable_cores
    from rate.cli.console import Steps, say
    from rate.data.make.graded import write_graded
    from rate.data.make.synth import Synthetic, write_set

    settings = Synthetic(train=train, test=test, size=size, shortcut=shortcut, rho=rho, seed=seed)
    with Steps("synth", train + 2 * test) as steps:
        manifest = write_set(settings, out, usable_cores(), lambda done, total: steps.show(done))
    if graded:
        with Steps("renderings", test) as steps:
            write_graded(settings, out, usable_cores(), lambda done, total: steps.show(done))
    say(f"{manifest}: {train} train, {test} test, {test} test-broken; shortcut {shortcut}, rho {rho:g}")


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
