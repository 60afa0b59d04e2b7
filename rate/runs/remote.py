"""Runs on an S3 storage: a folder on this machine is the working copy, and the storage has a log of what counts.

    URL/log/000000001.json       what the list of parts gained, or all of it with run.json; added, never changed
    URL/samples/part-*.parquet   the parts, each there before the log names it
    URL/maps, run.json, ...      as in a run folder
    URL/fog-3/log/...            a run of a folder of runs; each has a log of its own

A storage has no locks. Every change takes the next number of the log by a put that fails where that number is taken
(If-None-Match). The command that began last owns the run: an earlier one that still runs ends at its next part.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from rate.copies import note_copy
from rate.data.storage.cache import cache_folder, use
from rate.data.storage.objects import is_s3, url_of
from rate.data.storage.remote_cache import alone
from rate.errors import CredentialsError, RunError, StorageError
from rate.files import is_temporary, write_atomically
from rate.runs.folder import GRID, LIST, FolderLock
from rate.runs.remote_objects import Known, RunObjects
from rate.types import Json

_TRIES = 3
"""A reader may meet a run whose parts are being joined."""

_RECENT_S = 90.0
"""A run that is alive stores its parts more often than that."""


def local_run(named: str | Path, rows: bool = True) -> Path:
    """Return the folder of a run, or of a folder of runs, for reading: of one at a URL a copy of its present state.

    Args:
        named: the run.
        rows: whether parts are fetched, or the list of them and run.json alone.

    Raises:
        RunError: there is no run at the URL, or it cannot be fetched.
    """
    if (url := url_of(named)) is None:
        return Path(named)
    folder = _copy_folder(url, "read")
    with alone(folder.parent / "read.lock"):
        for tries in range(_TRIES):
            try:
                if not _fetched(url, folder, rows):
                    raise RunError(f"{url} is no run: it has no log; `rate eval ... --out {url}` makes one")
                use(folder.parent)
                return folder
            except FileNotFoundError as error:
                if tries + 1 == _TRIES:
                    raise RunError(f"the run {url} is not whole: {error} is missing") from error
    raise AssertionError("the last try returns or raises")


@contextmanager
def run_for_writing(named: str | Path, runs: Sequence[str] = ()) -> Iterator[Path]:
    """Yield the folder of a run; one at a URL is owned by this process, and has all changes when the block ends.

    Args:
        named: the run.
        runs: the names of runs of a folder of runs, which is to be written.

    Raises:
        RunError: the storage cannot hold a run, or another process of this machine writes to it.
        StorageError: the storage failed.
    """
    if (url := url_of(named)) is None:
        yield Path(named)
        return
    if not is_s3(url):
        raise RunError(f"--out {url}: runs are written to folders and to S3 (s3://BUCKET/NAME); choose one of them")
    folder = _copy_folder(url, "write")
    lock = FolderLock(folder.parent)
    try:
        copies = _opened(url, folder, runs)
        use(folder.parent)
        _written.update({copy.folder: copy for copy in copies})
        try:
            yield folder
        except BaseException:
            with suppress(StorageError, RunError, CredentialsError):  # the first error is being raised
                _send(url, folder, copies)
            raise
        _send(url, folder, copies)
    finally:
        for copy in [one for one in _written if one.is_relative_to(folder)]:
            del _written[copy]
        lock.release()


def publish(folder: Path, part: str | None = None) -> None:
    """Send what has changed in the working copy of a remote run; nothing for any other folder.

    Args:
        folder: the run folder.
        part: the name of the one part that was listed since the last call, where nothing else has changed.

    Raises:
        RunError: another process has begun to write to the run.
        StorageError: the storage failed; what it holds is whole.
    """
    if (copy := _written.get(folder)) is not None:
        copy.push() if part is None else copy.push_part(part)


def written_recently(folder: Path) -> bool:
    """Tell whether a folder is a copy of a remote run that was written to when it was fetched."""
    return _ages.get(folder, _RECENT_S) < _RECENT_S


_written: dict[Path, _Copy] = {}  # copies of remote runs that this process writes to
_ages: dict[Path, float] = {}  # of copies that were fetched: seconds since the run was written to


def _copy_folder(url: str, purpose: str) -> Path:
    """Return the folder of a copy, whose name is that of the run."""
    place = cache_folder() / "runs" / hashlib.sha256(f"{purpose} {url.rstrip('/')}".encode()).hexdigest()[:16]
    folder = place / url.rstrip("/").rpartition("/")[2]
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for named in (folder, place):
        note_copy(named, url.rstrip("/"))
    return folder


def _fetched(url: str, folder: Path, rows: bool = True) -> list[_Copy]:
    """Make ``folder`` what the storage has of a run, or of a folder of runs, and return these; none = there is no run.

    Raises:
        FileNotFoundError: an object went away meanwhile.
        RunError: the storage failed, or what is there is no run.
    """
    objects = RunObjects(url)
    try:
        there = objects.list()
        divided = _runs_in(there)
        copies = [_Copy(url, folder, name) for name in divided]
        kept = {path for copy, own in zip(copies, divided.values(), strict=True) for path in copy.pull(own, rows)}
        if divided and "" not in divided and GRID in there:
            objects.fetch({GRID: folder / GRID}, there)
            kept.add(folder / GRID)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"the run {url} cannot be fetched: {type(error).__name__}: {error}") from error
    for path in _files(folder).values():
        if path not in kept and (rows or path.parent.name not in ("samples", "maps")):
            path.unlink()
    return copies


def _runs_in(there: dict[str, Known]) -> dict[str, dict[str, Known]]:
    """Divide objects by the runs of a folder of runs; of a single run, the name is empty."""
    if any(name.startswith("log/") for name in there):
        return {"": there}
    runs = {name.split("/")[0]: dict[str, Known]() for name in there if name.split("/")[1:2] == ["log"]}
    for name, known in there.items():
        run, _, inside = name.partition("/")
        if run in runs:
            runs[run][inside] = known
    return runs


def _opened(url: str, folder: Path, runs: Sequence[str]) -> list[_Copy]:
    """Fetch what is there, and return the copies of it and of the ``runs`` that are not; none are named of one run.

    Raises:
        RunError: something else is there, or the storage failed.
    """
    try:
        copies = _fetched(url, folder)
        there = {} if copies else RunObjects(url).list()
    except FileNotFoundError as error:
        raise RunError(f"the run {url} is not whole: {error} is missing") from error
    names = [copy.name for copy in copies]
    if other := next(iter(there), None) or next((name for name in names if name and not runs), None):
        raise RunError(f"{url} holds {other!r} and no run, so nothing is written there; choose another --out")
    new = [name for name in runs or [""] if name not in names]
    return copies + [_Copy(url, folder, name) for name in new]


def _send(url: str, folder: Path, copies: Sequence[_Copy]) -> None:
    """Send all changes of a run or of a folder of runs."""
    for copy in copies:
        copy.push()
    if all(copy.folder != folder for copy in copies) and (folder / GRID).exists():
        RunObjects(url).send({GRID: folder / GRID})


class _Copy:
    """A run on a storage, and its copy in a folder."""

    def __init__(self, url: str, place: Path, name: str) -> None:
        """Begin without anything in the storage.

        Args:
            url: of the run, or of the folder of runs.
            place: the folder of its copy.
            name: of a run in a folder of runs; empty = it is a single one.
        """
        self.name, self.folder = name, place / name
        self._objects = RunObjects(f"{url}/{name}" if name else url)
        self._log = place.parent / "log" / name
        self._next = 1  # number of the log
        self._listed = 0  # bytes of the list of parts that the log has
        self._sent: dict[str, list[int]] = {}  # names in the storage -> stamps of their files; empty: what has none

    def pull(self, there: dict[str, Known], rows: bool) -> set[Path]:
        """Make the folder the state that ``there`` is, with or without rows, and return its files.

        Raises:
            FileNotFoundError: an object went away meanwhile.
            OSError: the storage failed.
            RunError: a name is not that of a file of a run.
            ValueError, KeyError, TypeError: the log is none.
        """
        names = {name for name in there if not name.startswith(("log/", "samples/", "maps/part-"))} - {"run.json"}
        log = {name: self._log / name.removeprefix("log/") for name in sorted(there) if name.startswith("log/")}
        self._check({*log, *names})
        self._objects.fetch(log, there)
        entries = [json.loads(path.read_bytes()) for path in log.values()]
        lines, run = _state_after(entries)
        parts = {json.loads(line)["name"] for line in lines}
        names |= {f"samples/{part}" for part in parts} | (there.keys() & {f"maps/{part}" for part in parts})
        self._check(names)
        files = {name: self.folder / name for name in names}
        self._objects.fetch({name: path for name, path in files.items() if rows or "/" not in name}, there)
        files |= self._write(LIST, "".join(f"{line}\n" for line in lines))
        files |= {} if run is None else self._write("run.json", run)
        self._next, self._listed = len(entries) + 1, files[LIST].stat().st_size
        leftovers = {name for name in there if name.startswith(("samples/", "maps/"))} - names
        self._sent = {name: _stamp(path) for name, path in files.items() if rows} | {name: [] for name in leftovers}
        _ages[self.folder] = max(time.time() - entries[-1]["time"], 0.0)
        return {*files.values()}

    def _write(self, name: str, text: str) -> dict[str, Path]:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda file: file.write(text.encode()))
        return {name: path}

    def push(self) -> None:
        """Send parts first, then an entry of the log with all of the list, then the rest."""
        files = _files(self.folder)
        stamps = {name: _stamp(path) for name, path in files.items()}
        changed = {name: files[name] for name, stamp in stamps.items() if self._sent.get(name) != stamp}
        if not changed and stamps.keys() == self._sent.keys():
            return
        rows = {name: path for name, path in changed.items() if name.startswith(("samples/", "maps/"))}
        self._objects.send(rows)
        content = files[LIST].read_text(encoding="utf-8") if LIST in files else ""
        run = files["run.json"].read_text(encoding="utf-8") if "run.json" in files else None
        self._append({"replaces": True, "lines": content.splitlines(), "run": run}, len(content.encode()))
        self._objects.send({name: path for name, path in changed.items() if name not in rows and name != LIST})
        self._objects.remove(self._sent.keys() - stamps.keys())
        self._sent = stamps

    def push_part(self, part: str) -> None:
        """Send a part, then an entry of the log with what the list has gained; the cost does not grow with the run."""
        paths = {f"{kind}/{part}": self.folder / kind / part for kind in ("samples", "maps")}
        paths = {name: path for name, path in paths.items() if path.exists()}
        self._objects.send(paths)
        with (self.folder / LIST).open("rb") as file:
            file.seek(self._listed)
            gained = file.read()
        entry = {"replaces": False, "lines": gained.decode().splitlines(), "run": None}
        self._append(entry, self._listed + len(gained))
        self._sent |= {name: _stamp(path) for name, path in paths.items()}

    def _append(self, entry: Json, listed: int) -> None:
        self._objects.append(self._next, entry)
        self._next, self._listed = self._next + 1, listed

    def _check(self, names: Collection[str]) -> None:
        """Refuse names that are not those of files in the folder of a run; the storage's may be anything."""
        for name in sorted(names):
            parts = name.split("/")
            if len(parts) > 2 or {"", ".", ".."} & {*parts} or "\\" in name or "\0" in name:
                raise RunError(f"the run {self._objects.url} names {name!r}, which is no file of a run")


def _state_after(entries: list[Json]) -> tuple[list[str], str | None]:
    """Return the lines of the list of parts, and run.json, after all entries of the log."""
    lines: list[str] = []
    run = None
    for entry in entries:
        lines = [*([] if entry["replaces"] else lines), *entry["lines"]]
        run = run if entry["run"] is None else entry["run"]
    return lines, run


def _files(folder: Path) -> dict[str, Path]:
    """Return the files of a copy by their names in the storage."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    named = {path.relative_to(folder).as_posix(): path for path in paths if not is_temporary(path.name)}
    return {name: path for name, path in named.items() if name != "lock"}


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]
