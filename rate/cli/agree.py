"""`rate agree`: the agreement of two saliency methods."""

from __future__ import annotations

from typing import Annotated

import typer


def agree(
    first: Annotated[str, typer.Argument(metavar="RUN[@HEAD]", help="Such as a run of RISE.")],
    second: Annotated[str, typer.Argument(metavar="RUN[@HEAD]", help="Such as one of --saliency attention.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the agreement as JSON.")] = False,
) -> None:
    """Compare the verdicts of two measurements of one model on one set.

    Exit codes: 0 done with any result, 2 runs of different models or sets.
    """
    from rate.cli.console import print_json, results
    from rate.report.compare.agreement import agreement
    from rate.report.compare.agreement_table import agreement_table
    from rate.report.heads import load_head

    result = agreement(load_head(first), load_head(second))
    if as_json:
        print_json(result.document)
    else:
        results().print(agreement_table(result))
