"""`rate compare` and `rate agree`: the changes between heads, or between saliency methods, over the same samples."""

from __future__ import annotations

from typing import Annotated

import typer


def compare(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN[@HEAD]...", help="The first head is the baseline of all others.")
    ],
    baseline: Annotated[
        str | None, typer.Option(metavar="RUN[@HEAD]", help="Another baseline than the first head.")
    ] = None,
    changed: Annotated[int, typer.Option(min=0, help="How many samples that changed are named.")] = 10,
    ignore_clusters: Annotated[
        bool, typer.Option("--ignore-clusters", help="Resample samples even where the data has clusters.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON, with all samples.")] = False,
) -> None:
    """Compare accuracy, PT and IR of heads over the same samples, with paired intervals.

    A run of several heads stands for all of them: `rate compare RUN` compares the heads of one run.

    Exit codes: 0 done with any result (a threshold is for `rate gate`), 2 runs that cannot be compared.
    """
    from rate.cli.console import notice, print_json, results
    from rate.report.compare.compare import compare as compare_heads
    from rate.report.compare.table import comparison_table

    comparison = compare_heads(runs, baseline, by_cluster=not ignore_clusters)
    for text in comparison.notices:
        notice(text)
    if as_json:
        print_json(comparison.document)
    else:
        results().print(comparison_table(comparison, changed))


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
