"""A run folder: parts that are written all or nothing, a list of the parts that count, a lock, and resume by id.

run.json                    what was asked, by what, and how it ended; written when a session begins and ends
parts.jsonl                 which parts count; a line is appended for every part
samples/part-<key>.parquet  rows; closed at 256 rows or 30 s, and sorted at the end
maps/part-<key>.parquet     candidates for the saved maps, until the run is complete
maps/maps.parquet           the saved maps; beside swaps they are drawn after the rows, and written as they come
summary.json                written last
lock                        held by the process that owns the run
"""

from __future__ import annotations

import calendar
import contextlib
import errno
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from msgspec import structs

from rate.data.digests import ContentTable
from rate.errors import RunError, StorageError
from rate.records import record
from rate.runs.folder import LIST, SAVED, FolderLock, drop_unlisted, part_files, part_name, refuse_foreign
from rate.runs.maps import DrawnMaps, is_damaged, lowest_ranks, select_maps, wanted_maps
from rate.runs.order import groups_of
from rate.runs.part_list import ListedPart, PartLog, read_list
from rate.runs.parts import PART_ROWS, PART_SECONDS, contents_of, iter_parts, read_part, write_part, write_table
from rate.runs.recover import Recovery
from rate.runs.remote import publish
from rate.runs.rows import MAP_SCHEMA, SCHEMA, Records, RunStats
from rate.runs.run_document import RunDocument, differing, is_unreadable, located, read_run, write_run
from rate.runs.sort_parts import SORTED_ROWS, write_in_order
from rate.types import Json, Sample

