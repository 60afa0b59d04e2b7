"""Run folders of heads with known states on the same samples, in two parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from run_rows import MADE, run_json, write_parts


def write_run(
    folder: Path,
    heads: Mapping[str, Sequence[str]],
    *,
    ids: Sequence[str] | None = None,
    clusters: Sequence[str | None] | None = None,
    status: str = "complete",
    measurement: Mapping[str, Any] | None = None,
    verdict: str = "map",
    **identity: Any,
) -> Path:
    """A run whose heads have these states, one a sample; ids are s000, s001, ... unless given."""
    count = len(next(iter(heads.values())))
    names = ids or [f"s{k:03d}" for k in range(count)]
    of = clusters or [None] * count
    parts = [
        [MADE[verdict](names[k], head, states[k], cluster=of[k]) for k in some for head, states in heads.items()]
        for some in (range(0, count, 2), range(1, count, 2))
    ]
    document = run_json(list(heads), count, verdict, status=status)
    document["measurement"] |= measurement or {}
    document["identity"] |= {"weights": folder.name, **identity}
    return write_parts(folder, document, parts)
