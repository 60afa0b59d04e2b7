"""A history as text: of every metric the runs in order."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.text import Text

from rate.report.compare.compare import signed
from rate.report.history.history import History, Release
from rate.report.tables.grid import TITLES
from rate.runs.summary.numbers import number, number_table
from rate.statistics.paired import Difference


def history_table(history: History) -> RenderableType:
    """Format one block for each head, with a table of every metric."""
    return Group(*(block for name in history.series for block in _series(history, name)))


def _series(history: History, name: str) -> Iterable[RenderableType]:
    entries = history.series[name]
    against = next((entry.against for entry in entries if history.baseline and entry.against), "the run before")
    yield Text(f"{name}: {len(entries)} runs; changes are against {against}", style="bold")
    for metric in history.metrics:
        table = number_table(TITLES[metric], "value", "95 % interval", "change", "95 % interval", "", folded=())
        for entry in entries:
            table.add_row(entry.title, *_value(entry, metric), *_change(entry.change(metric)))
        yield table
        yield Text("")


def _value(entry: Release, metric: str) -> tuple[str, str]:
    share = entry.metric(metric)
    if share is None or share.low is None or share.high is None:
        return number(None if share is None else share.value), ""
    return number(share.value), f"{share.low:.3f} - {share.high:.3f}"


def _change(change: Difference | None) -> tuple[str, str, str]:
    if change is None or change.value is None:
        return "", "", ""
    if change.low is None or change.high is None:
        return signed(change.value), "", ""
    return signed(change.value), f"{signed(change.low)} to {signed(change.high)}", moved(change)


def moved(change: Difference) -> str:
    """Name the direction if the interval excludes 0, and else nothing."""
    if change.low is None or change.high is None or change.low <= 0.0 <= change.high:
        return ""
    return "rose" if change.low > 0.0 else "fell"
