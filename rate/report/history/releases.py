"""The runs of releases: those of a folder in order of time, and the one that a word or a name means."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rate.errors import RunError, UsageError
from rate.report.heads import HeadRun, differences, load_heads, split_reference
from rate.runs.run_document import RunDocument, read_run
from rate.studies.corruption_grid import heads_of, is_grid

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
    """Load the heads of runs in order; a folder of runs, FOLDER[@HEAD], stands for all of them by time.

    Raises:
        RunError: a run is missing or damaged.
        UsageError: a run has no such head.
    """
    heads: dict[tuple[Path, str], HeadRun] = {}
    for reference in references:
        folder, head = split_reference(reference)
        named = [reference]
        if is_grid(folder):
            named = [f"{path}@{head}" if head is not None else str(path) for path, _ in runs_in(folder)]
        heads |= {(one.folder.resolve(), one.head): one for name in named for one in load_heads(name)}
    return list(heads.values())


def named_baseline(reference: str, run: str) -> str:
    """Return the RUN[@HEAD] that a baseline means for the run RUN[@HEAD] that is held against it.

    What exists is itself. ``best``, ``last`` or the name of a run is one of the folder in which the other run lies, and
    FOLDER/best or FOLDER/last is one of that folder. Only complete runs that measured the same on the same data count
    for the two words.

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
    raise UsageError(
        f"there is no run {name!r} to be the baseline, and {folder}, where {candidate.name} lies, has "
        f"{', '.join(path.name for path, _ in runs_in(folder))}; name one of them, {BEST} or {LAST}, or give a path"
    )


def _chosen(word: str, folder: Path, candidate: Path, head: str | None) -> Path:
    if is_grid(candidate):
        raise UsageError(f"--baseline {word} is for a run, and {candidate} is a folder of runs; name the other folder")
    own, refused = read_run(candidate), []
    name = head or own.heads[0].name
    usable: list[tuple[float, Path]] = []
    for path, run in runs_in(folder):
        if path.resolve() == candidate.resolve():
            continue
        unlike = [what for what, _, _ in differences(own, run)]
        if run.status != "complete" or unlike or name not in [one.name for one in run.heads]:
            why = run.status if run.status != "complete" else f"another {unlike[0]}" if unlike else f"no head {name}"
            refused.append(f"{path.name} ({why})")
            continue
        value = heads_of(path, run)[name].pt.value if word == BEST else 0.0
        usable.append((-1.0 if value is None else value, path))
    if not usable:
        there = f": {', '.join(refused)}" if refused else ", which holds no other run"
        raise RunError(f"--baseline {word}: no run of {folder} can be held against {candidate.name}{there}; name one")
    return max(reversed(usable), key=lambda one: one[0])[1]  # of equal ones the latest
