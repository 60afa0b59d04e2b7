"""Parts of a run: files that are whole or absent, written by whoever evaluates, listed by whoever owns the run."""

from __future__ import annotations

import hashlib
import heapq
import json
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rate.data.digests import fingerprint
from rate.engine.verdict import Verdict
from rate.errors import RunError
from rate.files import write_atomically
from rate.runs.rows import MAP_SCHEMA, SCHEMA, map_from_verdict, quadrant, row_from_error, row_from_verdict
from rate.types import Json, Sample

PART_ROWS = 256
PART_SECONDS = 30.0
_CURE = "`rate eval --repair` evaluates its samples again"


@dataclass(slots=True)
class PartWriter:
    """Gathers rows and maps, and writes them as one part."""

    folder: Path
    key: str  # of the run
    keep_maps: int | None  # per head and quadrant; None = all
    _rows: list[Json] = field(default_factory=list)
    _maps: list[Json] = field(default_factory=list)
    _opened: float = field(default_factory=time.monotonic)
    _lowest: dict[tuple[str, str], list[int]] = field(default_factory=dict)  # heaps of minus the ranks kept so far

    @property
    def is_due(self) -> bool:
        """Whether it holds as many rows as a part has, or has held some for as long as may be lost."""
        return len(self._rows) >= PART_ROWS or time.monotonic() - self._opened >= PART_SECONDS

    def add(self, verdicts: Iterable[Verdict]) -> None:
        """Take the verdicts of all heads on one sample: all of them or, interrupted, none."""
        verdicts = list(verdicts)
        maps = [map_from_verdict(verdict) for verdict in verdicts if self._is_kept(verdict)]
        rows = [row_from_verdict(verdict) for verdict in verdicts]
        self._maps += maps  # first: a map without its row is the map of a sample that will be evaluated again
        self._rows += rows

    def _is_kept(self, verdict: Verdict) -> bool:
        """Whether its map may be one of those that the run keeps; most of a large set are not, as is soon known."""
        if not self.keep_maps:
            return self.keep_maps is None
        lowest = self._lowest.setdefault((verdict.prediction.head, quadrant(verdict)), [])
        minus = -fingerprint(verdict.sample.id)
        if len(lowest) < self.keep_maps:
            heapq.heappush(lowest, minus)
            return True
        return heapq.heappushpop(lowest, minus) != minus

    def add_error(self, sample: Sample, heads: Iterable[str], error: str) -> None:
        """Take why a sample has no verdict, once a head."""
        self._rows += [row_from_error(sample, head, error) for head in heads]

    def write(self) -> Json | None:
        """Write what was gathered; what run.json says of the part, or None where there is nothing.

        It still holds its rows: `clear` lets go of them, once the part is listed.
        """
        self._opened = time.monotonic()
        if not self._rows:
            return None
        name = part_name(self.key, {row["id"] for row in self._rows})
        if self._maps:
            # Maps first: once the part is listed, its samples are never looked at again.
            kept = lowest_ranks(pa.Table.from_pylist(self._maps, MAP_SCHEMA), self.keep_maps)
            write_table(kept, self.folder / "maps" / name)
        write_table(pa.Table.from_pylist(self._rows, SCHEMA), self.folder / "samples" / name)
        return {"name": name, "rows": len(self._rows)}

    def clear(self) -> None:
        """Let go of the rows and maps of the part."""
        self._rows, self._maps = [], []


def part_name(key: str, ids: Iterable[str]) -> str:
    """The name that a part with these samples has in the run of that key: the same content, the same name."""
    return f"part-{hashlib.sha256(json.dumps([key, sorted(ids)]).encode()).hexdigest()[:16]}.parquet"


def is_part_name(name: str) -> bool:
    """Whether `part_name` can have made it."""
    return re.fullmatch(r"part-[0-9a-f]{16}\.parquet", name) is not None


def write_table(table: pa.Table, path: Path) -> None:
    """Write a Parquet file whose pages carry checksums, whole or not at all.

    Raises:
        StorageError: it cannot be written.
    """
    write_atomically(path, lambda file: pq.write_table(table, file, write_page_checksum=True))


