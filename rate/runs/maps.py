"""The saved maps of a run: the lowest ranks of every head and quadrant.

Where maps decide, the candidates of every part are reduced when the run is complete. Beside verdicts by swaps the maps
are drawn after the evaluation.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from rate.data.digests import fingerprint
from rate.errors import RunError, StorageError
from rate.runs.folder import SAVED, is_part_name
from rate.runs.part_list import ListedPart
from rate.runs.parts import DamagedTableError, read_part, read_table, write_table
from rate.runs.rows import MAP_SCHEMA
from rate.statistics.metrics import quadrant_of
from rate.types import Json

MapKey = tuple[str, str]
"""The id and head of a saved map."""

_JUDGED = ["id", "head", "error", "correct", "valid"]

WRITE_SECONDS = 30.0
"""The shortest time between two writes of the maps; a killed process loses the maps since the last one."""

_SHARE_OF_TIME = 0.05
"""The most of the time that writing may take: every write is of all maps."""

_ORDER = [(name, "ascending") for name in ("head", "quadrant", "rank", "id")]


def select_maps(folder: Path, parts: Iterable[str], keep: int | None) -> None:
    """Reduce the maps of the named parts to the lowest ranks, in one file; a second call changes nothing.

    Raises:
        RunError: a file of maps is damaged.
        StorageError: the result cannot be written.
    """
    listed = frozenset(parts)
    final = folder / "maps" / SAVED
    if candidates := [path for path in sorted(final.parent.iterdir()) if path.name in listed]:
        write_table(lowest_in([final, *candidates], keep), final)
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


def lowest_in(paths: Iterable[Path], keep: int | None) -> pa.Table:
    """Select the `lowest_ranks` in several files, of which some may be missing.

    The files are read one after the other, so that memory does not grow with the run.

    Raises:
        RunError: one is damaged.
    """
    kept = MAP_SCHEMA.empty_table()
    for path in paths:
        if path.exists():
            kept = lowest_ranks(pa.concat_tables([kept, read_maps(path)]), keep)
    return kept


def lowest_ranks(table: pa.Table, keep: int | None) -> pa.Table:
    """Select at most ``keep`` maps of each head and quadrant, those with the lowest ranks, independent of the order."""
    ordered = table.sort_by(_ORDER)
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


def wanted_maps(folder: Path, parts: Iterable[ListedPart], keep: int | None) -> dict[MapKey, str]:
    """Map the samples and heads of which a run keeps a map to their quadrants.

    Args:
        folder: the run folder.
        parts: its listed parts.
        keep: the number of maps of each head and quadrant; None = all.

    Raises:
        RunError: a part is missing or damaged.
    """
    lowest: dict[tuple[str, str], list[tuple[int, MapKey]]] = {}  # head and quadrant -> minus the lowest ranks
    for part in parts if keep != 0 else ():
        for row in read_part(folder, part, _JUDGED).to_pylist():
            if row["error"] is not None:
                continue
            ranks = lowest.setdefault((row["head"], quadrant_of(row["correct"], row["valid"])), [])
            ranked = -fingerprint(row["id"]), (row["id"], row["head"])
            if keep is None or len(ranks) < keep:
                heapq.heappush(ranks, ranked)
            else:
                heapq.heappushpop(ranks, ranked)
    return {key: quadrant for (_, quadrant), ranks in lowest.items() for _, key in ranks}


@dataclass(slots=True)
class DrawnMaps:
    """Collects maps of a run and writes them. As a context manager it writes the last ones, whatever happens."""

    folder: Path
    wanted: dict[MapKey, str]  # the quadrants of the maps that the run should have
    check: Callable[[], None] = lambda: None  # raises StorageError if the folder may not be written to
    write_seconds: float = WRITE_SECONDS
    _maps: list[Json] = field(default_factory=list)  # not written yet
    _written_at: float = field(default_factory=time.monotonic)
    _wrote_s: float = 0.0  # the duration of the latest write

    def __enter__(self) -> DrawnMaps:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        with suppress(*(() if kind is None else (StorageError,))):  # the first error is being raised
            self._write()

    def missing(self) -> set[str]:
        """Return the ids of the samples that lack a map.

        Raises:
            RunError: the file of maps is damaged.
        """
        return {identifier for identifier, _ in set(self.wanted).difference(keys_of(self._saved()))}

    def add(self, maps: Iterable[Json]) -> None:
        """Add maps; their quadrants become those of the run's verdicts, and maps that are not wanted are dropped.

        Raises:
            StorageError: they were due to be written and could not.
        """
        self._maps += [one | {"quadrant": self.wanted[_key(one)]} for one in maps if _key(one) in self.wanted]
        if time.monotonic() - self._written_at >= max(self.write_seconds, self._wrote_s / _SHARE_OF_TIME):
            self._write()

    def _write(self) -> None:
        """Write the saved maps again with those that were added, and without those that are wanted no more."""
        if not self._maps:
            return
        began = time.monotonic()
        self.check()
        new = pa.Table.from_pylist(self._maps, MAP_SCHEMA)
        write_table(pa.concat_tables([self._saved(), new]).sort_by(_ORDER), self.folder / "maps" / SAVED)
        self._maps, self._written_at = [], time.monotonic()
        self._wrote_s = self._written_at - began

    def _saved(self) -> pa.Table:
        path = self.folder / "maps" / SAVED
        if not path.exists():
            return MAP_SCHEMA.empty_table()
        table, added = read_maps(path), set(map(_key, self._maps))
        kept = [
            self.wanted.get(key) == quadrant and key not in added
            for key, quadrant in zip(keys_of(table), table["quadrant"].to_pylist(), strict=True)
        ]
        return table.filter(pa.array(kept, pa.bool_()))


def _key(saved: Json) -> MapKey:
    return saved["id"], saved["head"]


def keys_of(table: pa.Table) -> list[MapKey]:
    """List the keys of the rows of a table."""
    return list(zip(table["id"].to_pylist(), table["head"].to_pylist(), strict=True))
