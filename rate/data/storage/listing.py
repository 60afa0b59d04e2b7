"""The versions of many remote objects before they are read.

Of S3 they come from listings: a request for up to a thousand of them. The listing jumps from one object that is asked
for to the next, so it never takes more requests than a request for each object would, and a few objects among millions
do not cost a listing of the millions. Other storages are asked for each object, or for a folder of many.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import groupby, takewhile
from typing import Any

from rate.data.daemon_threads import DaemonThreads
from rate.data.storage.limits import REMOTE_READS
from rate.data.storage.objects import has_versions, is_s3, object_stamp, storage, version_of, version_stamp
from rate.data.storage.retries import with_retries
from rate.types import Stamp

PAGE = 1000
"""The largest number of objects of one answer, which the protocol sets."""

REQUESTS = 16
"""The number of requests at once."""

_FEWEST = 10  # objects of a page where few of those listed are asked for
_FIRST = 4  # objects of a storage that are asked for twice
_KEPT = 2_000_000  # objects of which versions are kept, about 200 bytes each


class Listing:
    """The versions of remote objects. What a page tells of objects that are asked for later is kept."""

    def __init__(self) -> None:
        self._known: dict[str, Stamp] = {}
        self._refused: set[str] = set()  # buckets that may not be listed, and storages that give no versions

    def stamps(self, urls: Iterable[str]) -> dict[str, Stamp]:
        """Return the stamps of those objects that exist; of a storage that gives no versions there are none.

        Raises:
            OSError: the storage fails or does not answer, see `with_retries`.
        """
        wanted = set(urls)
        if len(self._known) > _KEPT:
            self._known = {}
        unknown = sorted(wanted - self._known.keys())
        self._list([url for url in unknown if is_s3(url)])
        self._ask([url for url in unknown if not is_s3(url) and has_versions(url)])
        return {url: self._known[url] for url in wanted & self._known.keys()}

    def _ask(self, urls: list[str]) -> None:
        """Ask storages for versions; for those of their first objects twice, as some name others every time."""
        stores = {store: list(group) for store, group in groupby(urls, key=_bucket) if store not in self._refused}
        first = [url for own in stores.values() for url in own[:_FIRST]]
        once, again = _asked(first), _asked(first)
        for store, own in stores.items():
            told = [once[url] for url in own[:_FIRST]]
            if not any(told) or told != [again[url] for url in own[:_FIRST]]:
                self._refused.add(store)
        once |= _asked([url for store, own in stores.items() if store not in self._refused for url in own[_FIRST:]])
        self._known |= {url: one for url, one in once.items() if one is not None and _bucket(url) not in self._refused}

    def _list(self, urls: list[str]) -> None:
        parts: list[list[str]] = []
        for bucket, group in groupby(urls, key=_bucket):
            own = list(group) if bucket not in self._refused else []
            parts += [own[start : start + PAGE] for start in range(0, len(own), PAGE)]
        with DaemonThreads(min(REQUESTS, len(parts)), "rate-list") as threads:
            for part, answer in zip(parts, threads.map(_versions, parts), strict=True):
                if answer is None:
                    self._refused.add(_bucket(part[0]))
                else:
                    self._known |= answer


def _asked(urls: list[str]) -> dict[str, Stamp | None]:
    """Return the stamps of objects; None = it is missing, or its storage says nothing that changes with it."""
    with DaemonThreads(min(REMOTE_READS, len(urls)), "rate-ask") as threads:
        return dict(zip(urls, threads.map(_stamp, urls), strict=True))


def _stamp(url: str) -> Stamp | None:
    try:
        return with_retries(url, lambda: object_stamp(url))
    except OSError:  # reading will tell
        return None


def _bucket(url: str) -> str:
    return "/".join(url.split("/", 3)[:3])


def _versions(urls: list[str]) -> dict[str, Stamp] | None:
    """List the objects of some sorted URLs of one bucket, and what lies between them; None = that is not allowed."""
    try:
        return dict(with_retries(urls[0], lambda: list(_pages(urls))))
    except (PermissionError, FileNotFoundError):  # the latter: the bucket does not exist, as reading will tell
        return None


def _pages(urls: list[str]) -> Iterator[tuple[str, Stamp]]:
    bucket = _bucket(urls[0])
    filesystem, _ = storage(bucket)
    keys = [url[len(bucket) + 1 :] for url in urls]
    shared = takewhile(lambda pair: pair[0] == pair[1], zip(keys[0], keys[-1], strict=False))  # they are sorted
    prefix, at, after, page = "".join(one for one, _ in shared), 0, "", PAGE
    while at < len(keys):
        after = max(after, keys[at][:-1])  # what is listed comes after it
        asked: dict[str, Any] = {"Prefix": prefix, "MaxKeys": page} | ({"StartAfter": after} if after else {})
        answer = filesystem.call_s3("list_objects_v2", Bucket=bucket.partition("://")[2], **asked)
        listed = answer.get("Contents", [])
        for one in listed:
            yield f"{bucket}/{one['Key']}", version_stamp(one["Size"], version_of(one))
        if not answer.get("IsTruncated"):
            return
        after, before = listed[-1]["Key"], at
        at = bisect_right(keys, after)
        page = min(PAGE, max(_FEWEST, 4 * (at - before)))
