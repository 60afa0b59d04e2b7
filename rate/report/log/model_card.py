"""A head as results in the metadata of a Hugging Face model card (its `model-index`), and as a card with its text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rate.errors import UsageError, first_line, need
from rate.outputs import write_output
from rate.report.gate.markdown import cell
from rate.report.heads import HeadRun
from rate.report.html.sentences import answer, explained_note, rule_in_words
from rate.report.log.numbers import beside, rule_of, shares_of
from rate.runs.summary.numbers import number
from rate.statistics.means import MEAN_TITLES

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

TITLES = {
    "accuracy": "accuracy",
    "judged_accuracy": "accuracy of the predictions with a verdict",
    "pt": "PT, prediction trustworthiness",
    "ir": "IR, inference reliability",
    **{name: f"{title} accuracy" if title != "gap" else title for name, title in MEAN_TITLES.items()},
}
TASK = "image-classification"
_ON_HUB = re.compile(r"hf://datasets/([^/@]+/[^/@]+)(?:@(refs/convert/parquet|[^/]+))?(?:/|$)")


def results_of(head: HeadRun) -> list[EvalResult]:
    """Make the results of a head: a value each, with interval, references and rule as its arguments."""
    hub = need("huggingface_hub", "hub")
    run, rule = head.run, rule_of(head)
    name, revision = data_of(run.origin.data or "data")
    digests = {"digest": run.identity.data, "samples": head.summary.rows}
    return [
        hub.EvalResult(
            task_type=TASK,
            dataset_type=name,
            dataset_name=name,
            dataset_split=run.origin.split,
            dataset_revision=revision,
            dataset_args=digests,
            metric_type=metric,
            metric_name=TITLES[metric],
            metric_value=share.value,
            metric_args=beside(head.summary, metric) | ({"rule": rule} if metric in ("pt", "ir") else {}),
        )
        for metric, share in shares_of(head.summary).items()
        if share.value is not None
    ]


def write_card(head: HeadRun, out: Path, report: Path) -> None:
    """Write a model card with the results, the numbers in a table, and a link to the report beside it.

    Raises:
        MissingExtra: huggingface_hub is not installed.
        StorageError: it cannot be written.
    """
    hub = need("huggingface_hub", "hub")
    data = hub.ModelCardData(model_name=model_of(head), tags=["rate"], eval_results=results_of(head))
    _save(hub.ModelCard(f"---\n{data.to_yaml()}\n---\n\n{_text(head, report.name)}"), out)


def add_results(head: HeadRun, card: Path) -> None:
    """Put the results of a head into the metadata of a card in place of those of the same task, data and metric.

    Raises:
        MissingExtra: huggingface_hub is not installed.
        UsageError: there is no such card, or its metadata cannot be read.
        StorageError: it cannot be written.
    """
    hub = need("huggingface_hub", "hub")
    if not card.is_file():
        raise UsageError(f"--out {card}: there is no model card to add results to; `--to model-card` writes one")
    try:
        whole = hub.ModelCard.load(card)
    except (ValueError, OSError) as error:
        raise UsageError(f"--out {card} is no model card whose metadata can be read: {first_line(error)}") from error
    new = results_of(head)
    replaced = {_identity(one) for one in new}
    kept = [one for one in whole.data.eval_results or () if _identity(one) not in replaced]
    whole.data.eval_results = [*kept, *new]
    whole.data.model_name = whole.data.model_name or model_of(head)
    _save(whole, card)


def model_of(head: HeadRun) -> str:
    """Return a name for the model: that of its artifact's folder."""
    return Path(head.run.origin.artifact or head.name).name


def data_of(named: str) -> tuple[str, str | None]:
    """Return a name of the data and its revision: OWNER/NAME on the Hub, else the name of the file without folders."""
    on_hub = _ON_HUB.match(named)
    return (on_hub[1], on_hub[2]) if on_hub else (Path(named).name, None)


def _identity(result: EvalResult) -> tuple[Any, ...]:
    return (*result.unique_identifier, result.metric_type)


def _save(card: Any, out: Path) -> None:
    write_output(out, lambda file: file.write(str(card).encode("utf-8")))


def _row(head: HeadRun, metric: str) -> str:
    """Format a row of the table."""
    shown = beside(head.summary, metric)
    interval = f"{shown['low']:.3f} to {shown['high']:.3f}" if "low" in shown else ""
    references = (number(shown[name]) if name in shown else "" for name in ("uniform", "shuffled"))
    value = number(shares_of(head.summary)[metric].value)
    cells = (TITLES[metric], value, interval, f"{shown['of']:,}", *references)
    return f"| {' | '.join(cells)} |"


def _text(head: HeadRun, report: str) -> str:
    """Format the body of a card."""
    summary, run = head.summary, head.run
    rows = [_row(head, metric) for metric in shares_of(summary)]
    lines = [
        f"# {cell(model_of(head))}",
        "",
        f"Is it right for the right reasons? Measured by rate {run.versions['rate']}, head {cell(head.head)}.",
        "",
        "| | value | 95 % interval | of | uniform | shuffled |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
        *(cell(sentence) for sentence in answer(summary, len(run.bank.pictures))),
        "",
        f"{cell(rule_in_words(summary.rule))}. {explained_note(summary.rule)}",
        "",
        f"Data: {cell(data_of(run.origin.data or 'data')[0])}, {summary.rows:,} samples, digest `{run.identity.data}`; "
        f"weights `{run.identity.weights}`; key of the run `{run.key}`. [Report]({report})",
    ]
    return "\n".join(lines) + "\n"
