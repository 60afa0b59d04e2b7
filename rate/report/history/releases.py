"""The runs of releases: those of a folder in order of time, and the one that a word or a name means.

A release is a run, or a folder of runs over corruptions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean

from rate.errors import RunError, UsageError
from rate.report.heads import HeadRun, differences, load_heads, split_reference
from rate.runs.run_document import RunDocument, read_run
from rate.studies.corruption_grid import heads_of, is_grid, runs_of

BEST, LAST = "best", "last"
"""The words for a baseline: the run of the highest PT, and the latest one."""


def runs_in(folder: Path) -> list[tuple[Path, RunDocument]]:
    """Return the runs of a folder with their folders, by the time at which they began, then by name.

    Raises:
        RunError: one is damaged.
    """
    runs = [(path.parent, read_run(path.parent)) for path in folder.glob("*/run.json")]
    return sorted(runs, key=lambda one: (one[1].started or "", one[0].name))


def releases(references: Sequence[str]) -> list[HeadRun]:
    """Load the heads of runs in order; FOLDER[@HEAD] stands for all runs in it by time, or for all folders of runs.

    Raises:
        RunError: a run is missing or damaged.
        UsageError: a run has no such head.
    """
    heads: dict[tuple[Path, str], HeadRun] = {}
    for reference in references:
        folder, head = split_reference(reference)
        named = [reference]
        if grids := [folder] if is_grid(folder) else _grids_in(folder):
            paths = [path for one in grids for path, _ in runs_in(one)]
            named = [f"{path}@{head}" if head is not None else str(path) for path in paths]
        heads |= {(one.folder.resolve(), one.head): one for name in named for one in load_heads(name)}
    return list(heads.values())


def _grids_in(folder: Path) -> list[Path]:
    """Return the folders of runs in a folder by the time at which they began, then by name."""
    grids = [path for path in sorted(folder.glob("*/")) if is_grid(path)] if not (folder / "run.json").exists() else []
    return sorted(grids, key=lambda path: (_began([run for _, run in runs_in(path)]), path.name))


def _began(runs: Iterable[RunDocument]) -> str:
    return min(run.started or "" for run in runs)


def named_baseline(reference: str, run: str) -> str:
    """Return the RUN[@HEAD] that a baseline means for the run RUN[@HEAD] that is held against it.

    What exists is itself. ``best``, ``last`` or the name of a run is one of the folder in which the other run lies, and
    FOLDER/best or FOLDER/last is one of that folder. Only complete runs that measured the same on the same data count
    for the two words; for a folder of runs over corruptions, only folders of complete runs over the same ones, of which
    the best has the highest mean PT. A PT that is undefined counts as 0, below any that is 0.

    Raises:
        RunError: no run of the folder can be compared, or one is damaged.
        UsageError: the folder has no run of that name.
    """
    if Path(reference).exists() or "://" in reference:
        return reference
    name, at, head = reference.partition("@")
    if Path(name).exists():
        return reference
    candidate, wanted = split_reference(run)
    bare = "/" not in name
    folder = candidate.resolve().parent if bare else Path(name).parent
    asked = Path(name).name
    if (folder / asked).exists():
        return f"{folder / asked}{at}{head}"
    if asked in (BEST, LAST):
        return f"{_chosen(asked, folder, candidate, head or wanted)}{at}{head}"
    if not bare:
        return reference
    there = ", ".join(path.name for path in _beside(folder, candidate))
    raise UsageError(
        f"there is no run {name!r} to be the baseline, and {folder}, where {candidate.name} lies, has {there}; name "
        f"one of them, {BEST} or {LAST}, or give a path"
    )


def _beside(folder: Path, candidate: Path) -> list[Path]:
    """Return the releases of a folder that are of the candidate's kind, by the time at which they began."""
    return _grids_in(folder) if is_grid(candidate) else [path for path, _ in runs_in(folder)]


def _chosen(word: str, folder: Path, candidate: Path, head: str | None) -> Path:
    own, refused = _runs(candidate), []
    name = head or next(iter(own.values())).heads[0].name
    usable: list[tuple[tuple[float, int], Path]] = []
    for path in _beside(folder, candidate):
        if path.resolve() == candidate.resolve():
            continue
        only_one = _names(candidate) ^ _names(path)
        why = f"only one of the two has {', '.join(sorted(only_one))}" if only_one else _unlike(own, _runs(path), name)
        if why is None:
            values = [heads_of(path / at, run)[name].pt.value for at, run in _runs(path).items()]
            usable.append((order_by_pt(values), path))
        else:
            refused.append(f"{path.name} ({why})")
    if not usable:
        there = f": {', '.join(refused)}" if refused else ", which holds no other run"
        raise RunError(f"--baseline {word}: no run of {folder} can be held against {candidate.name}{there}; name one")
    latest_first = [*reversed(usable)]
    return (latest_first[0] if word == LAST else max(latest_first, key=lambda one: one[0]))[1]


def order_by_pt(values: Sequence[float | None]) -> tuple[float, int]:
    """Order releases by the mean of their PT, an undefined one counted as 0, and equal ones by how many are defined."""
    return fmean(value or 0.0 for value in values), -values.count(None)


def _names(release: Path) -> set[str]:
    """Return the names of the runs in a folder; a run has none in it."""
    return {path.parent.name for path in release.glob("*/run.json")}


def _runs(release: Path) -> dict[str, RunDocument]:
    """Return the runs of a folder by name, or one run."""
    return {path.name: run for path, run in runs_of(release)} if is_grid(release) else {"": read_run(release)}


def _unlike(own: dict[str, RunDocument], runs: dict[str, RunDocument], head: str) -> str | None:
    """Say why runs cannot be held against others of the same names; None if they can."""
    for at, run in runs.items():
        if run.status != "complete":
            return run.status
        if unlike := differences(own[at], run):
            return f"another {unlike[0][0]}"
        if head not in [one.name for one in run.heads]:
            return f"no head {head}"
    return None
