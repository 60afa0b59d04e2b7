"""The maps that are drawn beside verdicts by swaps, after the evaluation: the saved maps of such a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import pyarrow as pa

from rate.errors import StorageError
from rate.runs.folder import SAVED
from rate.runs.maps import read_maps
from rate.runs.rows import MAP_SCHEMA
from rate.runs.tables import write_table
from rate.runs.wanted_maps import MapKey
from rate.types import Json

WRITE_SECONDS = 30.0
"""The shortest time between two writes of the maps; a killed process loses the maps since the last one."""

_SHARE_OF_TIME = 0.05
"""The most of the time that writing may take: every write is of all maps."""


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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(*(() if kind is None else (StorageError,))):  # the first error is being raised
            self._write()

    def missing(self) -> set[str]:
        """Return the ids of the samples that lack a map.

        Raises:
            RunError: the file of maps is damaged.
        """
        return {identifier for identifier, _ in set(self.wanted).difference(_keys(self._saved()))}

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
        order = [(name, "ascending") for name in ("head", "quadrant", "rank", "id")]
        write_table(pa.concat_tables([self._saved(), new]).sort_by(order), self.folder / "maps" / SAVED)
        self._maps, self._written_at = [], time.monotonic()
        self._wrote_s = self._written_at - began

    def _saved(self) -> pa.Table:
        """Read the saved maps that are wanted."""
        path = self.folder / "maps" / SAVED
        if not path.exists():
            return MAP_SCHEMA.empty_table()
        table, added = read_maps(path), set(map(_key, self._maps))
        kept = [
            self.wanted.get(key) == quadrant and key not in added
            for key, quadrant in zip(_keys(table), table["quadrant"].to_pylist(), strict=True)
        ]
        return table.filter(pa.array(kept, pa.bool_()))


def _key(saved: Json) -> MapKey:
    return saved["id"], saved["head"]


def _keys(table: pa.Table) -> list[MapKey]:
    return list(zip(table["id"].to_pylist(), table["head"].to_pylist(), strict=True))
