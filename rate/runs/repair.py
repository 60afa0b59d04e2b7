"""What of a run has to be evaluated again: parts that are gone or damaged, and samples that failed."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from rate.errors import RunError
from rate.runs.parts import check_name, part_name, read_maps, read_part, write_table
from rate.types import Json


def mended(folder: Path, run: Json, key: str) -> list[Json]:
    """The parts that may go on counting. Of a part with failed samples, the others are written as a part of their own.

    Nothing is removed here: a part that is listed no more is dropped once run.json says so.
    """
    parts = []
    for part in run["parts"]:
        try:
            table = read_part(folder, part)
            check_name(folder, part, table["id"].to_pylist(), key)
        except RunError:
            continue
        good = table.filter(pc.is_null(table["error"]))
        if len(good) == len(table):
            parts.append(part)
        elif len(good):
            parts.append(_rewritten(folder, part, good, key))
    return parts


def _rewritten(folder: Path, part: Json, rows: pa.Table, key: str) -> Json:
    name = part_name(key, set(rows["id"].to_pylist()))
    write_table(rows, folder / "samples" / name)
    maps = folder / "maps" / part["name"]
    if maps.exists():
        write_table(read_maps(maps), folder / "maps" / name)
    return {"name": name, "rows": len(rows)}
