"""A run folder: parts that are whole or absent, a list of the parts that count, a lock, and resume by id.

run.json                    what was asked, by what, and which parts count
samples/part-<key>.parquet  rows; closed at 256 rows or 30 s
maps/part-<key>.parquet     candidates for the saved maps, until the run is complete
maps/maps.parquet           the saved maps
summary.json                written last
lock                        held by the process that writes
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from rate.engine.files import is_temporary, write_atomically, write_json
from rate.engine.judge import Verdict
from rate.engine.rows import MAP_SCHEMA, SCHEMA, map_from_verdict, row_from_error, row_from_verdict
from rate.errors import RunError
from rate.types import Json, Sample

PART_ROWS = 256
PART_SECONDS = 30.0
RUN_SCHEMA_ID = "rate.run/1"


@dataclass(slots=True)
class Work:
    """What a session has done so far; added up over the sessions of a run."""

    forwards: int = 0  # rows of samples
    used: int = 0  # of those, rows that a verdict was taken from
    rows: int = 0  # rows computed, padding included
    seconds: float = 0.0
    waiting_s: float = 0.0  # the device had no image
    samples: int = 0

    def to_json(self) -> Json:
        """All fields."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True)
class RunStore:
    """The writer of a run folder. Use as a context manager: it holds the lock and closes the last part."""

    folder: Path
    key: str
    about: Json  # the rest of run.json, written as it is
    keep_maps: int | None  # per head and quadrant; None = all
    work: Work = field(default_factory=Work)
    done: frozenset[str] = frozenset()  # ids that are stored
    _run: Json = field(default_factory=dict)
    _rows: list[Json] = field(default_factory=list)
    _maps: list[Json] = field(default_factory=list)
    _opened_part: float = 0.0
    _lock: IO[str] | None = None

    def __enter__(self) -> RunStore:
        """Make or reopen the folder.

        Raises:
            RunError: it belongs to a run with another key, another process writes to it, or it is something else.
        """
        self._refuse_foreign()
        (self.folder / "samples").mkdir(parents=True, exist_ok=True)
        (self.folder / "maps").mkdir(exist_ok=True)
        self._lock = _locked(self.folder / "lock")
        try:
            self._run = self._resumed() if (self.folder / "run.json").exists() else self._fresh()
            self.done = frozenset(_ids(self.folder, self._run))
            self._drop_unlisted()
        except BaseException:
            self._lock.close()
            raise
        self._run["sessions"].append(self.work.to_json())
        self._run |= {"status": "running"}
        self._opened_part = time.monotonic()
        self._write_run()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is not None:  # finish() was not reached; keep what is settled
                self._close_part()
                self._run["status"] = "partial" if not issubclass(kind, Exception) else "failed"
                self._write_run()
        finally:
            if self._lock is not None:
                self._lock.close()

    def add(self, verdicts: Iterable[Verdict]) -> None:
        """Store the verdicts of all heads on one sample: all of them or, interrupted, none."""
        verdicts = list(verdicts)
        maps = [] if self.keep_maps == 0 else [map_from_verdict(verdict) for verdict in verdicts]
        rows = [row_from_verdict(verdict) for verdict in verdicts]
        self._maps += maps  # first: a map without its row is the map of a sample that will be evaluated again
        self._rows += rows
        self._maybe_close_part()

    def add_error(self, sample: Sample, heads: Iterable[str], error: str) -> None:
        """Store why a sample has no verdict, once a head."""
        self._rows += [row_from_error(sample, head, error) for head in heads]
        self._maybe_close_part()

    def finish(self, status: str) -> Json:
        """Close the last part, settle the maps, and return run.json as it now is."""
        self._close_part()
        self._select_maps()
        self._run |= {"status": status, "finished": _now()}
        self._write_run()
        return self._run

    def _maybe_close_part(self) -> None:
        if len(self._rows) >= PART_ROWS or time.monotonic() - self._opened_part >= PART_SECONDS:
            self._close_part()

    def _close_part(self) -> None:
        self._run["sessions"][-1] = self.work.to_json()
        if self._rows:
            ids = sorted({row["id"] for row in self._rows})
            name = f"part-{hashlib.sha256(json.dumps([self.key, ids]).encode()).hexdigest()[:16]}.parquet"
            if self._maps:
                # Maps first: once the part is listed, its samples are never looked at again.
                kept = _lowest_ranks(pa.Table.from_pylist(self._maps, MAP_SCHEMA), self.keep_maps)
                write_atomically(self.folder / "maps" / name, lambda path: pq.write_table(kept, path))
            table = pa.Table.from_pylist(self._rows, SCHEMA)
            write_atomically(self.folder / "samples" / name, lambda path: pq.write_table(table, path))
            part = {"name": name, "rows": len(self._rows)}
            if part not in self._run["parts"]:  # an interrupt may have come just after it was listed
                self._run["parts"].append(part)
            self._rows, self._maps = [], []
        self._write_run()
        self._opened_part = time.monotonic()

    def _select_maps(self) -> None:
        """Bring the candidates of all parts down to the lowest ranks; running it twice changes nothing."""
        listed = {part["name"] for part in self._run["parts"]}
        final = self.folder / "maps" / "maps.parquet"
        candidates = [path for path in sorted(final.parent.glob("part-*.parquet")) if path.name in listed]
        if candidates:
            sources = candidates + ([final] if final.exists() else [])
            merged = pa.concat_tables([pq.read_table(path, schema=MAP_SCHEMA) for path in sources])
            kept = _lowest_ranks(merged, self.keep_maps)
            write_atomically(final, lambda path: pq.write_table(kept, path))
        for path in final.parent.glob("part-*.parquet"):
            path.unlink()

    def _write_run(self) -> None:
        write_json(self.folder / "run.json", self._run)

    def _fresh(self) -> Json:
        return (
            {"schema": RUN_SCHEMA_ID, "status": "running", "key": self.key}
            | self.about
            | {
                "started": _now(),
                "finished": None,
                "sessions": [],
                "parts": [],
            }
        )

    def _resumed(self) -> Json:
        run = read_run(self.folder)
        if run["key"] != self.key:
            raise RunError(_other_key(self.folder, run, self.about))
        # Versions and machine are those of the latest session; parts and start are the run's.
        return run | self.about

    def _drop_unlisted(self) -> None:
        """A part that was written but not listed before a crash is computed again; it must not lie about meanwhile."""
        listed = {part["name"] for part in self._run["parts"]}
        for path in (*(self.folder / "samples").iterdir(), *(self.folder / "maps").glob("*part-*")):
            if path.name not in listed:
                path.unlink()
        for path in (*self.folder.iterdir(), *(self.folder / "maps").iterdir()):
            if is_temporary(path.name):  # of a process that was killed while it wrote
                path.unlink()

    def _refuse_foreign(self) -> None:
        if self.folder.is_dir() and any(self.folder.iterdir()) and not (self.folder / "run.json").exists():
            inside = sorted(path.name for path in self.folder.iterdir())
            foreign = [name for name in inside if name not in ("samples", "maps", "lock") and not is_temporary(name)]
            if foreign:
                raise RunError(f"{self.folder} is not a run folder (it holds {foreign[0]!r}); choose another --out")
        if self.folder.exists() and not self.folder.is_dir():
            raise RunError(f"{self.folder} is a file, a run is a folder; choose another --out")


