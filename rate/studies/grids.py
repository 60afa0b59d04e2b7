"""How far a grid of runs is, and the merge of the grids of a set's shards, run by run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from rate.files import new_folder
from rate.outputs import require_new_folder
from rate.records import Count, Document, Record, record, write
from rate.runs.folder import GRID
from rate.runs.merge import left_behind, merge
from rate.runs.status import read_status
from rate.studies.corruption_grid import Grid, load_grid, runs_of
from rate.studies.wise_curve import curve_runs, is_curve


class GridRun(Record, frozen=True):
    """A run of a grid."""

    run: str  # the name of its folder
    status: str  # as of `rate status` on it
    planned: Count  # samples
    done: Count
    errors: Count
    samples_per_s: float | None


class GridStatus(Document, frozen=True, tag="rate.grid-status/1"):
    """The stored state of the runs that a grid has so far."""

    status: Literal["complete", "running", "partial"]
    runs: tuple[GridRun, ...]
    complete: Annotated[Count, Meta(description="runs")]
    planned: Annotated[Count, Meta(description="samples of all runs")]
    done: Count
    errors: Count


def read_grid_status(folder: Path) -> GridStatus:
    """Read run.json and the list of every run of a grid or a curve.

    Raises:
        RunError: it is no grid, or one of them is damaged.
    """
    runs_in = curve_runs if is_curve(folder) else runs_of
    states = [(path.name, read_status(path)) for path, _ in runs_in(folder)]
    runs = [record(GridRun, {"run": name} | {f: getattr(one, f) for f in _OF_STATUS}) for name, one in states]
    complete = sum(run.status == "complete" for run in runs)
    is_alive = any(one.is_alive for _, one in states)
    return GridStatus(
        status="running" if is_alive else "complete" if complete == len(runs) else "partial",
        runs=tuple(runs),
        complete=complete,
        **{name: sum(getattr(run, name) for run in runs) for name in ("planned", "done", "errors")},
    )


_OF_STATUS = ("status", "planned", "done", "errors", "samples_per_s")


def merge_grids(folders: Sequence[Path], out: Path) -> Grid:
    """Merge grids of the shards of one set; a run that some of them lack is partial. All or nothing is written.

    Raises:
        RunError: a folder is no grid, or two runs cannot be merged; see `rate.runs.merge.merge`.
        UsageError: ``out`` is not empty, or cannot be written.
        StorageError: the disk is full.
    """
    require_new_folder("a merge writes a new grid: --out", out)
    runs = [path for folder in folders for path, _ in runs_of(folder)]
    with new_folder(out) as made:
        for name in names_in(folders):
            merge([path for path in runs if path.name == name], made / name)
        write(made / GRID, load_grid(made).document)
    return load_grid(out)


def names_in(folders: Sequence[Path]) -> list[str]:
    """Return the names of the runs of some grids.

    Raises:
        RunError: a folder is no grid.
    """
    return [*dict.fromkeys(path.name for folder in folders for path, _ in runs_of(folder))]


def left_behind_in(folders: Sequence[Path]) -> list[Path]:
    """List the files of the grids that a merged grid does not have."""
    return left_behind([path for folder in folders for path, _ in runs_of(folder)])
