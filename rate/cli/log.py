"""`rate log`: the numbers of a run in a tracker of experiments, or in a model card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rate.cli.console import notice, say
from rate.report.log import CARD, Target


def log(
    run: Annotated[
        str, typer.Argument(metavar="RUN[@HEAD]", help="Finished run folder of `rate eval`; for a card one head.")
    ],
    to: Annotated[
        Target,
        typer.Option(
            help="mlflow | wandb: a run of each head, where their own variables say | model-card: a new card with the "
            "report beside it | hub-eval: the results in the metadata of a card that is there."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help=f"The model card; {CARD}.", rich_help_panel="Cards only", show_default=False)
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the card and its report.", rich_help_panel="Cards only")
    ] = False,
    max_samples: Annotated[int, typer.Option(help="Samples with their pictures in the report; 0 = none.")] = 200,
) -> None:
    """Put accuracy, PT and IR with their intervals, references, rule and digests, and the report, into other tools."""
    from rate.report.log.send import log_run

    log_run(
        run,
        to,
        out,
        force=force,
        max_samples=max_samples,
        say=say,
        notify=lambda text: notice(f"notice: {text}"),
    )
