"""Locations of a manifest and the bytes behind them: files below its folder, fsspec URLs, members of containers."""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow.compute as pc

from rate.credentials import without_credentials
from rate.data.formats.row_groups import PICTURE_PLACE, picture_bytes, picture_place
from rate.data.storage.container import TAR_PLACE, tar_bytes, tar_place
from rate.data.storage.limits import max_bytes
from rate.data.storage.local_file import check_length, local_bytes, stamp_of
from rate.data.storage.objects import object_bytes
from rate.data.storage.retries import with_retries
from rate.errors import RateError, SampleError
from rate.types import Stamp

_LOCAL_SCHEMES = frozenset({"file", "local", "dir", "git", "dvc", "reference", "generic"})


_LOCAL_FILE = re.compile(r"file://(/[^/].*|/)", re.IGNORECASE | re.DOTALL)
"""A URL of an absolute path on this machine."""

_ABSOLUTE = re.compile(r"[/\\]|[A-Za-z]:[/\\]")
_PART = r"(?!\.\.?(?:/|$))[^/\\]+"
_PLAIN = re.compile(f"{_PART}(?:/{_PART})*", re.DOTALL)
"""A normalised relative path: no part is empty, `.` or `..`."""


_NOT_PLAIN = r"(?:^|/)\.{0,2}(?:/|$)|[\\:\x00\n]"
"""Matches every path that is not `_PLAIN`, and some others, in the syntax of Arrow."""


