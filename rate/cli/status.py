"""`rate status`: the progress of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def status(
    run: Annotated[Path, typer.Argument(help="Run folder of `rate eval`, running or not.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show the progress of a run, while it runs or after it stopped, without disturbing it."""
    from rate.cli.console import print_json, say
    from rate.report.tables.run import failure_lines
    from rate.runs.status import read_status

    state = read_status(run)
    if as_json:
        print_json(state)
        return
    share = f" ({state.done / state.planned:.1%})" if state.planned else ""
    say(f"status   {state.status}{'' if state.is_alive else ', no process is at work'}")
    say(f"done     {state.done:,} of {state.planned:,} samples{share}, {state.errors:,} errors")
    for line in failure_lines(state.failures):
        say(line)
    say(f"settled  {', '.join(f'{name} {count:,}' for name, count in state.settled.items()) or 'none yet'}")
    if state.samples_per_s is not None:
        left = "" if state.seconds_left is None else f", {state.seconds_left / 60:.0f} min left"
        say(f"pace     {state.samples_per_s:.2f} samples/s{left}")
