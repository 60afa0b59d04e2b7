"""The saved maps of a run: the lowest ranks of every head and quadrant."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from rate.errors import RunError
from rate.runs.folder import SAVED, is_part_name
from rate.runs.rows import MAP_SCHEMA
from rate.runs.tables import DamagedTableError, read_table, write_table


def select_maps(folder: Path, parts: Iterable[str], keep: int | None) -> None:
    """Reduce the maps of the named parts to the lowest ranks, in one file; a second call changes nothing.

    Raises:
        RunError: a file of maps is damaged.
        StorageError: the result cannot be written.
    """
    listed = frozenset(parts)
    final = folder / "maps" / SAVED
    candidates = [path for path in sorted(final.parent.iterdir()) if path.name in listed]
    if candidates:
        # The parts are read one after the other, so that memory does not grow with the run.
        kept = read_maps(final) if final.exists() else MAP_SCHEMA.empty_table()
        for path in candidates:
            kept = lowest_ranks(pa.concat_tables([kept, read_maps(path)]), keep)
        write_table(kept, final)
    for path in final.parent.iterdir():
        if is_part_name(path.name):
            path.unlink(missing_ok=True)


def read_maps(path: Path) -> pa.Table:
    """Read the maps in a file.

    Raises:
        RunError: it is damaged.
    """
    try:
        return read_table(path, MAP_SCHEMA).replace_schema_metadata(MAP_SCHEMA.metadata)
    except DamagedTableError as error:
        raise RunError(f"{path} {error}; `rate eval ... --repair` evaluates the samples of its maps again") from error


def is_damaged(path: Path) -> bool:
    """Tell whether a file of maps exists that cannot be read."""
    if not path.exists():
        return False
    try:
        read_maps(path)
    except RunError:
        return True
    return False


def lowest_ranks(table: pa.Table, keep: int | None) -> pa.Table:
    """Select at most ``keep`` maps of each head and quadrant, those with the lowest ranks, independent of the order."""
    ordered = table.sort_by(
        [("head", "ascending"), ("quadrant", "ascending"), ("rank", "ascending"), ("id", "ascending")]
    )
    seen: dict[tuple[str, str], int] = {}
    known: set[tuple[str, str]] = set()
    rows = []
    columns = (ordered.column(name).to_pylist() for name in ("head", "quadrant", "id"))
    for i, (head, state, sample) in enumerate(zip(*columns, strict=True)):
        count = seen.get((head, state), 0)
        if (head, sample) not in known and (keep is None or count < keep):
            seen[head, state] = count + 1
            known.add((head, sample))
            rows.append(i)
    return ordered.take(rows)