def read_part(folder: Path, part: Json, columns: list[str] | None = None) -> pa.Table:
    """Rows of a listed part.

    Raises:
        RunError: it is missing or damaged.
    """
    path = folder / "samples" / part["name"]
    try:
        table = pq.read_table(path, columns=columns, page_checksum_verification=True)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise RunError(f"{path} is listed in run.json and cannot be read ({error}); {_CURE}") from error
    if len(table) != part["rows"]:
        raise RunError(f"{path} holds {len(table)} rows, run.json says {part['rows']}: the part was changed; {_CURE}")
    for name in SCHEMA.names if columns is None else columns:
        own = SCHEMA.field(name)
        if name not in table.schema.names or table.schema.field(name).type != own.type:
            raise RunError(f"{path} has no column {name} of {own.type}: the part was changed; {_CURE}")
        if name in ("id", "head") and table[name].null_count:
            raise RunError(f"{path} has rows without {name}: the part was changed; {_CURE}")
    return table


def check_name(folder: Path, part: Json, ids: Iterable[str], key: str) -> None:
    """The name of a part is a digest of the run's key and its samples: one with other samples is found out.

    Raises:
        RunError: it holds others.
    """
    if part["name"] != part_name(key, set(ids)):
        path = folder / "samples" / part["name"]
        raise RunError(f"{path} holds other samples than its name says: the part was changed; {_CURE}")


def iter_parts(folder: Path, run: Json, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """Rows of the listed parts, one part after the other, never of a glob.

    Raises:
        RunError: a listed part is missing or damaged.
    """
    for part in run["parts"]:
        yield read_part(folder, part, columns)


def read_rows(folder: Path, run: Json, columns: list[str] | None = None) -> pa.Table:
    """All rows of the listed parts.

    Raises:
        RunError: a listed part is missing or damaged.
    """
    empty = SCHEMA.empty_table() if columns is None else SCHEMA.empty_table().select(columns)
    return pa.concat_tables([empty, *iter_parts(folder, run, columns)])


def select_maps(folder: Path, parts: Iterable[str], keep: int | None) -> None:
    """Bring the maps of the named parts down to the lowest ranks, in one file; running it twice changes nothing."""
    listed = frozenset(parts)
    final = folder / "maps" / "maps.parquet"
    candidates = [path for path in sorted(final.parent.iterdir()) if path.name in listed]
    if candidates:
        # One after the other: all of them together would grow with the run.
        kept = read_maps(final) if final.exists() else MAP_SCHEMA.empty_table()
        for path in candidates:
            kept = lowest_ranks(pa.concat_tables([kept, read_maps(path)]), keep)
        write_table(kept, final)
    for path in final.parent.iterdir():
        if is_part_name(path.name):
            path.unlink(missing_ok=True)


def read_maps(path: Path) -> pa.Table:
    """The maps in a file.

    Raises:
        RunError: it is damaged.
    """
    try:
        return pq.read_table(path, schema=MAP_SCHEMA, page_checksum_verification=True)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise RunError(f"{path} cannot be read ({error}); delete it to go on without its saved maps") from error


def lowest_ranks(table: pa.Table, keep: int | None) -> pa.Table:
    """At most ``keep`` maps of each head and quadrant, those with the lowest ranks: no order of arrival matters."""
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


def contents_of(folder: Path, run: Json) -> Iterator[tuple[str, bytes | None]]:
    """The id of every sample that the listed parts hold, and the digest of the files that it was computed from.

    Raises:
        RunError: a listed part is missing or damaged.
    """
    for part in run["parts"]:
        table = read_part(folder, part, ["id", "content"])
        ids = table["id"].to_pylist()
        check_name(folder, part, ids, run["key"])
        yield from dict(zip(ids, table["content"].to_pylist(), strict=True)).items()


def ids_of(folder: Path, run: Json) -> Iterator[str]:
    """The id of every sample that the listed parts hold, once a head.

    Raises:
        RunError: a listed part is missing or damaged.
    """
    for part in run["parts"]:
        ids = pc.unique(read_part(folder, part, ["id"])["id"]).to_pylist()
        check_name(folder, part, ids, run["key"])
        yield from ids
