"""Local copies of remote containers, fetched as a whole into a bounded folder.

Range requests are not used: the headers of a shard are a few dozen kB apart at one round trip each, and an evaluation
reads every byte between them afterwards.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rate.credentials import without_credentials
from rate.data.storage.cache import cache_folder, cache_limit, use
from rate.data.storage.local_file import CURE
from rate.data.storage.objects import storage, version_of
from rate.data.storage.retries import with_retries
from rate.errors import ConfigError, SetChanged
from rate.files import placed, remove_leftovers

_BLOCK = 1 << 20  # bytes

_known: dict[str, Path] = {}  # URL -> its copy, for the URLs of this process


def fetched(url: str) -> Path:
    """Return the local copy of a remote file, and fetch it if there is none of this version.

    A copy is identified by the URL and the storage's version of the file; its name is the digest of both.

    Raises:
        SetChanged: the file was replaced while it was fetched.
        FileNotFoundError: the file does not exist.
        OSError: it could not be fetched in several tries, see `with_retries`.
    """
    path = _known.get(url)
    if path is None or not path.exists():  # another process may have deleted the copy
        path = _known[url] = _copy(url)
    return path


def fetched_as(url: str, suffix: str) -> Path:
    """Return the local copy of a small remote file under a name with that suffix.

    Raises:
        FileNotFoundError: the file does not exist.
        OSError: it could not be fetched, or not be copied.
    """
    copy = fetched(url)
    path = cache_folder() / "manifests" / f"{copy.name}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        with placed(path) as temporary:
            shutil.copyfile(copy, temporary)
    use(path)
    return path


def copy_name(url: str, size: int | None, version: str) -> str:
    """Return the name of the copy of a version of a remote file of ``size`` bytes."""
    return hashlib.sha256(repr((without_credentials(url), size, version)).encode()).hexdigest()[:40]


def is_fetched(name: str) -> bool:
    """Tell whether there is a copy of that name."""
    return (cache_folder() / "shards" / name).exists()


def _copy(url: str) -> Path:
    def locate() -> tuple[str, int | None, str]:
        filesystem, name = storage(url)
        filesystem.invalidate_cache()  # of listings, whose versions may be old
        info = filesystem.info(name)
        return name, info.get("size"), version_of(info) or str(filesystem.ukey(name))

    name, size, version = with_retries(url, locate)
    folder = cache_folder() / "shards"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    digest = copy_name(url, size, version)
    path = folder / digest
    if size is not None and size > cache_limit():
        raise OSError(f"{url} has {size:,} bytes, the cache holds {cache_limit():,}; RATE_CACHE_BYTES changes it")
    with alone(folder / f"{digest}.lock"):  # other threads and processes wait for the one that fetches
        if not path.exists():

            def fetch() -> None:
                _fetch(storage(url)[0], name, size, path, lambda: locate()[1:] == (size, version))

            with_retries(url, fetch, lambda: _bytes_so_far(folder, digest))
    use(path)
    return path


def _fetch(filesystem: Any, name: str, size: int | None, path: Path, is_same: Callable[[], bool]) -> None:
    remove_leftovers(path.parent, of=path.name)
    # Every try has its own temporary name, since an abandoned try may still be writing.
    with placed(path) as temporary:
        _fill(filesystem, name, size, temporary)
        received = temporary.stat().st_size
        if size is not None and received != size:
            raise OSError(f"{received} of {size} bytes came")
        if not is_same():
            raise SetChanged(f"{name} was replaced while it was fetched; {CURE}")


def _fill(filesystem: Any, name: str, size: int | None, temporary: Path) -> None:
    """Fetch a file into ``temporary``; stop when more bytes arrive than announced, or than the cache may hold."""
    from fsspec.callbacks import Callback

    limit = cache_limit() if size is None else size

    def check(came: int) -> None:
        if came > limit:
            said = f"the cache holds {limit:,}; RATE_CACHE_BYTES changes it" if size is None else f"it said {size:,}"
            raise ConfigError(f"{name} sends more than {limit:,} bytes, and {said}")

    if size is not None and filesystem.protocol == "hf":  # one stream, whose length it checks; callbacks make it many
        filesystem.get_file(name, str(temporary))
        return
    if size is not None:
        hooks = {"limit": lambda size, value, **_: check(value)}
        filesystem.get_file(name, str(temporary), callback=Callback(hooks=hooks))
        return
    came = 0
    with filesystem.open(name, "rb") as stream, temporary.open("wb") as file:
        while block := stream.read(_BLOCK):
            came += len(block)
            check(came)
            file.write(block)


def _bytes_so_far(folder: Path, digest: str) -> int:
    try:
        return sum(path.stat().st_size for path in folder.glob(f".{digest}.rate-*.tmp"))
    except FileNotFoundError:  # renamed or deleted at this moment, which is progress
        return -1


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the lock of a file, for which other threads and processes wait."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
