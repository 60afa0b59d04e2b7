"""`rate report`: one or more runs as an HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN[@HEAD]...", help="Run folders of `rate eval`; all heads without @HEAD.")
    ],
    out: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("report.html"),
    data: Annotated[
        str | None, typer.Option(help="Manifest or shards to take the pictures from, if the data is remote or moved.")
    ] = None,
    max_samples: Annotated[int, typer.Option(help="Samples shown over all heads; 0 = none.")] = 200,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Write one HTML file with the numbers, figures and samples of runs. It works offline and loads nothing."""
    from rate.cli.console import notice, print_json, say
    from rate.report.heads import load_heads
    from rate.report.html.page import write_report

    heads = {(head.folder.resolve(), head.head): head for run in runs for head in load_heads(run)}
    written = write_report(list(heads.values()), out, data=data, max_samples=max_samples, force=force)
    for text in written.notices:
        notice(f"notice: {text}")
    if as_json:
        print_json(written)
    else:
        say(written.path)