class Folder:
    """The folder of a manifest, and further folders in which its files may lie.

    A relative path starts at the manifest's folder or, where there is no such file, at the first of the roots that has
    it. Neither `..`, an absolute path, nor a symbolic link leads out of all of them.
    """

    def __init__(self, path: Path, roots: Sequence[Path] = ()) -> None:
        self.path = os.path.normpath(path.absolute())
        self._prefix = self.path.rstrip(os.sep) + os.sep
        self._real_prefix = os.path.realpath(path).rstrip(os.sep) + os.sep
        places = [(os.path.normpath(root.absolute()), os.path.realpath(root)) for root in roots]
        self._roots = [one.rstrip(os.sep) + os.sep for one, _ in places]
        self._real_roots = [one.rstrip(os.sep) + os.sep for _, one in places]
        self._inside = (self._real_prefix, *self._real_roots)
        self._real_parents: dict[str, str] = {}  # resolves each folder once, as many images share few folders

    def locate(self, written: str) -> str:
        """Return the absolute path or the URL of a location in a manifest, which need not exist.

        The path is resolved, and `read_bytes` follows no link, so the checked path is the path that is read.

        Raises:
            ValueError: the location is not allowed; the message has the reason without the path.
        """
        return self.find(written)[0]

    def find(self, written: str) -> tuple[str, Stamp | None]:
        """Locate as `locate`, and add the stamp of a local file if it exists.

        Raises:
            ValueError: as `locate`.
        """
        if "://" in written:
            if (path := _LOCAL_FILE.fullmatch(written)) is None:
                _check_url(written)
                return written, None
            written = unquote(path[1])
        if "\0" in written:
            raise ValueError("holds a NUL character")
        plain = _PLAIN.fullmatch(written) is not None
        if not (plain and ":" not in written) and _ABSOLUTE.match(written):
            return self._absolute(written)
        absolute = f"{self._prefix}{written}" if plain else os.path.normpath(self._prefix + written)
        if not absolute.startswith((self._prefix, *self._roots)):
            cure = "move the manifest to a folder above all its files, or name theirs with --root"
            raise ValueError(f"leaves the manifest's folder; {cure}")
        resolved, stamp = self._allowed(absolute)
        for root in self._roots if stamp is None and plain else ():
            other, there = self._allowed(f"{root}{written}")
            if there is not None:
                return other, there
        return resolved, stamp

    def _absolute(self, written: str) -> tuple[str, Stamp | None]:
        path = os.path.normpath(written)
        if not path.startswith((self._prefix, *self._roots, *self._inside)):
            what = "is an absolute path" + (" outside every root" if self._roots else "")
            raise ValueError(
                f"{what}; name its folder with --root {Path(path).parent}, or write it relative to the "
                "manifest's folder"
            )
        return self._allowed(path)

    def _allowed(self, absolute: str) -> tuple[str, Stamp | None]:
        """Resolve a path and check that no link leads out."""
        resolved, stamp = self._resolved(absolute)
        if not resolved.startswith(self._inside):
            raise ValueError(
                "is reached by a symbolic link out of the manifest's folder"
                f"{' and of every root' if self._roots else ''}; name the folder to which it leads, such as --root "
                f"{Path(resolved).parent}"
            )
        return resolved, stamp

    def find_plain(self, written: Any) -> tuple[Any, list[os.stat_result]]:
        """Locate many plain places at once, as `find` does: relative paths of regular files.

        Args:
            written: the places, an Arrow array of strings.

        Returns:
            The located places, and the status of each file.

        Raises:
            ValueError: a place is not plain, or `find` does not allow it.
            OSError: a file does not exist.
        """
        encoded = written.dictionary_encode()  # one image may be that of many rows
        distinct = encoded.dictionary
        if pc.any(pc.match_substring_regex(distinct, _NOT_PLAIN)).as_py():
            raise ValueError("is not plain")
        for parent in pc.unique(pc.replace_substring_regex(distinct, "[^/]+$", "")).to_pylist():
            if self._real_parent(f"{self._prefix}{parent}"[:-1]) != self._real_prefix + parent:
                raise ValueError("is reached by a link")
        located = pc.binary_join_element_wise(self._real_prefix, distinct, "")
        statuses = list(map(os.lstat, located.to_numpy(zero_copy_only=False)))
        if {stat.S_IFMT(mode) for mode in {status.st_mode for status in statuses}} != {stat.S_IFREG}:
            raise ValueError("is a link, or no file")
        return located.take(encoded.indices), list(map(statuses.__getitem__, encoded.indices.to_pylist()))

    def relative(self, located: str) -> str:
        """Return a result of `locate` relative to the folder or its root, with forward slashes; URLs are unchanged."""
        if located.startswith(self._prefix):
            return located[len(self._prefix) :].replace(os.sep, "/")
        if place := TAR_PLACE.fullmatch(located):
            return tar_place(int(place[1]), int(place[2]), self.relative(place[3]))
        if place := PICTURE_PLACE.fullmatch(located):
            numbers = int(place[2]), int(place[3])
            return picture_place(place[1], *numbers, unquote(place[4]), self.relative(place[5]))
        if "://" in located:
            return located
        for prefix in (*self._inside, *self._roots):
            if located.startswith(prefix):
                return located[len(prefix) :].replace(os.sep, "/")
        return Path(os.path.relpath(located, self.path)).as_posix()

    def _resolved(self, absolute: str) -> tuple[str, Stamp | None]:
        parent, _, name = absolute.rpartition(os.sep)
        candidate = self._real_parent(parent) + name
        try:
            status = os.lstat(candidate)
            if not stat.S_ISLNK(status.st_mode):
                return candidate, stamp_of(status)
            candidate = os.path.realpath(candidate)
            return candidate, stamp_of(os.lstat(candidate))
        except OSError:  # missing, unreadable, or with too long a name; the reading reports it
            return candidate, None

    def _real_parent(self, parent: str) -> str:
        if parent not in self._real_parents:
            self._real_parents[parent] = os.path.realpath(parent or os.sep).rstrip(os.sep) + os.sep
        return self._real_parents[parent]


