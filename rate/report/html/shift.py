"""Accuracy, PT and IR over the severity of corruptions, for a run that is part of a grid."""

from __future__ import annotations

from dataclasses import dataclass

from rate.data.images.corrupt import CLEAN, SEVERITIES
from rate.errors import RunError
from rate.records import read
from rate.report.heads import HeadRun
from rate.report.html.charts import SHARES, Line, Tick, curves, ticks
from rate.report.tables.grid import TITLES
from rate.runs.folder import GRID
from rate.studies.corruption_grid import METRICS, CellHead, GridDocument, MeanRecord

_SHARES = METRICS[:3]
_SHORT = ("acc", "PT", "IR")
"""Short names of these for the lines."""


@dataclass(frozen=True, slots=True)
class Shift:
    """Means over the corruptions of each severity; clean images are at 0."""

    rows: tuple[tuple[str, tuple[float | None, ...]], ...]  # severity, then a value for each metric of TITLES
    corruptions: tuple[str, ...]
    titles: tuple[str, ...]
    lines: tuple[Line, ...]
    ticks: tuple[Tick, ...]
    levels: tuple[Tick, ...] = SHARES


def shift_of(head: HeadRun) -> Shift | None:
    """Return the head's part of the grid.json beside the run's folder; None if there is none, or it lacks the run."""
    grid = _grid(head)
    if grid is None:
        return None
    mean = grid.heads[head.head]
    points: list[tuple[int, CellHead | MeanRecord]] = [
        (0, run.heads[head.head]) for run in grid.runs if run.corruption is None
    ]
    points += [(int(level), by_metric) for level, by_metric in sorted(mean.by_severity.items())]
    values = {level: tuple(getattr(by_metric, name).value for name in _SHARES) for level, by_metric in points}
    return Shift(
        rows=tuple((CLEAN if level == 0 else str(level), row) for level, row in values.items()),
        corruptions=tuple(mean.by_corruption),
        titles=tuple(TITLES[name] for name in _SHARES),
        lines=curves(
            {name: [(level / SEVERITIES[-1], row[k]) for level, row in values.items()] for k, name in enumerate(_SHORT)}
        ),
        ticks=ticks({level / SEVERITIES[-1]: str(level) if level else CLEAN for level in (0, *SEVERITIES)}),
    )


def _grid(head: HeadRun) -> GridDocument | None:
    folder = head.folder.resolve()
    try:
        grid = read(folder.parent / GRID, GridDocument, RunError, "")
    except RunError:
        return None
    known = head.head in grid.heads and all(head.head in run.heads for run in grid.runs)
    return grid if known and any(run.run == folder.name for run in grid.runs) else None
