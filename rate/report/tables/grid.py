"""Accuracy, PT and IR over corruptions and severities as text."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.text import Text

from rate.runs.summary.numbers import number, number_table
from rate.studies.corruption_grid import METRICS, CellHead, Grid, MeanRecord

TITLES = {"accuracy": "accuracy", "pt": "PT", "ir": "IR", "gap": "gap"}


def grid_table(grid: Grid) -> RenderableType:
    """Format one block for each head: means over corruptions by severity, and means over severities by corruption."""
    return Group(*(block for head in grid.heads for block in _head(grid, head)))


def _head(grid: Grid, head: str) -> Iterable[RenderableType]:
    images = max(cell.heads[head].n for cell in grid.cells)
    unfinished = sum(cell.status != "complete" for cell in grid.cells)
    yield Text(
        f"{head}: {len(grid.cells)} runs of {images} images"
        + (f"; {unfinished} of them are not complete" if unfinished else ""),
        style="bold",
    )
    titles = [TITLES[name] for name in measured(grid)]
    if grid.severities:
        by_severity = number_table("severity", *titles, "runs")
        if grid.clean is not None:
            by_severity.add_row("clean", *_shares(grid, grid.clean.heads[head]), "")
        for level in grid.severities:
            mean = grid.mean(head, level)
            by_severity.add_row(str(level), *_shares(grid, mean), _runs(grid, mean))
        mean = grid.mean(head)
        by_severity.add_row("mean", *_shares(grid, mean), _runs(grid, mean))
        yield by_severity
    by_corruption = number_table("corruption", *titles, "runs")
    for corruption in grid.corruptions:
        mean = grid.mean(head, None, corruption)
        by_corruption.add_row(corruption, *_shares(grid, mean), _runs(grid, mean))
    yield by_corruption
    yield Text(
        "unweighted means over runs; `rate report` draws them with intervals, and `rate show GRID/fog-3` is a run"
    )
    yield Text("")


def measured(grid: Grid) -> list[str]:
    """List the metrics that the runs of a grid have."""
    has_gap = any(head.swap is not None for cell in grid.cells for head in cell.heads.values())
    return [name for name in METRICS if has_gap or name != "gap"]


def _shares(grid: Grid, of: CellHead | MeanRecord) -> list[str]:
    metrics = (of.metric(name) for name in measured(grid))
    return [number(None if one is None else one.value) for one in metrics]


def _runs(grid: Grid, mean: MeanRecord) -> str:
    """State the number of runs; if a metric is undefined in some of them, the number for each metric."""
    behind = [mean.metric(name).runs for name in measured(grid)]
    return str(mean.runs) if set(behind) == {mean.runs} else " / ".join(map(str, behind))
