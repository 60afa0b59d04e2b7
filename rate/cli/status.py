"""`rate status`: how far a run is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def status(
    run: Annotated[Path, typer.Argument(help="Run folder of `rate eval`, running or not.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Say how far a run is, while it runs or after it stopped. It is not disturbed."""
    from rate.cli.console import print_json, say
    from rate.report.tables.run import failure_lines
    from rate.runs.status import read_status

    found = read_status(run)
    if as_json:
        print_json(found.to_json())
        return
    share = f" ({found.done / found.planned:.1%})" if found.planned else ""
    say(f"status   {found.status}{'' if found.is_alive else ', no process is at work'}")
    say(f"done     {found.done:,} of {found.planned:,} samples{share}, {found.errors:,} errors")
    for line in failure_lines(found.failures):
        say(line)
    say(f"settled  {', '.join(f'{name} {count:,}' for name, count in found.settled.items()) or 'none yet'}")
    if found.samples_per_s is not None:
        left = "" if found.seconds_left is None else f", {found.seconds_left / 60:.0f} min left"
        say(f"pace     {found.samples_per_s:.2f} samples/s{left}")
