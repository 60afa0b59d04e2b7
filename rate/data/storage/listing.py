"""The versions of many S3 objects, from listings: a request for up to a thousand of them.

The listing jumps from one object that is asked for to the next, so it never takes more requests than a request for
each object would, and a few objects among millions do not cost a listing of the millions.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby, takewhile
from typing import Any

from rate.data.storage.objects import is_s3, storage, version_of, version_stamp
from rate.data.storage.retries import with_retries
from rate.types import Stamp

PAGE = 1000
"""The largest number of objects of one answer, which the protocol sets."""

REQUESTS = 16
"""The number of requests at once."""

_FEWEST = 10  # objects of a page where few of those listed are asked for
_KEPT = 2_000_000  # objects of which versions are kept, about 200 bytes each


class Listing:
    """The versions of S3 objects. What a page tells of objects that are asked for later is kept."""

    def __init__(self) -> None:
        self._known: dict[str, Stamp] = {}
        self._refused: set[str] = set()  # buckets that may not be listed

    def stamps(self, urls: Iterable[str]) -> dict[str, Stamp]:
        """Return the stamps of those objects that exist; of a storage that may not be listed there are none.

        Raises:
            OSError: the storage fails or does not answer, see `with_retries`.
        """
        wanted = {url for url in urls if is_s3(url)}
        if len(self._known) > _KEPT:
            self._known = {}
        self._list(sorted(wanted - self._known.keys()))
        return {url: self._known[url] for url in wanted & self._known.keys()}

    def _list(self, urls: list[str]) -> None:
        parts: list[list[str]] = []
        for bucket, group in groupby(urls, key=_bucket):
            own = list(group) if bucket not in self._refused else []
            parts += [own[start : start + PAGE] for start in range(0, len(own), PAGE)]
        with ThreadPoolExecutor(REQUESTS) as threads:
            for part, answer in zip(parts, threads.map(_versions, parts), strict=True):
                if answer is None:
                    self._refused.add(_bucket(part[0]))
                else:
                    self._known |= answer


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
