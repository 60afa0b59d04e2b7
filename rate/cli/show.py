"""`rate show`: the numbers of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def show(
    run: Annotated[Path, typer.Argument(help="Run folder of `rate eval`, finished or not.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Show accuracy, PT and IR of a run."""
    from rate.cli.console import print_json, results
    from rate.engine.summary import load_summary
    from rate.report.faithfulness_table import faithfulness_table, read_faithfulness
    from rate.report.tables import pace, summary_table

    summary = load_summary(run)
    if as_json:
        print_json(summary.to_json())
    else:
        results().print(summary_table(summary))
        results().print(pace(summary))
        if (found := read_faithfulness(run)) is not None:
            results().print(faithfulness_table(found))
