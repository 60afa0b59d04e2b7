"""`rate show`: the numbers of a run, or of a folder of runs under corruptions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rate.runs.summary import Summary
    from rate.studies.corruption_grid import Grid
    from rate.studies.faithfulness import FaithfulnessDocument


def show(
    run: Annotated[Path, typer.Argument(help="Run folder of `rate eval`, finished or not, or a folder of such runs.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Show accuracy, PT and IR of a run, or over corruptions and severities."""
    from rate.cli.console import print_json
    from rate.report.tables.faithfulness import read_faithfulness
    from rate.runs.summary import load_summary
    from rate.studies.corruption_grid import is_grid, load_grid

    if is_grid(run):
        print_grid(load_grid(run), as_json)
        return
    summary = load_summary(run)
    if as_json:
        print_json(summary.document)
    else:
        print_run(summary, read_faithfulness(run))


def print_run(summary: Summary, faithful: FaithfulnessDocument | None) -> None:
    """Print one run's numbers and pace, and the faithfulness of its maps if it was measured."""
    from rate.cli.console import results
    from rate.report.tables.faithfulness import faithfulness_table
    from rate.report.tables.run import pace, summary_table

    results().print(summary_table(summary))
    results().print(pace(summary))
    if faithful is not None:
        results().print(faithfulness_table(faithful))


def print_grid(grid: Grid, as_json: bool) -> None:
    """Print accuracy, PT and IR over corruptions and severities."""
    from rate.cli.console import print_json, results
    from rate.report.tables.grid import grid_table

    if as_json:
        print_json(grid.document)
    else:
        results().print(grid_table(grid))
