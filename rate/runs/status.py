"""The progress of a run from its folder alone, while it is running or after it ended in any way."""

from __future__ import annotations

import fcntl
from collections import Counter
from pathlib import Path

from rate.records import Count, Document
from rate.runs.failures import Failure, FailureCounts
from rate.runs.part_list import read_list
from rate.runs.remote import written_recently
from rate.runs.rows import RunStats
from rate.runs.run_document import RunDocument, read_run


class Status(Document, frozen=True, tag="rate.status/1"):
    """The stored state; a run stores at least every 30 s, so its progress may be larger."""

    status: str  # as in run.json: running | complete | partial | failed
    is_alive: bool  # whether a process owns the folder now
    planned: Count  # number of samples
    done: Count  # number of stored samples
    errors: Count  # number of failed samples among those
    failures: tuple[Failure, ...]  # commonest reasons of failures
    settled: dict[str, Count]  # fixed | decided | capped -> rows of all heads, without failed ones
    samples_per_s: float | None  # of the latest session
    seconds_left: float | None  # at that pace; None if no process is running, or the pace is not known yet


def read_status(folder: Path) -> Status:
    """Read run.json and the list of a run folder, and none of its parts, without disturbing its owner.

    Raises:
        RunError: it is no run folder, or one of them is damaged.
    """
    run = read_run(folder)
    rows = errors = 0
    settled: Counter[str] = Counter()
    failures = FailureCounts()
    for part in read_list(folder, run.rows):
        rows += part.rows
        errors += part.errors
        settled.update(part.settled)
        for failure in part.failures:
            failures.add(failure)
    heads, planned = len(run.heads), run.samples.planned
    session = run.sessions[-1] if run.sessions else RunStats()
    pace = session.samples / session.seconds if session.seconds and session.samples else None
    is_alive = _is_alive(folder, run)
    return Status(
        status=status_now(folder, run),
        is_alive=is_alive,
        planned=planned,
        done=rows // heads,
        errors=errors // heads,
        failures=failures.commonest(),
        settled=dict(sorted(settled.items())),
        samples_per_s=pace,
        seconds_left=(planned - rows // heads) / pace if pace and is_alive else None,
    )


def status_now(folder: Path, run: RunDocument) -> str:
    """Return the status of run.json, or ``interrupted`` if it says ``running`` and no process is at work."""
    return run.status if run.status != "running" or _is_alive(folder, run) else "interrupted"


def _is_alive(folder: Path, run: RunDocument) -> bool:
    return _is_held(folder / "lock") or (run.status == "running" and written_recently(folder))


def _is_held(lock: Path) -> bool:
    try:
        with lock.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    except OSError:  # a copied run has none
        return False
    return False
