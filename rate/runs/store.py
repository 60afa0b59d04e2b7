"""A run folder: parts that are whole or absent, a list of the parts that count, a lock, and resume by id.

run.json                    what was asked, by what, and which parts count
samples/part-<key>.parquet  rows; closed at 256 rows or 30 s
maps/part-<key>.parquet     candidates for the saved maps, until the run is complete
maps/maps.parquet           the saved maps
summary.json                written last
lock                        held by the process that owns the run
"""

from __future__ import annotations

import calendar
import contextlib
import errno
import fcntl
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO

from rate.artifacts.documents import disagreement, read_json
from rate.data.digests import ContentTable
from rate.engine.verdict import Verdict
from rate.errors import RunError, StorageError
from rate.files import is_temporary, remove_leftovers, write_json
from rate.runs.parts import PartWriter, contents_of, is_part_name, select_maps
from rate.runs.repair import mended
from rate.runs.run_schema import NEEDED, RUN_SCHEMA_ID
from rate.types import Json, Sample

LOCK_ATTEMPTS = 5
_TIME = "%Y-%m-%dT%H:%M:%SZ"


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
    """The owner of a run folder. Use as a context manager: it holds the lock and closes the last part."""

    folder: Path
    key: str
    about: Json  # the rest of run.json, written as it is
    keep_maps: int | None  # per head and quadrant; None = all
    repair: bool = False  # what is damaged, missing or failed is to be evaluated again
    work: Work = field(default_factory=Work)
    done: ContentTable = field(default_factory=ContentTable)  # samples that earlier sessions stored
    _run: Json = field(default_factory=dict)
    _writer: PartWriter = field(init=False, repr=False)
    _lock: IO[str] | None = None

    def __enter__(self) -> RunStore:
        """Make or reopen the folder.

        Raises:
            RunError: it belongs to a run with another key, another process writes to it, it is something else, or it
                cannot be written to.
        """
        self._refuse_foreign()
        try:
            (self.folder / "samples").mkdir(parents=True, exist_ok=True)
            (self.folder / "maps").mkdir(exist_ok=True)
            self._lock = _locked(self.folder / "lock")
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageError(f"{self.folder} cannot be made: {error.strerror}; make room, then go on") from error
            raise RunError(f"{self.folder} cannot be written to ({error.strerror}); choose another --out") from error
        try:
            self._run = self._resumed() if (self.folder / "run.json").exists() else self._fresh()
            if self.repair:
                self._run["parts"] = mended(self.folder, self._run, self.key)
            self.done = ContentTable(contents_of(self.folder, self._run))
            self._run["sessions"].append(self.work.to_json())
            self._run |= {"status": "running"}
            self._writer = PartWriter(self.folder, self.key, self.keep_maps)
            self._write_run()
            self._drop_unlisted()
        except BaseException:
            self._lock.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is not None:  # finish() was not reached; keep what is settled
                self._run["status"] = "partial" if not issubclass(kind, Exception) else "failed"
                with contextlib.suppress(StorageError):  # the first one is on its way
                    self._close_part()
        finally:
            if self._lock is not None:
                self._lock.close()

    @property
    def stored(self) -> int:
        """Samples in the listed parts."""
        rows: int = sum(part["rows"] for part in self._run["parts"])
        return rows // len(self._run["heads"])

    @property
    def started_ns(self) -> int:
        """When the run began, in nanoseconds since 1970; 0 where its run.json does not say it."""
        try:
            return calendar.timegm(time.strptime(self._run.get("started", ""), _TIME)) * 10**9
        except (TypeError, ValueError):
            return 0

    def add(self, verdicts: Iterable[Verdict]) -> None:
        """Store the verdicts of all heads on one sample: all of them or, interrupted, none.

        Raises:
            StorageError: a part was due and could not be written.
        """
        self._writer.add(verdicts)
        self._close_due_part()

    def add_error(self, sample: Sample, heads: Iterable[str], error: str) -> None:
        """Store why a sample has no verdict, once a head.

        Raises:
            StorageError: a part was due and could not be written.
        """
        self._writer.add_error(sample, heads, error)
        self._close_due_part()

    def list_part(self, part: Json) -> None:
        """Let a part count that somebody else has written into this folder under this key."""
        self._run["sessions"][-1] = self.work.to_json()
        if part not in self._run["parts"]:  # an interrupt may have come just after it was listed
            self._run["parts"].append(part)
        self._write_run()

    def finish(self, available: int) -> Json:
        """Close the last part, settle the maps, and return run.json as it now is: complete if it has all samples."""
        self._close_part()
        select_maps(self.folder, (part["name"] for part in self._run["parts"]), self.keep_maps)
        status = "complete" if self.stored == available else "partial"
        self._run |= {"status": status, "finished": _now()}
        self._write_run()
        return self._run

    def _close_due_part(self) -> None:
        if self._writer.is_due:
            self._close_part()

    def _close_part(self) -> None:
        if part := self._writer.write():
            self.list_part(part)
            self._writer.clear()
        else:
            self._run["sessions"][-1] = self.work.to_json()
            self._write_run()

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
        """Delete parts that were written but not listed before a crash, which are computed again, and nothing else."""
        listed = {part["name"] for part in self._run["parts"]}
        for folder in (self.folder / "samples", self.folder / "maps"):
            if folder.is_symlink():  # what it leads to is not this run's alone
                continue
            for path in folder.iterdir():
                if is_part_name(path.name) and path.name not in listed:
                    path.unlink(missing_ok=True)  # a worker whose owner was killed may be taking it away itself
            remove_leftovers(folder)
        remove_leftovers(self.folder)

    def _refuse_foreign(self) -> None:
        """Refuse a folder that holds more than the owner of a run makes before run.json, which marks it as ours."""
        if not self.folder.exists() or (self.folder / "run.json").exists():
            return
        if not self.folder.is_dir():
            raise RunError(f"{self.folder} is a file, a run is a folder; choose another --out")
        foreign = sorted(path.name for path in self.folder.iterdir() if not _comes_before_run_json(path))
        if foreign:
            raise RunError(
                f"{self.folder} is not empty and has no run.json (it holds {foreign[0]!r}), so nothing is written to "
                "it; choose another --out"
            )


