"""`rate log`: the numbers of a run in a tracker of experiments, or in a model card."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

from rate.cli.console import notice, say
from rate.errors import ConfigError, UsageError, check_installed
from rate.outputs import require_output

if TYPE_CHECKING:
    from rate.report.heads import HeadRun

Target: TypeAlias = Literal["mlflow", "wandb", "model-card", "hub-eval"]
CARD = Path("README.md")
_HUB = ("huggingface_hub", "hub")
_NEEDS = {"mlflow": ("mlflow", "log"), "wandb": ("wandb", "wandb"), "model-card": _HUB, "hub-eval": _HUB}
"""The module that each needs, and the extra that installs it."""


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
    check_installed(f"--to {to}", dict([_NEEDS[to]]))
    from rate.report.heads import load_head, load_heads
    from rate.report.log.numbers import require_complete
    from rate.report.log.trackers import TRACKERS

    if to in TRACKERS:
        if out is not None or force:
            raise ConfigError(f"--out and --force are for cards; {to} writes where its own variables say")
        heads = load_heads(run)
        for head in heads:
            require_complete(head)
        for head in heads:
            _track(head, to, max_samples)
        return
    head = load_head(run)
    require_complete(head)
    _write_card(head, to, CARD if out is None else out, force, max_samples)


def _track(head: HeadRun, to: str, max_samples: int) -> None:
    from rate.report.log.trackers import TRACKERS

    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.html"
        _report(head, report, max_samples)
        documents = (head.folder / name for name in ("run.json", "summary.json"))
        say(TRACKERS[to](head, [report, *filter(Path.is_file, documents)]))


def _write_card(head: HeadRun, to: str, card: Path, force: bool, max_samples: int) -> None:
    from rate.report.log.model_card import add_results, write_card

    require_output("--out", card)
    if to == "hub-eval":
        add_results(head, card)
    else:
        report = card.with_name("rate-report.html")
        if existing := [path for path in (card, report) if path.exists() and not force]:
            raise UsageError(f"{existing[0]} exists; add --force to replace it, or `--to hub-eval` to add to a card")
        _report(head, report, max_samples, force)
        write_card(head, card, report)
        say(report)
    say(card)


def _report(head: HeadRun, out: Path, max_samples: int, force: bool = False) -> None:
    from rate.report.html.page import write_report

    for text in write_report([head], out, max_samples=max_samples, force=force).notices:
        notice(f"notice: {text}")
