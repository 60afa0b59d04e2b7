"""`rate log`: the heads of a run in a tracker of experiments, or one of them in a model card."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias, get_args

from rate.errors import ConfigError, UsageError, check_installed
from rate.outputs import require_output
from rate.report.heads import HeadRun, load_head, load_heads
from rate.report.log import CARD, Target
from rate.report.log.numbers import require_complete

Say: TypeAlias = Callable[[str], None]

_HUB = ("huggingface_hub", "hub")
_NEEDS = {"mlflow": ("mlflow", "log"), "wandb": ("wandb", "wandb"), "model-card": _HUB, "hub-eval": _HUB}
"""The module that each needs, and the extra that installs it."""


def log_run(
    reference: str,
    to: str,
    out: Path | None = None,
    *,
    force: bool = False,
    max_samples: int = 200,
    say: Say,
    notify: Say,
) -> None:
    """Put numbers and report of a finished run where the other numbers of a project are.

    Args:
        reference: RUN or RUN@HEAD; a card is of one head.
        to: a `Target`.
        out: the card; None = `CARD`.
        force: replace the card and its report.
        max_samples: the number of samples with their pictures in the report.
        say: receives where each head is, when it is there.
        notify: receives what the report lacks.

    Raises:
        ConfigError: ``to`` is unknown, or ``out`` or ``force`` goes with another one.
        MissingExtra: its library is not installed.
        UsageError: the run has no such head, or the card exists or may not be written.
        RunError: the run is not complete, or damaged.
        StorageError: the tracker does not take it.
    """
    if to not in get_args(Target):
        raise ConfigError(f"to must be one of {', '.join(get_args(Target))}; got {to!r}")
    check_installed(f"--to {to}", dict([_NEEDS[to]]))
    from rate.report.log.trackers import TRACKERS

    if to not in TRACKERS:
        head = load_head(reference)
        require_complete(head)
        _write_card(head, to, CARD if out is None else out, force, max_samples, say, notify)
        return
    if out is not None or force:
        raise ConfigError(f"--out and --force are for cards; {to} writes where its own variables say")
    heads = load_heads(reference)
    for head in heads:
        require_complete(head)
    for head in heads:
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.html"
            _report(head, report, max_samples, notify)
            documents = (head.folder / name for name in ("run.json", "summary.json"))
            say(TRACKERS[to](head, [report, *filter(Path.is_file, documents)]))


def _write_card(head: HeadRun, to: str, card: Path, force: bool, max_samples: int, say: Say, notify: Say) -> None:
    from rate.report.log.model_card import add_results, write_card

    require_output("--out", card)
    if to == "hub-eval":
        add_results(head, card)
    else:
        report = card.with_name("rate-report.html")
        if existing := [path for path in (card, report) if path.exists() and not force]:
            raise UsageError(f"{existing[0]} exists; add --force to replace it, or `--to hub-eval` to add to a card")
        _report(head, report, max_samples, notify, force)
        write_card(head, card, report)
        say(str(report))
    say(str(card))


def _report(head: HeadRun, out: Path, max_samples: int, notify: Say, force: bool = False) -> None:
    from rate.report.html.page import write_report

    for text in write_report([head], out, max_samples=max_samples, force=force).notices:
        notify(text)