def _comes_before_run_json(path: Path) -> bool:
    if path.is_symlink():
        return False
    if path.name in ("samples", "maps"):
        return path.is_dir() and all(is_temporary(inside.name) for inside in path.iterdir())
    return is_temporary(path.name) or (path.name == "lock" and path.is_file() and not path.stat().st_size)


def read_run(folder: Path) -> Json:
    """run.json of a run folder.

    Raises:
        RunError: there is none, or it is not one of ours.
    """
    path = folder / "run.json"
    try:
        run = read_json(path)
    except FileNotFoundError:
        if inside := sorted(one.parent.name for one in folder.glob("*/run.json")):
            raise RunError(f"{folder} is not a run, it holds runs; name one, such as {folder / inside[0]}") from None
        raise RunError(
            f"{folder} is not a run folder: it has no run.json; `rate eval --out {folder}` makes one"
        ) from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read ({error}); expected a JSON file with schema {RUN_SCHEMA_ID}") from error
    if not isinstance(run, dict) or run.get("schema") != RUN_SCHEMA_ID:
        raise RunError(f"{path} does not have schema {RUN_SCHEMA_ID}; it was written by another version or tool")
    if wrong := disagreement(run, NEEDED):
        raise RunError(f"{path} is malformed: {wrong}; it was changed, or written by another version")
    return run


def _locked(path: Path) -> IO[str]:
    """The open lock file; the system lets go of it when the process ends, however it ends."""
    file = path.open("a+")
    for attempt in range(LOCK_ATTEMPTS):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05 if attempt + 1 < LOCK_ATTEMPTS else 0.0)  # `rate status` holds it for a moment
        else:
            return file
    file.close()
    raise RunError(f"{path.parent} is being written by another process; wait for it, or choose another --out")


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
    return time.strftime(_TIME, time.gmtime())
