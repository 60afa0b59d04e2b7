"""The page of a history: charts of every metric over the runs in order, and the runs with their changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec import structs

from rate.outputs import write_output
from rate.records import plain
from rate.report.history.history import History, Release
from rate.report.history.table import moved
from rate.report.html.render import Report, check_output, rendered
from rate.report.html.samples.gallery import Gallery
from rate.report.html.sentences import rule_in_words
from rate.report.html.trend import FRAME, Point, Trend, places, trend
from rate.report.tables.grid import TITLES
from rate.statistics.paired import Difference


@dataclass(frozen=True, slots=True)
class SeriesView:
    """One head over the runs."""

    name: str
    charts: tuple[tuple[str, Trend | None], ...]
    entries: tuple[Release, ...]
    against: str | None  # the baseline; None: the run before each


def write_history(history: History, out: Path, *, force: bool = False) -> Report:
    """Write the page of a history to one file that loads no other resource.

    Raises:
        ConfigError: ``out`` does not end in .html.
        UsageError: ``out`` exists.
    """
    check_output(out, None, 0, force)
    views = [_view(history, name, entries) for name, entries in history.series.items()]
    heads = [entry.head for view in views for entry in view.entries]
    rules = [head.summary.rule for head in heads]
    if len({rule.corrupt for rule in rules}) > 1:  # each series names its own
        rules = [structs.replace(rule, corrupt=None) for rule in rules]
    page = rendered(
        "history.html.j2",
        plain(history.document),
        views=views,
        metrics=history.metrics,
        titles=[TITLES[name] for name in history.metrics],
        notices=history.notices,
        rules=list(dict.fromkeys(rule_in_words(rule) for rule in rules)),
        moved=_moved,
        gallery=Gallery((), ()),
        table=None,
        frame=FRAME,
    )
    write_output(out, lambda file: file.write(page))
    return Report(out, len(page), tuple(view.name for view in views), 0, 0, history.notices)


def _view(history: History, name: str, entries: Sequence[Release]) -> SeriesView:
    charts = []
    for metric in history.metrics:
        values = [(entry.title, entry.metric(metric)) for entry in entries]
        points = [
            Point(at, title, *((one.value, one.low, one.high) if one is not None else (None,)))
            for at, (title, one) in zip(places(len(values)), values, strict=True)
        ]
        charts.append((TITLES[metric], trend(points)))
    against = next((entry.against for entry in entries if entry.against), None) if history.baseline else None
    return SeriesView(name, tuple(charts), tuple(entries), against)


def _moved(change: Difference) -> str:
    return moved(change) or "open"
