"""What a run holds, read from its public files, beside what an uninterrupted one holds."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.faults.outcome import Failure

TOLERANCE = 1e-5
"""Of measured numbers: a sample may be computed in another batch after it is resumed."""


def rows(run: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """(id, head) -> row, of the listed parts.

    Raises:
        Failure: a sample is stored twice.
    """
    parts = map(json.loads, (run / "parts.jsonl").read_text().split("\n")[:-1])
    found = [
        row
        for part in parts
        for row in pq.ParquetFile(run / "samples" / part["name"]).read(use_threads=False).to_pylist()
    ]
    keys = Counter((row["id"], row["head"]) for row in found)
    if twice := [key for key, count in keys.items() if count > 1]:
        raise Failure("doubled", f"{len(twice)} rows, among them {twice[0]}")
    return {(row["id"], row["head"]): row for row in found}


def contents(run: Path) -> dict[str, Any]:
    """All that a finished run says, without times and places."""
    summary = json.loads((run / "summary.json").read_text())
    maps = run / "maps" / "maps.parquet"
    saved = pq.ParquetFile(maps).read(use_threads=False).to_pylist() if maps.exists() else []
    return {
        "status": json.loads((run / "run.json").read_text())["status"],
        "rows": {"/".join(key): row for key, row in rows(run).items()},
        "heads": summary["heads"],
        "maps": {f"{row['id']}/{row['head']}": row for row in saved},
    }


def compare(expected: dict[str, Any], found: dict[str, Any]) -> None:
    """Raise Failure unless both say the same."""
    if missing := expected["rows"].keys() - found["rows"].keys():
        raise Failure("lost", f"{len(missing)} rows, among them {min(missing)}")
    if added := found["rows"].keys() - expected["rows"].keys():
        raise Failure("doubled", f"{len(added)} rows that the set does not hold, among them {min(added)}")
    if place := difference(expected, found):
        raise Failure("differs", place)


def difference(one: Any, other: Any, place: str = "") -> str:
    """Where two values differ, or ""."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return next(filter(None, (difference(one[key], other[key], f"{place}.{key}") for key in one)), "")
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return next(filter(None, (difference(*pair, f"{place}[{k}]") for k, pair in pairs)), "")
    if isinstance(one, float) and isinstance(other, float):
        same = math.isclose(one, other, rel_tol=1e-3, abs_tol=TOLERANCE) or (math.isnan(one) and math.isnan(other))
    else:
        same = one == other
    return "" if same else f"{place.lstrip('.')}: {str(one)[:80]} became {str(other)[:80]}"


def names(folder: Path) -> set[str]:
    """The files below a folder; parts, whose names tell which samples they hold, as one."""
    found = (str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return {re.sub(r"part-[0-9a-f]+", "part-*", name) for name in found}
