"""The page of a folder of runs over corruptions: every run, worst first, and what each one changed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from msgspec import structs

from rate.errors import UsageError
from rate.outputs import write_output
from rate.records import plain
from rate.report.gate.decide import Decision
from rate.report.gate.grids import decide_named
from rate.report.gate.policy import Policy
from rate.report.gate.table import result_lines
from rate.report.heads import HeadRun, split_reference
from rate.report.html.comparison import views_of
from rate.report.html.from_clean import BECAME, from_clean, loaded
from rate.report.html.record import failures, record, runs_of
from rate.report.html.render import Report, check_output, rendered
from rate.report.html.samples.gallery import gallery_of
from rate.report.html.samples.pictures import Pictures
from rate.report.html.samples.selection import BY_SHARE, GROUPS
from rate.report.html.sentences import REASONS, explained_note, rule_in_words
from rate.report.html.trend import FRAME, Point, Trend, places, trend
from rate.report.tables.grid import TITLES, measured
from rate.report.tables.rows import write_rows
from rate.runs.run_document import Rule
from rate.runs.summary.summarise import HeadSummary
from rate.statistics.means import SampleMean
from rate.statistics.metrics import RatioRecord
from rate.studies.corruption_grid import CellHead, CellRecord, Grid, MeanOf, MeanRecord, load_grid
from rate.version import __version__

GRID_SCHEMA_ID = "rate.grid-report/1"

MOST_SHOWN = 3
"""The number of corruptions of which there are pictures; each puts the other pictures of its swaps under it again."""

Metrics = tuple[RatioRecord | SampleMean | MeanOf | None, ...]


@dataclass(frozen=True, slots=True)
class GridRow:
    """One head over one run, or the mean over several."""

    name: str
    head: str
    metrics: Metrics  # in the order of the page's titles
    of: CellHead | None  # None: a mean
    runs: int = 1  # behind a mean
    status: str = "complete"


@dataclass(frozen=True, slots=True)
class HeadTrends:
    """One head over severity."""

    name: str
    charts: tuple[tuple[str, Trend | None], ...]  # title, and the mean over corruptions with a thin line for each
    rows: tuple[GridRow, ...]  # by severity


@dataclass(frozen=True, slots=True)
class ShownHead:
    """A head of which the page has pictures."""

    position: int
    name: str
    summary: HeadSummary


def write_grid_report(
    reference: str,
    out: Path,
    *,
    data: Path | str | None = None,
    roots: Sequence[str] = (),
    max_samples: int = 200,
    policy: Policy | None = None,
    rows: bool = False,
    force: bool = False,
) -> Report:
    """Write the report of GRID[@HEAD] to one file; the arguments are those of `rate.report.html.page.write_report`.

    Raises:
        ConfigError: ``max_samples`` is negative, or ``out`` does not end in .html.
        UsageError: ``out`` exists, or the runs have no such head.
        RunError: a run is damaged, or they differ in more than the corruption.
    """
    table = out.with_suffix(".csv") if rows else None
    check_output(out, table, max_samples, force)
    folder, wanted = split_reference(reference)
    grid = load_grid(folder)
    if wanted is not None and wanted not in grid.heads:
        raise UsageError(f"{folder} has no head {wanted!r}; it has {', '.join(grid.heads)}")
    heads = grid.heads if wanted is None else (wanted,)
    every = worst_first(_row(grid, cell, head) for cell in grid.cells for head in heads)
    runs = loaded(grid, heads)
    pairs, apart = from_clean(grid, runs)
    shown = _shown(grid, every, runs)
    pictures = Pictures(None if data is None else str(data), tuple(roots))
    of_shown = [pairs[head.folder.name, head.head].pair for head in shown if (head.folder.name, head.head) in pairs]
    is_compared = len(of_shown) == len(shown) - 1 > 0
    among = [1] if is_compared else range(len(shown))
    gallery = gallery_of(shown, pictures, max_samples, compared=is_compared, among=among)
    page = rendered(
        "grid.html.j2",
        {"schema": GRID_SCHEMA_ID, "rate": __version__, "grid": plain(grid.document)},
        grid=grid,
        several=len(heads) > 1,
        decisions=[] if policy is None else [(one, result_lines(one)) for one in _decisions(grid, heads, policy)],
        **_tables(grid, heads, every),
        from_clean=[pairs[row.name, row.head] for row in every if (row.name, row.head) in pairs],
        became=[
            what
            for what in BECAME
            if what != "no prediction" or any(one.became[what].numerator for one in pairs.values())
        ],
        apart=apart,
        **_of_rule(shown[-1].summary.rule),
        runs=runs_of(shown),
        pairs=views_of(of_shown) if is_compared else [],
        heads=[ShownHead(k, head.name, head.summary) for k, head in enumerate(shown)],
        gallery=gallery,
        first_shown=among[0],
        record=record(runs_of(shown)),
        failures=failures(shown),
        table=None if table is None else quote(table.name),
    )
    if table is not None:
        own = [runs[cell.run, head] for cell in grid.cells for head in heads]
        write_output(table, lambda file: write_rows(own, [head.name for head in own], file))
    write_output(out, lambda file: file.write(page))
    cards = [card.picture is not None for card in gallery.all_cards]
    return Report(out, len(page), tuple(heads), len(cards), sum(cards), pictures.notices(), table)


def _tables(grid: Grid, heads: Sequence[str], every: list[GridRow]) -> dict[str, Any]:
    """Return what the page's tables and charts of numbers show, by the names of the template."""
    return {
        "titles": [TITLES[name] for name in measured(grid)],
        "overview": _overview(grid, heads, every),
        "trends": [_trends(grid, head) for head in heads],
        "by_corruption": worst_first(
            _mean_row(grid, one, head, grid.mean(head, None, one)) for one in grid.corruptions for head in heads
        ),
        "every": every,
        "frame": FRAME,
    }


