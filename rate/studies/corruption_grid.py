"""A grid: a folder of runs that differ in the corruption and severity of their images alone.

    GRID/clean/     the run without corruption, if it was requested
    GRID/fog-3/     a run
    GRID/grid.json  the numbers of all of them, written last

Every run is complete and can be compared, reported and gated by itself. The contents of a grid are read from its runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Annotated, Literal

from msgspec import Meta

from rate.data.images.corrupt import CLEAN, TYPES
from rate.engine.evaluate import Progress, evaluate_each, evaluation
from rate.engine.job import Job
from rate.engine.outcome import Runner
from rate.errors import RunError
from rate.files import remove_leftovers
from rate.records import Count, Document, Record, RunStatus, Signed, plain, read, read_json, record, write
from rate.runs.folder import GRID, part_files
from rate.runs.part_list import read_list
from rate.runs.run_document import RunDocument, read_run
from rate.runs.summary.document import HeadRecord, MetricRecord, SummaryDocument
from rate.runs.summary.summarise import load_summary
from rate.statistics.means import SampleMean, SwapMeans
from rate.statistics.metrics import RatioRecord
from rate.types import Json

METRICS = ("accuracy", "pt", "ir", "gap")
"""The metrics of a grid; only runs by swaps have a gap."""


class CellHead(Record, frozen=True):
    """The entries of each head that a grid copies from the summaries of its runs."""

    n: Count
    errors: Count
    undefined: Count
    capped: Count
    accuracy: RatioRecord
    pt: MetricRecord
    ir: MetricRecord
    swap: SwapMeans | None  # null: of runs by maps

    def metric(self, name: str) -> RatioRecord | SampleMean | None:
        """Return one of `METRICS`; None if the run does not measure it."""
        if name == "gap":
            return None if self.swap is None else self.swap.gap
        share: RatioRecord = getattr(self, name)
        return share


class CellRecord(Record, frozen=True):
    """A run of a grid."""

    run: str  # the name of its folder
    corruption: str | None  # null: clean
    severity: Annotated[int, Meta(ge=0, le=5)]  # 0: clean
    status: RunStatus
    heads: dict[str, CellHead]

    @property
    def order(self) -> tuple[int, int]:
        """The sorting key: clean first, then by the usual order of corruptions and by severity."""
        return (-1, 0) if self.corruption is None else (TYPES.index(self.corruption), self.severity)


class MeanOf(Record, frozen=True):
    """An unweighted mean over runs with the mean of their intervals' ends, and the number of runs behind it.

    The runs show the same images, so they are not independent. The standard error of a mean is at most the mean of the
    standard errors, so the interval is wide enough whatever the runs share.
    """

    value: Signed | None
    low: Signed | None
    high: Signed | None
    runs: Count


class MeanRecord(Record, frozen=True):
    """Unweighted means over runs. A metric that is undefined in a run is left out of its mean."""

    runs: Count
    accuracy: MeanOf
    pt: MeanOf
    ir: MeanOf
    gap: MeanOf

    def metric(self, name: str) -> MeanOf:
        """Return one of `METRICS`."""
        mean: MeanOf = getattr(self, name)
        return mean


class HeadMeans(Record, frozen=True):
    """One head over all corruptions and severities, over each severity, and over each corruption."""

    mean: MeanRecord
    by_severity: dict[str, MeanRecord]
    by_corruption: dict[str, MeanRecord]


class GridDocument(Document, frozen=True, tag="rate.grid/4"):
    """grid.json."""

    status: Literal["complete", "partial"]
    runs: tuple[CellRecord, ...]
    heads: dict[str, HeadMeans]


@dataclass(frozen=True, slots=True)
class Grid:
    """The results for every corruption and severity."""

    folder: Path
    cells: tuple[CellRecord, ...]

    @property
    def status(self) -> Literal["complete", "partial"]:
        """The status: ``complete`` if all existing runs are."""
        return "complete" if all(cell.status == "complete" for cell in self.cells) else "partial"

    @property
    def heads(self) -> tuple[str, ...]:
        """The names of the heads, in the order of the runs."""
        return tuple(self.cells[0].heads)

    @property
    def clean(self) -> CellRecord | None:
        """The run without corruption."""
        return next((cell for cell in self.cells if cell.corruption is None), None)

    @property
    def severities(self) -> tuple[int, ...]:
        """The distinct severities of corrupted runs."""
        return tuple(sorted({cell.severity for cell in self.cells if cell.corruption}))

    @property
    def corruptions(self) -> tuple[str, ...]:
        """The corruptions of the runs, in their usual order."""
        return tuple(dict.fromkeys(cell.corruption for cell in self.cells if cell.corruption))

    def mean(self, head: str, severity: int | None = None, corruption: str | None = None) -> MeanRecord:
        """Average over the corrupted runs of that severity and corruption; None = of any."""
        chosen = [
            cell.heads[head]
            for cell in self.cells
            if cell.corruption and severity in (None, cell.severity) and corruption in (None, cell.corruption)
        ]
        return MeanRecord(len(chosen), *(_mean_of([one.metric(name) for one in chosen]) for name in METRICS))

    @property
    def document(self) -> GridDocument:
        """The content of grid.json."""
        return GridDocument(
            status=self.status,
            runs=self.cells,
            heads={
                head: HeadMeans(
                    mean=self.mean(head),
                    by_severity={str(level): self.mean(head, level) for level in self.severities},
                    by_corruption={one: self.mean(head, None, one) for one in self.corruptions},
                )
                for head in self.heads
            },
        )


def _mean_of(metrics: Sequence[RatioRecord | SampleMean | None]) -> MeanOf:
    ends = [
        (one.value, one.low, one.high)
        for one in metrics
        if one is not None and one.value is not None and one.low is not None and one.high is not None
    ]
    if not ends:
        return MeanOf(None, None, None, 0)
    value, low, high = (fmean(some) for some in zip(*ends, strict=True))
    return MeanOf(value, low, high, len(ends))


def folder_of(corruption: str | None) -> str:
    """Return the name of a run in its grid: `fog-3` for `fog:3`."""
    return CLEAN if corruption is None else corruption.replace(":", "-")


def evaluate_grid(
    job: Job,
    runner: Runner,
    out: Path,
    corruptions: Sequence[str | None],
    observe: Callable[[int, Progress], None] = lambda number, progress: None,
) -> Grid:
    """Evaluate ``job`` under every corruption, and write grid.json over all runs in ``out``.

    After an interruption the same call resumes; a call with other corruptions adds them.

    Args:
        job: the evaluation; its own corruption is ignored.
        runner: the runner; its workers and their models go from run to run.
        out: the folder of runs.
        corruptions: the conditions from `rate.data.images.corrupt.parse_grid`.
        observe: receives the number of the run, from 0, and its progress.

    Raises:
        RunError: ``out`` is a run itself, or holds runs of other settings.
        RateError: as `rate.engine.evaluate.evaluate`.
    """
    if (out / "run.json").exists() or part_files(out):
        raise RunError(f"{out} is one run, and several are to be written; choose another --out")
    _check_own(out / GRID)
    evaluate_each(
        (
            evaluation(
                replace(job, measurement=replace(job.measurement, corrupt=corruption)),
                runner,
                out / folder_of(corruption),
                partial(observe, number),
            )
            for number, corruption in enumerate(corruptions)
        ),
        runner,
    )
    grid = load_grid(out)
    write(out / GRID, grid.document)
    return grid


def _check_own(path: Path) -> None:
    """Refuse to replace a file of another origin named like a grid's; remove leftovers of a killed process."""
    remove_leftovers(path.parent, of=path.name)
    try:
        document = read_json(path) if os.path.lexists(path) else None
    except (OSError, ValueError):
        document = "damaged"
    own = isinstance(document, dict) and str(document.get("schema")).startswith("rate.grid/")
    if document is not None and not own:
        raise RunError(f"{path} was not written by `rate eval --corrupt`; move it, or choose another --out")


