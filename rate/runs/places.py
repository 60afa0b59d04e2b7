"""Where a run's evaluation set lies, seen from the run: a report is made in another folder than the run was."""

from __future__ import annotations

import os
from pathlib import Path

from rate.types import Json

_FROM_RUN = "data_from_run"


def located(origin: Json, run: Path) -> Json:
    """``origin`` of a run.json, with the way from the run folder to its data where that is a path."""
    data = origin.get("data")
    if not isinstance(data, str) or not data or "://" in data:
        return origin
    # The last name stays as it is: images lie relative to the folder of the name that was given, not of its target.
    named = Path(data).parent.resolve() / Path(data).name
    return origin | {_FROM_RUN: os.path.relpath(named, run.resolve())}


def data_of(origin: Json, run: Path) -> list[str]:
    """Where the data of a run may lie, the likeliest first: as seen from the run, then as it was named."""
    named, seen = origin.get("data"), origin.get(_FROM_RUN)
    from_run = [os.path.normpath(run.resolve() / seen)] if isinstance(seen, str) else []
    return list(dict.fromkeys([*from_run, *([named] if isinstance(named, str) and named else [])]))
