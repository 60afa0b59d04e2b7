"""The place of a run's evaluation set relative to the run, since a report may be made in another folder."""

from __future__ import annotations

import os
from pathlib import Path

from rate.types import Json

_FROM_RUN = "data_from_run"


def located(origin: Json, run: Path) -> Json:
    """Add the relative path from the run folder to its data to ``origin`` of a run.json, if the data is a path."""
    data = origin.get("data")
    if not isinstance(data, str) or not data or "://" in data:
        return origin
    # The last link is not resolved: images are relative to the folder of the given name, not of its target.
    named = Path(data).parent.resolve() / Path(data).name
    return origin | {_FROM_RUN: os.path.relpath(named, run.resolve())}


def data_of(origin: Json, run: Path) -> list[str]:
    """List the possible places of a run's data, the likeliest first: relative to the run, then as it was named."""
    named, seen = origin.get("data"), origin.get(_FROM_RUN)
    from_run = [os.path.normpath(run.resolve() / seen)] if isinstance(seen, str) else []
    return list(dict.fromkeys([*from_run, *([named] if isinstance(named, str) and named else [])]))
