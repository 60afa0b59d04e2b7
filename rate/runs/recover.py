"""The recovery of a run's parts if the list is lost, or if damaged parts are to be evaluated again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from rate.data.digests import IdSet, fingerprint
from rate.errors import RunError
from rate.runs.folder import SAVED, part_name
from rate.runs.maps import MapKey, is_damaged, keys_of, read_maps, wanted_maps
from rate.runs.part_list import ListedPart
from rate.runs.parts import (
    CURE,
    KEY,
    DamagedTableError,
    about_of,
    entry,
    fault_of,
    read_part,
    read_table,
    write_part,
    write_table,
)
from rate.runs.rows import SCHEMA


@dataclass(slots=True)
class Recovery:
    """Recovers parts from the disk for the run of one key."""

    folder: Path
    key: str
    heads: list[str]

    def whole_parts(self, names: Iterable[str], known: IdSet, *, strict: bool = False) -> list[ListedPart]:
        """Make entries of the list for the named parts that are whole and hold no sample that another or ``known`` has.

        Args:
            names: the names of files in ``samples/``.
            known: the ids that are stored already.
            strict: whether to refuse a part that is not whole, because no other file describes it.

        Raises:
            RunError: a part belongs to a run with another key, or is not whole and ``strict``.
        """
        taken: set[int] = set()
        parts = []
        for name in names:
            path = self.folder / "samples" / name
            try:
                table = read_table(path, SCHEMA)
                fault = fault_of(table, name, self.key, self.heads)
            except DamagedTableError as error:
                fault = str(error)
            else:
                # The name digests key and ids, too: of a part with our name and another key the metadata is damaged.
                is_named_by_us = part_name(self.key, table["id"].to_pylist()) == name
                if about_of(table, KEY) not in (None, self.key) and not is_named_by_us:
                    raise RunError(
                        f"{path} {fault}: the settings, the data or the backend were others; move it away, or choose "
                        "another --out"
                    )
            if fault is not None:
                if strict:
                    raise RunError(f"{self.folder} has lost its run.json, and {path} {fault}; {CURE}")
                continue
            ids = table["id"].to_pylist()
            digests = set(map(fingerprint, ids))
            if taken.isdisjoint(digests) and not any(one in known for one in ids):
                taken |= digests
                parts.append(entry(name, table))
        return parts

    def mended(self, parts: Iterable[ListedPart], keep_maps: int | None) -> list[ListedPart]:
        """Return the parts without failed samples and samples whose saved maps are damaged or missing.

        A part that loses some of its rows is written again under another name. No file is removed here; files are
        removed once they are listed no more.
        """
        parts = list(parts)
        lost = {identifier for identifier, _ in self._lost_maps(parts, keep_maps)}
        left = []
        for part in parts:
            table = read_part(self.folder, part)
            ids = [one for one in table["id"].to_pylist() if one in lost]
            again = pa.array(table.filter(pc.is_valid(table["error"]))["id"].to_pylist() + ids, pa.string())
            good = table.filter(pc.invert(pc.is_in(table["id"], again)))
            if len(good) == len(table):
                left.append(part)
            elif len(good):
                left.append(self._rewritten(part, good))
        return left

    def _lost_maps(self, parts: list[ListedPart], keep: int | None) -> set[MapKey]:
        """Return the maps that the run should have of the rows of ``parts`` and lacks."""
        lost = set(wanted_maps(self.folder, parts, keep))
        return lost.difference(*(self._maps_in(name) for name in (SAVED, *(part.name for part in parts))))

    def _maps_in(self, name: str) -> set[MapKey]:
        path = self.folder / "maps" / name
        return set() if not path.exists() or is_damaged(path) else set(keys_of(read_maps(path)))

    def _rewritten(self, part: ListedPart, rows: pa.Table) -> ListedPart:
        name = part_name(self.key, rows["id"].to_pylist())
        if self._maps_in(part.name):
            write_table(read_maps(self.folder / "maps" / part.name), self.folder / "maps" / name)
        return write_part(self.folder, self.key, rows)
