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

from rate.artifacts.documents import disagreement, read_json
from rate.artifacts.schema_words import COUNT, METRIC, RATIO, object_with
from rate.data.images.corrupt import CLEAN, TYPES
from rate.engine.evaluate import Progress, evaluate
from rate.engine.job import Job
from rate.engine.outcome import Runner
from rate.errors import RunError
from rate.files import remove_leftovers, write_json
from rate.runs.folder import part_files
from rate.runs.store import read_run
from rate.runs.summary import SUMMARY_SCHEMA_ID, load_summary
from rate.types import Json

GRID_SCHEMA_ID = "rate.grid/1"

GRID = "grid.json"

METRICS = ("accuracy", "pt", "ir")
HEAD: Json = dict.fromkeys(("n", "errors", "undefined", "capped"), COUNT) | {
    "accuracy": object_with(RATIO),
    "pt": METRIC,
    "ir": METRIC,
}
"""The entries of each head that a grid copies from the summaries of its runs."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One run of a grid."""

    folder: Path
    corruption: str | None  # None: clean
    severity: int  # 0: clean
    status: str  # of the run
    heads: dict[str, Json]  # as in its summary

    @property
    def order(self) -> tuple[int, int]:
        """The sorting key: clean first, then by the usual order of corruptions and by severity."""
        return (-1, 0) if self.corruption is None else (TYPES.index(self.corruption), self.severity)

    def to_json(self) -> Json:
        """Return an entry of ``runs``."""
        heads = {name: {key: head[key] for key in HEAD} for name, head in self.heads.items()}
        about = {"run": self.folder.name, "corruption": self.corruption, "severity": self.severity}
        return about | {"status": self.status, "heads": heads}


@dataclass(frozen=True, slots=True)
class Mean:
    """Unweighted means over runs. A metric that is undefined in a run is left out of its mean."""

    runs: int
    values: dict[str, float | None]  # by `METRICS`; None: defined in no run
    of: dict[str, int]  # number of runs in each mean

    def to_json(self) -> Json:
        """Return the means by metric."""
        return {"runs": self.runs} | {name: {"value": self.values[name], "runs": self.of[name]} for name in METRICS}


@dataclass(frozen=True, slots=True)
class Grid:
    """The results for every corruption and severity."""

    folder: Path
    cells: tuple[Cell, ...]

    @property
    def status(self) -> str:
        """The status: ``complete`` if all existing runs are."""
        return "complete" if all(cell.status == "complete" for cell in self.cells) else "partial"

    @property
    def heads(self) -> tuple[str, ...]:
        """The names of the heads, in the order of the runs."""
        return tuple(self.cells[0].heads)

    @property
    def clean(self) -> Cell | None:
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

    def mean(self, head: str, severity: int | None = None, corruption: str | None = None) -> Mean:
        """Average over the corrupted runs of that severity and corruption; None = of any."""
        chosen = [
            cell.heads[head]
            for cell in self.cells
            if cell.corruption and severity in (None, cell.severity) and corruption in (None, cell.corruption)
        ]
        defined = {name: [one[name]["value"] for one in chosen if one[name]["value"] is not None] for name in METRICS}
        return Mean(
            runs=len(chosen),
            values={name: fmean(values) if values else None for name, values in defined.items()},
            of={name: len(values) for name, values in defined.items()},
        )

    def to_json(self) -> Json:
        """Return the content of grid.json."""
        return {
            "schema": GRID_SCHEMA_ID,
            "status": self.status,
            "runs": [cell.to_json() for cell in self.cells],
            "heads": {
                head: {
                    "mean": self.mean(head).to_json(),
                    "by_severity": {str(level): self.mean(head, level).to_json() for level in self.severities},
                    "by_corruption": {one: self.mean(head, None, one).to_json() for one in self.corruptions},
                }
                for head in self.heads
            },
        }


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
        runner: the runner; the model stays open from run to run.
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
    for number, corruption in enumerate(corruptions):
        one = replace(job, measurement=replace(job.measurement, corrupt=corruption))
        evaluate(one, runner, out / folder_of(corruption), partial(observe, number))
    grid = load_grid(out)
    write_json(out / GRID, grid.to_json())
    return grid


def _check_own(path: Path) -> None:
    """Refuse to replace a file of another origin named like a grid's; remove leftovers of a killed process."""
    remove_leftovers(path.parent, of=path.name)
    try:
        document = read_json(path) if os.path.lexists(path) else {"schema": GRID_SCHEMA_ID}
    except (OSError, ValueError):
        document = None
    if not isinstance(document, dict) or document.get("schema") != GRID_SCHEMA_ID:
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
    named = ((path.parent, read_run(path.parent)) for path in sorted(folder.glob("*/run.json")))
    runs = [(path, run) for path, run in named if path.name == folder_of(run["measurement"].get("corrupt"))]
    if not runs:
        raise RunError(f"{folder} holds no runs of a grid; `rate eval --corrupt all --out {folder}` makes them")
    _check_alike(folder, runs)
    return Grid(folder, tuple(sorted((_cell(*one) for one in runs), key=lambda cell: cell.order)))


def _cell(folder: Path, run: Json) -> Cell:
    corruption, _, severity = (run["measurement"].get("corrupt") or "").partition(":")
    return Cell(folder, corruption or None, int(severity or 0), run["status"], _summary(folder, run)["heads"])


def _summary(folder: Path, run: Json) -> Json:
    """Return the written summary if it covers all parts that run.json lists; otherwise compute it."""
    if run["status"] == "complete":
        with suppress(OSError, ValueError):  # absent or damaged
            stored = read_json(folder / "summary.json")
            if _is_usable(stored, run):
                return dict(stored)
    return load_summary(folder).to_json()


def _is_usable(stored: object, run: Json) -> bool:
    """Tell whether a summary is valid and has as many samples as run.json lists and the set has."""
    if not isinstance(stored, dict) or stored.get("schema") != SUMMARY_SCHEMA_ID:
        return False
    heads, available = [head["name"] for head in run["heads"]], run["samples"]["available"]
    expected = object_with(dict.fromkeys(heads, object_with(HEAD | {"n": {"const": available}})))
    listed = {part["name"]: part["rows"] for part in run["parts"]}
    adds_up = len(listed) == len(run["parts"]) and sum(listed.values()) == available * len(heads)
    return adds_up and disagreement(stored.get("heads"), expected) is None


def _check_alike(folder: Path, runs: Sequence[tuple[Path, Json]]) -> None:
    # the clean run has no seed of corruptions to compare with
    last = sorted(runs, key=lambda one: one[0].name == CLEAN)
    (first, expected), *others = [(path.name, _settings(run)) for path, run in last]
    for name, settings in others:
        if differing := sorted(key for key in expected.keys() & settings.keys() if expected[key] != settings[key]):
            raise RunError(
                f"{folder} holds runs of different settings: {first} and {name} differ in {', '.join(differing)}; "
                "keep each grid in a folder of its own"
            )


def _settings(run: Json) -> Json:
    """Return all settings that the runs of a grid share."""
    parts = {"heads": run["heads"]} | {
        f"{section}.{name}": value for section in ("measurement", "identity") for name, value in run[section].items()
    }
    return {name: value for name, value in parts.items() if name != "measurement.corrupt"}
