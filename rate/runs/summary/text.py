"""The numbers of a run as plain text, for logs and assertions, and as HTML, for notebooks."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

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
    """Format a line for the run, and one for every number of every head, in columns.

    Names of heads are untrusted and must not move the cursor or start a new line.
    """
    lines = [(_printable(name), *one) for name, head in summary.heads.items() for one in numbers(head)]
    widths = [max((len(line[k]) for line in lines), default=0) for k in range(5)]
    columns = ("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
    return "\n".join([_run(summary), *columns])


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