def _of_rule(rule: Rule) -> dict[str, Any]:
    """Return what the page says of the rule and of the pictures by it, by the names of the template."""
    return {
        "rule": rule_in_words(structs.replace(rule, corrupt=None)),
        "quadrants": GROUPS,
        "by_share": BY_SHARE,
        "quantity": rule.quantity,
        "reasons": REASONS,
        "by_swap": rule.verdict == "swap",
        "by_map": rule.verdict == "map",
        "notes": [explained_note(rule)],
    }


def worst_first(rows: Iterable[GridRow]) -> list[GridRow]:
    """Order rows by the upper end of PT's interval, then of accuracy's; a low value of few images is not first."""
    return sorted(rows, key=lambda row: [_upper(row.metrics[k]) for k in (1, 0)])


def _upper(metric: RatioRecord | SampleMean | MeanOf | None) -> float:
    return math.inf if metric is None or metric.high is None else metric.high


def _row(grid: Grid, cell: CellRecord, head: str) -> GridRow:
    of = cell.heads[head]
    return GridRow(cell.run, head, tuple(of.metric(name) for name in measured(grid)), of, status=cell.status)


def _mean_row(grid: Grid, name: str, head: str, mean: MeanRecord) -> GridRow:
    return GridRow(name, head, tuple(mean.metric(one) for one in measured(grid)), None, mean.runs)


def _overview(grid: Grid, heads: Sequence[str], every: Sequence[GridRow]) -> list[GridRow]:
    """Every head on clean images, in the mean over corruptions, and in its worst run."""
    rows = []
    for head in heads:
        rows += [] if grid.clean is None else [_row(grid, grid.clean, head)]
        corrupted = [row for row in every if row.head == head and _is_corrupted(grid, row)]
        if corrupted:
            rows.append(_mean_row(grid, f"mean of {len(corrupted)}", head, grid.mean(head)))
            rows.append(corrupted[0])
    return rows


def _is_corrupted(grid: Grid, row: GridRow) -> bool:
    return grid.clean is None or row.name != grid.clean.run


def _shown(grid: Grid, every: Sequence[GridRow], runs: dict[tuple[str, str], HeadRun]) -> list[HeadRun]:
    """Choose the runs of which there are pictures, all of the head that is worst: the worst run of each of the
    corruptions that are worst, after clean images if there are some.
    """
    corruption = {cell.run: cell.corruption for cell in grid.cells}
    corrupted = [row for row in every if _is_corrupted(grid, row)] or list(every)
    worst = {corruption[row.name]: row.name for row in reversed(corrupted) if row.head == corrupted[0].head}
    chosen = [
        row.name for row in corrupted if row.head == corrupted[0].head and worst[corruption[row.name]] == row.name
    ]
    clean = [] if grid.clean is None or grid.clean.run in chosen else [grid.clean.run]
    return [runs[name, corrupted[0].head] for name in [*clean, *chosen[:MOST_SHOWN]]]


def _trends(grid: Grid, head: str) -> HeadTrends:
    rows = [] if grid.clean is None else [_row(grid, grid.clean, head)]
    rows += [_mean_row(grid, str(level), head, grid.mean(head, level)) for level in grid.severities]
    at = dict(zip((row.name for row in rows), places(len(rows)), strict=True))
    charts = []
    for k, name in enumerate(measured(grid)):
        points = [_point(at[row.name], row.name, row.metrics[k]) for row in rows]
        parts = {
            one: [
                _point(at[str(cell.severity)], cell.run, cell.heads[head].metric(name))
                for cell in grid.cells
                if cell.corruption == one
            ]
            for one in grid.corruptions
        }
        charts.append((TITLES[name], trend(points, parts)))
    return HeadTrends(head, tuple(charts), tuple(rows))


def _point(at: float, title: str, metric: RatioRecord | SampleMean | MeanOf | None) -> Point:
    return Point(at, title, None) if metric is None else Point(at, title, metric.value, metric.low, metric.high)


def _decisions(grid: Grid, heads: Sequence[str], policy: Policy) -> list[Decision]:
    """Decide on every head; the clean run is the baseline if the policy allows one across corruptions."""
    clean = grid.clean if policy.across_corruptions else None
    return [
        decide_named(policy, f"{grid.folder}@{head}", None if clean is None else f"{grid.folder / clean.run}@{head}")
        for head in heads
    ]