class RemoteFolder(Folder):
    """The folder of a remote manifest."""

    def __init__(self, manifest: str) -> None:
        """Take the URL of the manifest."""
        super().__init__(Path(os.sep))
        self._root = f"{manifest.partition('?')[0].rpartition('/')[0]}/"

    def find(self, written: str) -> tuple[str, Stamp | None]:
        """Return the URL of a location; see `Folder.find`. A remote manifest names no file of this machine."""
        if _LOCAL_FILE.fullmatch(written):
            raise ValueError("is a file of this machine, which a remote manifest may not name; copy the manifest here")
        if "://" in written:
            return super().find(written)
        if _ABSOLUTE.match(written):
            raise ValueError("is an absolute path; write it relative to the manifest's folder")
        plain = posixpath.normpath(written)
        if not _PLAIN.fullmatch(plain):
            raise ValueError("leaves the manifest's folder; move the manifest to a folder above all its files")
        return self._root + plain, None

    def relative(self, located: str) -> str:
        """Return a result of `find` relative to the folder; other URLs are unchanged."""
        return located.removeprefix(self._root)


class InPlace(Folder):
    """A folder for rows whose locations `rate` wrote itself: places in one container, which are used unchanged."""

    def __init__(self, stamp: Stamp | None) -> None:
        """Take the ``stamp`` of the container."""
        super().__init__(Path(os.sep))
        self._stamp = stamp

    def find(self, written: str) -> tuple[str, Stamp | None]:
        """Return the place itself."""
        return written, self._stamp


def container_of(location: str) -> str | None:
    """Return the file that a location is a place in; None = the location is a file."""
    if place := TAR_PLACE.fullmatch(location):
        return place[3]
    return place[5] if (place := PICTURE_PLACE.fullmatch(location)) else None


def in_container(location: str) -> bool:
    """Tell whether a location is a place inside a file, rather than a file."""
    return container_of(location) is not None


def read_bytes(location: str, expected: Stamp | None = None) -> bytes:
    """Read all bytes of a located file, or of a member of a container.

    Args:
        location: a result of `Folder.locate`.
        expected: the stamp of the first reading of the set; None = no check.

    Raises:
        SampleError: missing, not a file, empty, larger than `max_bytes`, or the storage failed.
        SetChanged: the file differs from ``expected``.
        CredentialsError: the storage refuses the credentials.
        ConfigError: RATE_MAX_BYTES is invalid.
    """
    limit = max_bytes()
    try:
        data = _bytes(location, limit, expected)
    except RateError:
        raise
    except FileNotFoundError as error:
        raise SampleError(f"{location}: no such file") from error
    except Exception as error:  # each fsspec backend has its own exceptions, and none may stop a run
        said = without_credentials(str(error), known=location)
        raise SampleError(f"{location}: cannot be read: {type(error).__name__}: {said}") from error
    if not data:
        raise SampleError(f"{location}: the file is empty (0 bytes)")
    return data


def _bytes(location: str, limit: int, expected: Stamp | None) -> bytes:
    if place := TAR_PLACE.fullmatch(location):
        check_length(location, int(place[2]), limit)
        return tar_bytes(int(place[1]), int(place[2]), place[3], expected)
    if place := PICTURE_PLACE.fullmatch(location):
        data = picture_bytes(place[1], int(place[2]), int(place[3]), place[4], place[5], expected)
        check_length(location, len(data), limit)
        return data
    if "://" in location:
        return with_retries(location, lambda: object_bytes(location, limit, expected))
    return local_bytes(location, limit, expected)


def _check_url(url: str) -> None:
    """Refuse a chained URL (`zip://a.png::s3://...`) with a link that fsspec would open on the local disk."""
    for link in url.split("::"):
        scheme, separator, _ = link.partition("://")
        if separator and not re.fullmatch(r"[A-Za-z][A-Za-z0-9+._-]*", scheme):  # for example a place in a container
            raise ValueError("is neither a path nor a URL")
        if scheme.lower() in _LOCAL_SCHEMES or not (separator or re.fullmatch("[a-z]+", link)):
            raise ValueError("is a URL to the local disk; write the path, or file:///PATH")
        reason = _unavailable(scheme)
        if reason:
            raise ValueError(f"is a URL that cannot be opened here ({reason})")


@lru_cache(maxsize=64)
def _unavailable(scheme: str) -> str:
    """Return the reason why fsspec cannot open such URLs, or an empty string."""
    import fsspec

    try:
        fsspec.get_filesystem_class(scheme)
    except (ImportError, ValueError) as error:
        return str(error)
    return ""
