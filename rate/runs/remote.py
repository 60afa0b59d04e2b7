"""Runs on an S3 storage: a folder on this machine is the working copy, and the storage has a log of what counts.

    URL/log/000000001.json       what the list of parts gained, with run.json; objects are added, never changed
    URL/samples/part-*.parquet   the parts, each there before the log names it
    URL/maps, run.json, ...      as in a run folder

A storage has no locks. Every change takes the next number of the log by a put that fails where that number is taken
(If-None-Match). The command that began last owns the run: an earlier one that still runs ends at its next part.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rate.data.storage.objects import error_code, is_s3, object_bytes, storage, url_of
from rate.data.storage.remote_cache import alone, cache_folder
from rate.data.storage.retries import with_retries
from rate.errors import CredentialsError, RunError, StorageError
from rate.files import is_temporary, write_atomically
from rate.records import read_json
from rate.runs.folder import LIST, FolderLock
from rate.types import Json

_TRIES = 3
"""A reader may meet a run whose parts are being joined."""

_STATE = "remote.json"
"""The name of the file beside a copy that says what the storage has."""

_LARGEST = 1 << 32
"""The largest object of a run, bytes."""

_RECENT_S = 90.0
"""A run that is alive stores its parts more often than that."""


def local_run(named: str | Path) -> Path:
    """Return the folder of a run for reading: of one at a URL a copy of its present state.

    Raises:
        RunError: there is no run at the URL, or it cannot be fetched.
    """
    if (url := url_of(named)) is None:
        return Path(named)
    copy = _copy(url, "read")
    with alone(copy.parent / "read.lock"):
        for tries in range(_TRIES):
            try:
                if not _Remote(url).pull(copy):
                    raise RunError(f"{url} is no run: it has no log; `rate eval ... --out {url}` makes one")
                return copy
            except FileNotFoundError as error:
                if tries + 1 == _TRIES:
                    raise RunError(f"the run {url} is not whole: {error} is missing") from error
    raise AssertionError("the last try returns or raises")


@contextmanager
def run_for_writing(named: str | Path) -> Iterator[Path]:
    """Yield the folder of a run; one at a URL is owned by this process, and has all changes when the block ends.

    Raises:
        RunError: the storage cannot hold a run, or another process of this machine writes to it.
        StorageError: the storage failed.
    """
    if (url := url_of(named)) is None:
        yield Path(named)
        return
    if not is_s3(url):
        raise RunError(f"--out {url}: runs are written to folders and to S3 (s3://BUCKET/NAME); choose one of them")
    copy = _copy(url, "write")
    lock = FolderLock(copy.parent)
    try:
        _Remote(url).open(copy)
        try:
            yield copy
        except BaseException:
            with suppress(StorageError, RunError, CredentialsError):  # the first error is being raised
                publish(copy)
            raise
        publish(copy)
    finally:
        lock.release()


def publish(folder: Path) -> None:
    """Send what has changed in the working copy of a remote run; nothing for any other folder.

    Raises:
        RunError: another process has begun to write to the run.
        StorageError: the storage failed; what it holds is whole.
    """
    if (state := folder.parent / _STATE).exists():
        _Remote(read_json(state)["url"]).push(folder)


def written_recently(folder: Path) -> bool:
    """Tell whether a folder is a copy of a remote run that was written to when it was fetched."""
    state = folder.parent / _STATE
    return state.exists() and bool(read_json(state)["age_s"] < _RECENT_S)


def _copy(url: str, purpose: str) -> Path:
    """Return the folder of a copy, whose name is that of the run."""
    place = cache_folder() / "runs" / hashlib.sha256(f"{purpose} {url.rstrip('/')}".encode()).hexdigest()[:16]
    copy = place / url.rstrip("/").rpartition("/")[2]
    copy.mkdir(parents=True, exist_ok=True, mode=0o700)
    return copy


class _Remote:
    """The storage's side of a run."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def pull(self, folder: Path) -> bool:
        """Make ``folder`` the state that the storage has; False = it has none.

        Raises:
            FileNotFoundError: an object went away meanwhile.
            RunError: the storage failed.
        """
        try:
            there = self._objects()
            log = sorted(name for name in there if name.startswith("log/"))
            entries = [json.loads(self._get(name)) for name in log]
            lines = _listed(entries)
            parts = [json.loads(line)["name"] for line in lines]
        except FileNotFoundError:
            raise
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"the run {self.url} cannot be fetched: {type(error).__name__}: {error}") from error
        wanted = {f"samples/{name}" for name in parts} | (there.keys() & {f"maps/{name}" for name in parts})
        wanted |= {name for name in there if not name.startswith(("log/", "samples/", "maps/part-"))} - {"run.json"}
        if outside := next((name for name in sorted(wanted) if not _is_inside(name)), None):
            raise RunError(f"the run {self.url} names {outside!r}, which is no file of a run")
        files = {name: folder / name for name in wanted}
        for name, path in files.items():
            if not name.startswith("samples/") or not path.exists() or path.stat().st_size != there.get(name):
                self._fetch(name, path)
        for path in _files(folder).values():
            if path not in files.values():
                path.unlink()
        if not entries:
            return False
        content = "".join(f"{line}\n" for line in lines).encode()
        write_atomically(folder / LIST, lambda file: file.write(content))
        if entries[-1]["run"] is not None:
            run = entries[-1]["run"].encode()
            write_atomically(folder / "run.json", lambda file: file.write(run))
        sent = {name: _stamp(path) for name, path in _files(folder).items()}
        self._note(folder, int(log[-1][4:-5]) + 1, content, sent, max(time.time() - entries[-1]["time"], 0.0))
        return True

    def open(self, folder: Path) -> None:
        """Fetch the state of the run; its next change takes the next number of the log.

        Raises:
            RunError: something else is there, or the storage failed.
        """
        try:
            if self.pull(folder):
                return
            if other := next(iter(self._objects()), None):
                raise RunError(
                    f"{self.url} holds {other!r} and no run, so nothing is written there; choose another --out"
                )
        except FileNotFoundError as error:
            raise RunError(f"the run {self.url} is not whole: {error} is missing") from error
        self._note(folder, 1, b"", {}, 0.0)

    def push(self, folder: Path) -> None:
        """Send parts first, then the entry of the log that names them, then the rest."""
        state = read_json(folder.parent / _STATE)
        files = _files(folder)
        stamps = {name: _stamp(path) for name, path in files.items()}
        changed = {name for name, stamp in stamps.items() if state["sent"].get(name) != stamp}
        if not changed and stamps.keys() == state["sent"].keys():
            return
        for name in sorted(changed):
            if name.startswith(("samples/", "maps/")):
                self._put(name, files[name])
        content = (folder / LIST).read_bytes() if LIST in files else b""
        known = content[: state["listed"]]
        grown = hashlib.sha256(known).hexdigest() == state["digest"]
        lines = (content[state["listed"] :] if grown else content).decode().splitlines()
        entry = {"replaces": not grown, "lines": lines, "run": _text(folder / "run.json")}
        self._append(state["next"], entry)
        for name in sorted(changed):
            if not name.startswith(("samples/", "maps/")) and name != LIST:
                self._put(name, files[name])
        for name in state["sent"].keys() - stamps.keys():
            self._remove(name)
        self._note(folder, state["next"] + 1, content, stamps, 0.0)

    def _append(self, number: int, entry: Json) -> None:
        """Take the next number of the log.

        Raises:
            RunError: another process took it, or the storage has no puts under a condition.
        """
        own = {"host": socket.gethostname(), "time": time.time(), "token": secrets.token_hex(8)}
        name = f"log/{number:09d}.json"
        if self._put_new(name, json.dumps(entry | own).encode()):
            if number == 1:
                self._check_condition(name)
            return
        there = json.loads(self._get(name))
        if there.get("token") != own["token"]:  # else it was a try of ours whose answer was lost
            raise RunError(
                f"another command, on {there.get('host')}, has begun to write to {self.url}, and owns it now; what is "
                "stored is right, and goes on there"
            )

    def _check_condition(self, name: str) -> None:
        if self._put_new(name, b"{}"):
            self._remove(name)
            raise RunError(
                f"{self.url}: the storage ignores the condition of a put (If-None-Match), so two commands could write "
                "to one run; write to a folder, and copy it there"
            )

    def _note(self, folder: Path, following: int, content: bytes, sent: Json, age_s: float) -> None:
        """Note what the storage has, beside the copy."""
        state = {"url": self.url, "next": following, "listed": len(content), "sent": sent, "age_s": age_s}
        text = json.dumps(state | {"digest": hashlib.sha256(content).hexdigest()}).encode()
        write_atomically(folder.parent / _STATE, lambda file: file.write(text))

    def _objects(self) -> dict[str, int]:
        """Return the names of all objects of the run with their sizes."""

        def find() -> dict[str, int]:
            filesystem, root = storage(self.url)
            filesystem.invalidate_cache()
            there = filesystem.find(root, detail=True)
            return {name.removeprefix(f"{root}/"): info["size"] for name, info in there.items() if name != root}

        return with_retries(self.url, find)

    def _get(self, name: str) -> bytes:
        return with_retries(self.url, lambda: object_bytes(f"{self.url}/{name}", _LARGEST))

    def _fetch(self, name: str, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        content = self._get(name)
        write_atomically(path, lambda file: file.write(content))

    def _put(self, name: str, path: Path) -> None:
        self._send(name, lambda filesystem, key: filesystem.pipe_file(key, path.read_bytes()))

    def _remove(self, name: str) -> None:
        def remove(filesystem: Any, key: str) -> None:
            with suppress(FileNotFoundError):
                filesystem.rm_file(key)

        self._send(name, remove)

    def _put_new(self, name: str, content: bytes) -> bool:
        """Put an object that must not exist; False = it does."""

        def put(filesystem: Any, key: str) -> bool:
            bucket, inside, _ = filesystem.split_path(key)
            try:
                filesystem.call_s3("put_object", Bucket=bucket, Key=inside, Body=content, IfNoneMatch="*")
            except OSError as error:
                if error_code(error) in ("PreconditionFailed", "412"):
                    return False
                raise
            return True

        return bool(self._send(name, put))

    def _send(self, name: str, send: Any) -> Any:
        filesystem, root = storage(self.url)
        try:
            return with_retries(self.url, lambda: send(filesystem, f"{root}/{name}"))
        except OSError as error:
            raise StorageError(
                f"{self.url}/{name} cannot be written: {error}; run the same command again to go on"
            ) from error


def _listed(entries: list[Json]) -> list[str]:
    """Return the lines of the list of parts after all entries of the log."""
    lines: list[str] = []
    for entry in entries:
        lines = [*([] if entry["replaces"] else lines), *entry["lines"]]
    return lines


def _files(folder: Path) -> dict[str, Path]:
    """Return the files of a copy by their names in the storage."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    named = {path.relative_to(folder).as_posix(): path for path in paths if not is_temporary(path.name)}
    return {name: path for name, path in named.items() if name != "lock"}


def _is_inside(name: str) -> bool:
    """Tell whether a name of the storage, which may be anything, is that of a file in the folder of a copy."""
    parts = name.split("/")
    return len(parts) <= 2 and not {"", ".", ".."} & {*parts} and "\\" not in name and "\0" not in name


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None
