"""How far a run is, from its folder alone: while it is written to, and after it ended in whatever way."""

from __future__ import annotations

import fcntl
from collections import Counter
from pathlib import Path

import pyarrow.compute as pc

from rate.records import Count, Document
from rate.runs.failures import Failure, FailureCounts
from rate.runs.parts import iter_parts
from rate.runs.store import read_run


class Status(Document, frozen=True, tag="rate.status/1"):
    """What is stored; a run stores at least every 30 s, so that it may be that much further."""

    status: str  # as in run.json: running | complete | partial | failed
    is_alive: bool  # a process owns the folder at this moment
    planned: Count  # samples
    done: Count  # samples that are stored
    errors: Count  # of those, samples that failed
    failures: tuple[Failure, ...]  # why, the commonest reasons
    settled: dict[str, Count]  # fixed | decided | capped -> rows of all heads, those that failed left out
    samples_per_s: float | None  # of the latest session
    seconds_left: float | None  # at that pace; None where nobody is at work, or nothing is known yet


def read_status(folder: Path) -> Status:
    """Look at a run folder without disturbing it.

    Raises:
        RunError: it is no run folder, or a listed part is missing or damaged.
    """
    run = read_run(folder)
    rows = errors = 0
    settled: Counter[str] = Counter()
    failures = FailureCounts()
    for table in iter_parts(folder, run, ["id", "head", "settled", "error"]):
        rows += len(table)
        good = table.filter(pc.is_null(table["error"]))
        errors += len(table) - len(good)
        settled.update(good["settled"].to_pylist())
        # A sample that fails does so under every head.
        failed = table.filter(pc.and_(pc.is_valid(table["error"]), pc.equal(table["head"], run["heads"][0]["name"])))
        for identifier, error in zip(failed["id"].to_pylist(), failed["error"].to_pylist(), strict=True):
            failures.take(identifier, error)
    heads, planned = len(run["heads"]), run["samples"]["planned"]
    session = run["sessions"][-1] if run["sessions"] else {}
    pace = session["samples"] / session["seconds"] if session.get("seconds") and session["samples"] else None
    is_alive = _is_held(folder / "lock")
    return Status(
        status=run["status"] if is_alive or run["status"] != "running" else "interrupted",
        is_alive=is_alive,
        planned=planned,
        done=rows // heads,
        errors=errors // heads,
        failures=failures.commonest(),
        settled=dict(sorted(settled.items())),
        samples_per_s=pace,
        seconds_left=(planned - rows // heads) / pace if pace and is_alive else None,
    )


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
