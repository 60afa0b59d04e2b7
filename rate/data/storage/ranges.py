"""Some bytes of a remote object, with the length and the version of all of it.

Of S3 and HTTP they come in one answer. Other file systems of fsspec are asked for the version before and after.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from rate.data.storage.objects import (
    has_versions,
    http_part,
    is_http,
    is_s3,
    object_stamp,
    s3_answer,
    s3_body,
    storage,
    version_of,
)

Range: TypeAlias = tuple[bytes, int, str]
"""Bytes, and length (bytes) and version of the whole object."""

_without: set[str] = set()  # storages that were seen to give no ranges, or no versions


def object_range(url: str, offset: int, size: int) -> Range | None:
    """Return ``size`` bytes from ``offset`` on, or fewer at the end; a negative offset counts from the end.

    None = the storage gives whole objects only, or says nothing that changes with an object.

    Raises:
        FileNotFoundError: there is no such object.
    """
    store = "/".join(url.split("/", 3)[:3])
    if not has_versions(url) or store in _without:
        return None
    filesystem, name = storage(url)
    asked = f"bytes={offset}" if offset < 0 else f"bytes={offset}-{offset + size - 1}"
    if is_s3(url):
        answer = s3_answer(filesystem, name, Range=asked)
        return s3_body(filesystem, answer), _total(answer["ContentRange"]), version_of(answer)
    part = _of_http(filesystem, name, asked) if is_http(url) else _of_others(filesystem, url, name, offset, size)
    if part is None:
        _without.add(store)
    return part


def _total(content_range: str) -> int:
    return int(content_range.rpartition("/")[2])


def _of_http(filesystem: Any, name: str, asked: str) -> Range | None:
    size, version, data = http_part(filesystem, name, asked)
    return (data, size, version) if data is not None and version else None


def _of_others(filesystem: Any, url: str, name: str, offset: int, size: int) -> Range | None:
    before = object_stamp(url)
    if before is None:
        return None
    begin = max(before.size + offset, 0) if offset < 0 else offset
    data = filesystem.cat_file(name, start=begin, end=min(begin + size, before.size))
    if object_stamp(url) != before:
        raise OSError("it was replaced while it was read")  # the next try tells
    return data, before.size, before.version
