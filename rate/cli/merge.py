"""`rate merge`: the runs of shards as one run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def merge(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders, one of each shard.")],
    out: Annotated[Path, typer.Option(help="Run folder to write.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Join the runs of the shards of one set (`rate eval --shard 1/8`, ... 8/8) to one run."""
    from rate.cli.console import notice, print_json, results
    from rate.report.tables.run import summary_table
    from rate.runs.merge import left_behind
    from rate.runs.merge import merge as join

    summary = join(runs, out)
    for path in left_behind(runs):
        notice(f"{path} is of one shard and is not merged; `rate eval` on the whole set with --out {out} measures it")
    if as_json:
        print_json(summary.document)
    else:
        results().print(summary_table(summary))
    if summary.status == "partial":
        notice(f"{out} is partial: the runs are not the whole set yet")
