"""The place of a run's evaluation set relative to the run, since a report may be made in another folder."""

from __future__ import annotations

import os
from pathlib import Path

from msgspec.structs import replace

from rate.runs.run_document import Origin


def located(origin: Origin, run: Path) -> Origin:
    """Add the relative path from the run folder to its data, if the data is a path."""
    if not origin.data or "://" in origin.data:
        return origin
    # The last link is not resolved: images are relative to the folder of the given name, not of its target.
    named = Path(origin.data).parent.resolve() / Path(origin.data).name
    return replace(origin, data_from_run=os.path.relpath(named, run.resolve()))


def data_of(origin: Origin, run: Path) -> list[str]:
    """List the possible places of a run's data, the likeliest first: relative to the run, then as it was named."""
    seen = origin.data_from_run
    from_run = [] if seen is None else [os.path.normpath(run.resolve() / seen)]
    return list(dict.fromkeys([*from_run, *([origin.data] if origin.data else [])]))
