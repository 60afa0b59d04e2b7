"""`rate data synth`: a set with planted evidence."""

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