_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(slots=True)
class RunStore:
    """The owner of a run folder. As a context manager it holds the lock and closes the last part."""

    folder: Path
    key: str
    about: Json  # rest of run.json, written unchanged
    keep_maps: int | None  # of verdicts by maps, per head and quadrant; None = all
    repair: bool = False  # evaluate damaged, missing and failed samples again
    part_rows: int = PART_ROWS  # a part is closed at so many rows,
    part_seconds: float = PART_SECONDS  # or so long after the one before it
    sorted_rows: int = SORTED_ROWS  # mean of the parts of a finished run
    samples: Iterable[Sample] = ()  # of the set; a refusal names those that are no longer what was evaluated
    stats: RunStats = field(default_factory=RunStats)  # of this session
    done: ContentTable = field(default_factory=ContentTable)  # samples of earlier sessions
    failed: int = 0  # number of those without a verdict
    _run: RunDocument = field(init=False, repr=False)
    _log: PartLog = field(init=False, repr=False)
    _lock: FolderLock = field(init=False, repr=False)
    _rows: list[Json] = field(default_factory=list, repr=False)  # of the next part
    _maps: list[Json] = field(default_factory=list, repr=False)
    _opened: float = field(init=False, repr=False)

    def __enter__(self) -> RunStore:
        """Make or reopen the folder.

        Raises:
            RunError: it belongs to a run with another key, another process writes to it, it is something else, or it
                cannot be written to.
        """
        refuse_foreign(self.folder)
        try:
            (self.folder / "samples").mkdir(parents=True, exist_ok=True)
            (self.folder / "maps").mkdir(exist_ok=True)
            self._lock = FolderLock(self.folder)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageError(f"{self.folder} cannot be made: {error.strerror}; make room, then go on") from error
            raise RunError(f"{self.folder} cannot be written to ({error.strerror}); choose another --out") from error
        try:
            self._reopen()
            self.failed = self._count("errors")
            self._change(status="running", sessions=(*self._run.sessions, self.stats))
            self._opened = time.monotonic()
            self._write_lists()
            self._drop_unlisted()
            publish(self.folder)
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        try:
            if kind is not None and self._run.status == "running":  # finish() was not reached; settled rows are kept
                self._change(status="partial" if not issubclass(kind, Exception) else "failed")
                with contextlib.suppress(StorageError):  # the first error is being raised
                    self._close_part()
                    self._change(rows=sum(part.rows for part in self._log.parts))
                    self._write_run()
        finally:
            self._lock.release()

    @property
    def stored(self) -> int:
        """The number of samples in the listed parts."""
        return self._count("rows")

    @property
    def started_ns(self) -> int:
        """The start of the run, in nanoseconds since 1970; 0 if its run.json lacks it."""
        try:
            return calendar.timegm(time.strptime(self._run.started or "", _TIME)) * 10**9
        except ValueError:
            return 0

    def add(self, done: Records, seconds: float) -> None:
        """Store finished samples.

        Args:
            done: the samples, with the statistics of their computation.
            seconds: the duration of the session so far.

        Raises:
            StorageError: a part was due and could not be written.
        """
        self.stats = replace(self.stats + done.stats, seconds=seconds)
        for one in done.records:
            self._maps += one.maps  # maps first: a map without its row belongs to a sample that is evaluated again
            self._rows += one.rows
            if len(self._rows) >= self.part_rows or time.monotonic() - self._opened >= self.part_seconds:
                self._close_part()

    def finish(self, available: int) -> RunDocument:
        """Close the last part, select the maps, sort the parts, and return the current run.json.

        The run is ``complete`` if it has all existing samples, and ``failed`` if none of them was evaluated.
        """
        self._close_part()
        select_maps(self.folder, (part.name for part in self._log.parts), self.keep_maps)
        self._sort_parts()
        status = "complete" if self.stored == available else "partial"
        if self.stored and self._count("errors") == self.stored:
            status = "failed"
        self._change(sessions=(*self._run.sessions[:-1], self.stats))
        samples = structs.replace(self._run.samples, available=available)
        rows = sum(part.rows for part in self._log.parts)
        run = structs.replace(self._run, status=status, samples=samples, finished=_now(), rows=rows)
        write_run(self.folder, run)
        self._run = run  # not before: an interrupt while it is written leaves the run to `__exit__`
        return run

    def drawn_maps(self, keep: int | None) -> DrawnMaps:
        """Return the drawn maps of a finished run with ``keep`` per head and quadrant; None = all."""
        return DrawnMaps(self.folder, wanted_maps(self.folder, self._log.parts, keep), self._lock.check_is_here)

    def _count(self, what: str) -> int:
        rows: int = sum(getattr(part, what) for part in self._log.parts)
        return rows // len(self._run.heads)

    def _change(self, **fields: Any) -> None:
        self._run = structs.replace(self._run, **fields)

    def _close_part(self) -> None:
        """Write the collected rows and list their part; they are kept until it is listed."""
        self._lock.check_is_here()
        self._opened = time.monotonic()
        if self._rows:
            if self._maps:
                # Maps first: once the part is listed, its samples are not evaluated again.
                kept = lowest_ranks(pa.Table.from_pylist(self._maps, MAP_SCHEMA), self.keep_maps)
                write_table(kept, self.folder / "maps" / part_name(self.key, (row["id"] for row in self._rows)))
            part = write_part(self.folder, self.key, pa.Table.from_pylist(self._rows, SCHEMA))
            self._lock.check_is_here()
            self._log.append(self._of_this_session(part))
            publish(self.folder, part.name)
        self._rows, self._maps = [], []

    def _sort_parts(self) -> None:
        """Write the parts once more in order of rank, if they are not, list them instead, and delete the others.

        Until they are listed the others count, and a run that goes on from there deletes what is not listed.
        """
        parts, rows = self._log.parts, sum(part.rows for part in self._log.parts)
        if all(len(group) == 1 for group in groups_of(parts)) and len(parts) <= max(1, rows // self.sorted_rows):
            return
        tables = (read_part(self.folder, part) for part in parts)
        ordered = write_in_order(self.folder, self.key, tables, rows, self.sorted_rows)
        self._lock.check_is_here()
        self._log.replace(map(self._of_this_session, ordered))
        self._drop_unlisted()

    def _of_this_session(self, part: ListedPart) -> ListedPart:
        return structs.replace(part, session=len(self._run.sessions), stats=self.stats)

    def _write_lists(self) -> None:
        """Write run.json and the list. run.json is never there without a list, and says first that it may change."""
        if not (self.folder / LIST).exists():
            PartLog(self.folder).replace(())
        self._write_run()
        self._log.replace(self._log.parts)

    def _write_run(self) -> None:
        self._lock.check_is_here()
        self._change(sessions=(*self._run.sessions[:-1], self.stats))
        write_run(self.folder, self._run)

    def _reopen(self) -> None:
        """Determine the parts that count: the listed ones, or those on disk without a list, repaired if requested."""
        run, place = None, self.folder / "run.json"
        if place.exists() and not (self.repair and is_unreadable(place)):
            run = read_run(self.folder)
            if run.key != self.key:
                raise RunError(_other_key(self.folder, run, self.about, self.samples))
            if run.execution.get("maps") != self.about["execution"].get("maps"):
                (self.folder / "maps" / SAVED).unlink(missing_ok=True)  # drawn with other settings
        listed = () if run is None or self.repair else read_list(self.folder, run.rows)
        if run is not None and not self.repair:
            self.done = ContentTable(contents_of(self.folder, run, listed))
        self._run = self._described(run)
        recovery = Recovery(self.folder, self.key, [head.name for head in self._run.heads])
        on_disk = part_files(self.folder)
        if self.repair:
            earlier = None if run is None else run.execution
            keep = earlier.get("save_maps", self.keep_maps) if earlier and self.keep_maps != 0 else self.keep_maps
            parts = recovery.mended(recovery.whole_parts(on_disk, self.done), keep)
        else:
            unlisted = sorted(set(on_disk) - {part.name for part in listed})
            parts = [*listed, *recovery.whole_parts(unlisted, self.done, strict=run is None)]
        self._log = PartLog(self.folder, parts)
        if run is None and parts:
            self._change(started=None)  # unknown, so all files of stored rows are compared
        if self.repair or self._log.parts != listed:
            self.done = ContentTable(contents_of(self.folder, self._run, parts))

    def _described(self, before: RunDocument | None) -> RunDocument:
        """Continue run.json of earlier sessions; its description, such as the machine, is that of the latest one."""
        first = {"started": _now(), "finished": None, "sessions": ()}
        known = first if before is None else {name: getattr(before, name) for name in first}
        run = record(RunDocument, self.about | {"status": "running", "key": self.key, "rows": None} | known)
        return structs.replace(run, origin=located(run.origin, self.folder))

    def _drop_unlisted(self) -> None:
        """Delete parts that do not count, whose samples are evaluated again."""
        if self.repair and is_damaged(self.folder / "maps" / SAVED):
            (self.folder / "maps" / SAVED).unlink()
        drop_unlisted(self.folder, {part.name for part in self._log.parts})


def _other_key(folder: Path, run: RunDocument, about: Json, samples: Iterable[Sample]) -> str:
    what = differing(run, about["measurement"], about["identity"], ("there", "now"))
    moved = _moved(folder, run, samples) if run.identity.data != about["identity"]["data"] else ""
    return f"{folder} holds a run with other settings ({what}){moved}; choose another --out"


def _moved(folder: Path, run: RunDocument, samples: Iterable[Sample]) -> str:
    """Name a stored sample that was computed from another version of its remote objects than the set has now."""
    stored: dict[str, str | None] = {}
    for table in iter_parts(folder, run, ["id", "version"]):
        stored |= dict(zip(table["id"].to_pylist(), table["version"].to_pylist(), strict=True))
    moved = [one for one in samples if stored.get(one.id) not in (None, one.version)]
    if not moved:
        return ""
    first = moved[0]
    return (
        f". {len(moved)} of the {len(stored)} stored samples are of other objects than the set has now, such as "
        f"{first.id!r}: {first.image} was in the version {stored[first.id]}, and now {first.version or 'has none'}. "
        "Put back what was there to go on"
    )


def _now() -> str:
    return time.strftime(_TIME, time.gmtime())
