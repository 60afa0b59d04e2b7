"""Results as plain text, for logs and assertions, and as HTML, for notebooks."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console, RenderableType

from rate.runs.summary.table import summary_table
from rate.statistics.means import MEAN_TITLES, SampleMean
from rate.statistics.metrics import Ratio

if TYPE_CHECKING:
    from rate.runs.summary.summarise import HeadSummary, Summary


class SummaryLine(NamedTuple):
    """A number with its name, as text."""

    title: str
    value: str
    interval: str  # empty if there is none
    of: str


def as_text(summary: Summary) -> str:
    """Format a line for the run, and then what `rate show` prints of it.

    Names of heads are untrusted and must not move the cursor or start a new line.
    """
    heads = {_printable(name): head for name, head in summary.heads.items()}
    return f"{_run(summary)}\n{plain(summary_table(replace(summary, heads=heads)))}"


def plain(shown: RenderableType) -> str:
    """Format what a command prints as text without styles, whose lines are as long as they have to be."""
    console = Console(width=200, color_system=None, highlight=False, markup=False, emoji=False, soft_wrap=True)
    with console.capture() as capture:
        console.print(shown)
    return "\n".join(_printable(line.rstrip()) for line in capture.get().rstrip().splitlines())


def preformatted(result: object) -> str:
    """Format the text of a result for a notebook."""
    return f'<pre style="line-height: 1.3">{html.escape(str(result))}</pre>'


def as_html(summary: Summary) -> str:
    """Format a table with a row for every head and a column for every number."""
    heads = {name: list(numbers(head)) for name, head in summary.heads.items()}
    titles = list(dict.fromkeys(one.title for shown in heads.values() for one in shown))
    rows = []
    for name, shown in heads.items():
        cells = {one.title: f"<b>{one.value}</b><br><small>{one.interval}<br>{one.of}</small>" for one in shown}
        columns = "".join(f"<td>{cells.get(title, '')}</td>" for title in titles)
        rows.append(f"<tr><th>{html.escape(name)}</th>{columns}</tr>")
    header = "".join(f"<th>{title}</th>" for title in titles)
    return (
        f"<table><caption>{html.escape(_run(summary))}</caption><thead><tr><th></th>{header}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def numbers(head: HeadSummary) -> Iterator[SummaryLine]:
    """Yield the numbers of a head, in order: its shares, and the means of a run by swaps."""
    for title, ratio in (("accuracy", head.accuracy), ("PT", head.pt.ratio), ("IR", head.ir.ratio)):
        yield _shown(title, ratio, f"{ratio.numerator}/{ratio.denominator}")
    if head.swap is not None:
        for name, title in MEAN_TITLES.items():
            mean: SampleMean = getattr(head.swap, name)
            yield _shown(title, mean, f"{mean.samples} images")


def _shown(title: str, share: Ratio | SampleMean, of: str) -> SummaryLine:
    if share.value is None or share.interval is None:
        return SummaryLine(title, "undefined", "", of)
    low, high = share.interval
    return SummaryLine(title, f"{share.value:.3f}", f"{low:.3f} to {high:.3f}", of)


def _run(summary: Summary) -> str:
    return _printable(f"{summary.run}: {summary.status}, {summary.samples:,} images, {summary.errors:,} errors")


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "\ufffd" for c in text)