def read_run(folder: Path) -> Json:
    """run.json of a run folder.

    Raises:
        RunError: there is none, or it is not one of ours.
    """
    path = folder / "run.json"
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(
            f"{folder} is not a run folder: it has no run.json; `rate eval --out {folder}` makes one"
        ) from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read ({error}); expected a JSON file with schema {RUN_SCHEMA_ID}") from error
    if not isinstance(run, dict) or run.get("schema") != RUN_SCHEMA_ID:
        raise RunError(f"{path} does not have schema {RUN_SCHEMA_ID}; it was written by another version or tool")
    return run


def read_rows(folder: Path, run: Json, columns: list[str] | None = None) -> pa.Table:
    """Rows of the listed parts, never of a glob.

    Raises:
        RunError: a listed part is missing or damaged.
    """
    tables = [SCHEMA.empty_table() if columns is None else SCHEMA.empty_table().select(columns)]
    for part in run["parts"]:
        path = folder / "samples" / part["name"]
        try:
            table = pq.read_table(path, columns=columns)
        except (OSError, pa.ArrowException) as error:
            raise RunError(f"{path} is listed in run.json and cannot be read ({error})") from error
        if len(table) != part["rows"]:
            raise RunError(f"{path} holds {len(table)} rows, run.json says {part['rows']}: the part was changed")
        tables.append(table)
    return pa.concat_tables(tables)


def _ids(folder: Path, run: Json) -> list[str]:
    return [str(value) for value in read_rows(folder, run, ["id"]).column("id").to_pylist()]


def _lowest_ranks(table: pa.Table, keep: int | None) -> pa.Table:
    """At most ``keep`` maps of each head and quadrant, those with the lowest ranks: no order of arrival matters."""
    ordered = table.sort_by(
        [("head", "ascending"), ("quadrant", "ascending"), ("rank", "ascending"), ("id", "ascending")]
    )
    seen: dict[tuple[str, str], int] = {}
    known: set[tuple[str, str]] = set()
    rows = []
    columns = (ordered.column(name).to_pylist() for name in ("head", "quadrant", "id"))
    for i, (head, quadrant, sample) in enumerate(zip(*columns, strict=True)):
        count = seen.get((head, quadrant), 0)
        if (head, sample) not in known and (keep is None or count < keep):
            seen[head, quadrant] = count + 1
            known.add((head, sample))
            rows.append(i)
    return ordered.take(rows)


def _locked(path: Path) -> IO[str]:
    """The open lock file; the system lets go of it when the process ends, however it ends."""
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise RunError(
            f"{path.parent} is being written by another process; wait for it, or choose another --out"
        ) from None
    return file


def _other_key(folder: Path, run: Json, about: Json) -> str:
    differing = [
        f"{section}.{name}: {run.get(section, {}).get(name)!r} there, {value!r} now"
        for section in ("measurement", "identity")
        for name, value in about[section].items()
        if run.get(section, {}).get(name) != value
    ]
    return (
        f"{folder} holds a run with other settings ({'; '.join(differing) or 'another version'}); choose another --out"
    )


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