def is_grid(folder: Path) -> bool:
    """Tell whether ``folder`` holds runs and is none itself."""
    is_run = (folder / "run.json").exists() or part_files(folder)
    return not is_run and any(folder.glob("*/run.json"))


def load_grid(folder: Path) -> Grid:
    """Read the runs of a grid, finished or not.

    Raises:
        RunError: there is no grid, a run is damaged, or they differ in more than the corruption.
    """
    runs = runs_of(folder)
    _check_alike(folder, runs)
    return Grid(folder, tuple(sorted((_cell(*one) for one in runs), key=lambda cell: cell.order)))


def runs_of(folder: Path) -> list[tuple[Path, RunDocument]]:
    """Return the runs of a grid with their folders, in order of name.

    Raises:
        RunError: there is none, or one is damaged.
    """
    every = [(path.parent, read_run(path.parent)) for path in sorted(folder.glob("*/run.json"))]
    runs = [(path, run) for path, run in every if path.name == folder_of(run.measurement.get("corrupt"))]
    if not runs:
        one = next((path for path, _ in every), folder / "RUN")
        raise RunError(
            f"{folder} holds no runs over corruptions, which `rate eval --corrupt all` makes; name a single run, such "
            f"as {one}"
        )
    return runs


def _cell(folder: Path, run: RunDocument) -> CellRecord:
    corruption, _, severity = (run.measurement.get("corrupt") or "").partition(":")
    heads = {name: record(CellHead, head) for name, head in heads_of(folder, run).items()}
    return CellRecord(folder.name, corruption or None, int(severity or 0), run.status, heads)


def heads_of(folder: Path, run: RunDocument) -> dict[str, HeadRecord]:
    """Return the written numbers if they cover all listed parts; otherwise compute them."""
    if run.status == "complete":
        with suppress(RunError):  # absent or damaged
            stored = read(folder / "summary.json", SummaryDocument, RunError, "").heads
            if _is_usable(folder, stored, run):
                return stored
    return load_summary(folder).document.heads


def _is_usable(folder: Path, stored: dict[str, HeadRecord], run: RunDocument) -> bool:
    """Tell whether a summary has as many samples as the list and the set have."""
    heads, available = [head.name for head in run.heads], run.samples.available
    listed = sum(part.rows for part in read_list(folder, run.rows))
    return listed == available * len(heads) and all(name in stored and stored[name].n == available for name in heads)


def _check_alike(folder: Path, runs: Sequence[tuple[Path, RunDocument]]) -> None:
    # the clean run has no seed of corruptions to compare with
    last = sorted(runs, key=lambda one: one[0].name == CLEAN)
    (first, expected), *others = [(path.name, _settings(run)) for path, run in last]
    for name, settings in others:
        if differing := sorted(key for key in expected.keys() & settings.keys() if expected[key] != settings[key]):
            raise RunError(
                f"{folder} holds runs of different settings: {first} and {name} differ in {', '.join(differing)}; "
                "keep each grid in a folder of its own"
            )


def _settings(run: RunDocument) -> Json:
    sections = {"measurement": run.measurement, "identity": plain(run.identity)}
    parts = {"heads": run.heads} | {
        f"{section}.{name}": value for section, values in sections.items() for name, value in values.items()
    }
    return {name: value for name, value in parts.items() if name != "measurement.corrupt"}
