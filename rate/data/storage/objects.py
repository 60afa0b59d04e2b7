"""Objects of remote storage: the version of an object, and its bytes in one request.

The version of an S3 object comes with its bytes, so a read of a pinned object costs no request more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rate.credentials import without_credentials
from rate.data.storage.local_file import check_length, check_same
from rate.errors import RateError
from rate.types import Stamp

CONNECTIONS = 256
"""The largest number of open connections to an S3 storage; botocore's own limit of 10 would be that of all reads."""

_VERSIONS = ("ETag", "etag", "blob_id", "Content-MD5", "Digest", "Last-Modified")
"""Names under which fsspec's file systems report something that changes with the content, the best first."""

_REFUSED = {
    *("ExpiredToken", "ExpiredTokenException", "InvalidAccessKeyId", "InvalidClientTokenId", "InvalidToken"),
    *("RequestExpired", "SignatureDoesNotMatch", "TokenRefreshRequired", "400"),
}
"""Codes of S3 for credentials that are no longer valid; a HEAD, whose answer has no code, says 400."""

_CACHES = ("simplecache", "filecache", "blockcache", "cached")
_BLOCK = 1 << 20  # bytes


def storage(url: str) -> tuple[Any, str]:
    """Return the file system of a URL, and the name of the object there."""
    import fsspec

    plain, options = uncached(url), {}
    if is_s3(plain):
        given = fsspec.config.conf.get("s3", {}).get("config_kwargs", {})
        options["config_kwargs"] = {"max_pool_connections": CONNECTIONS} | given
    filesystem, name = fsspec.core.url_to_fs(plain, **options)
    return filesystem, name


def url_of(named: str | Path) -> str | None:
    """Return the URL that is named, also by a `Path`, which merges the two slashes; None = it is a local path."""
    match = re.fullmatch(r"([a-z][a-z0-9+.-]+):/{1,2}([^/].*)", str(named), re.DOTALL)
    return None if match is None or Path(named).exists() else f"{match[1]}://{match[2]}"


def refused_credentials(error: BaseException, url: str) -> str | None:
    """Return the storage's word for credentials that it refuses; None = the error is another one.

    An object that these credentials may not read is another error, unless the URL itself is signed.
    """
    if (code := error_code(error)) in _REFUSED:
        return code
    seen: BaseException | None = error
    while seen is not None:
        status = getattr(seen, "status", None)
        if status == 401 or (status == 403 and without_credentials(url) != url):
            return f"HTTP {status}"
        if type(seen).__module__.startswith("botocore.") and re.search("Credential|Token", type(seen).__name__):
            return type(seen).__name__
        seen = seen.__cause__
    return None


def error_code(error: BaseException) -> str:
    """Return S3's code of an error, or an empty text."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(answer := getattr(seen, "response", None), dict):
            return str(answer.get("Error", {}).get("Code", ""))
        seen = seen.__cause__
    return ""


def forget_credentials(url: str) -> None:
    """Let the next use of the storage find its credentials anew, as those of a file that was renewed."""
    type(storage(url)[0]).clear_instance_cache()


def is_s3(url: str) -> bool:
    """Tell whether a URL names an object by the protocol of S3, of whichever service."""
    return url.startswith(("s3://", "s3a://")) and "::" not in url


def uncached(url: str) -> str:
    """Remove links that keep copies of whole files of any length from a URL (`simplecache::https://...`)."""
    return "::".join(link for link in url.split("::") if link not in _CACHES)


def version_of(info: Mapping[str, Any]) -> str:
    """Return the version of an object from what its storage says of it; empty = it says nothing of the kind."""
    return str(next((info[name] for name in _VERSIONS if info.get(name)), "")).strip('"')


def version_stamp(size: int, version: str) -> Stamp:
    """Return the stamp of a version of an object."""
    return Stamp(size, 0, 0, 0, "", version)


def object_bytes(url: str, limit: int, expected: Stamp | None = None) -> bytes:
    """Return all bytes of an object; of S3 and HTTP in one request.

    Args:
        url: where it is.
        limit: the largest length, bytes; a longer one is not read to its end.
        expected: the version of the first reading of the set, which S3 objects have; None = any.

    Raises:
        SampleError: the object is longer than ``limit``.
        SetChanged: it has another version than ``expected``, or is gone.
        FileNotFoundError: there is none, and none is expected.
    """
    filesystem, name = storage(url)
    try:
        return _s3_bytes(filesystem, name, url, limit, expected) if is_s3(url) else _bytes(filesystem, name, url, limit)
    except FileNotFoundError:
        check_same(url, expected, None)
        raise


def s3_range(url: str, offset: int, size: int) -> tuple[bytes, int, str]:
    """Return some bytes of an S3 object with the length and the version of all of it, in one request."""
    filesystem, name = storage(url)
    answer = _got(filesystem, name, Range=f"bytes={offset}-{offset + size - 1}")
    return _body(filesystem, answer), int(answer["ContentRange"].rpartition("/")[2]), version_of(answer)


def _s3_bytes(filesystem: Any, name: str, url: str, limit: int, expected: Stamp | None) -> bytes:
    answer = _got(filesystem, name)
    try:
        check_same(url, expected, version_stamp(answer["ContentLength"], version_of(answer)))
        check_length(url, answer["ContentLength"], limit)
    except RateError:
        answer["Body"].close()
        raise
    return _body(filesystem, answer)


def _got(filesystem: Any, name: str, **asked: str) -> Any:
    bucket, key, _ = filesystem.split_path(name)
    return filesystem.call_s3("get_object", Bucket=bucket, Key=key, **asked)


def _body(filesystem: Any, answer: Any) -> bytes:
    from fsspec.asyn import sync

    try:
        data: bytes = sync(filesystem.loop, answer["Body"].read)
    finally:
        answer["Body"].close()
    return data


def _bytes(filesystem: Any, name: str, url: str, limit: int) -> bytes:
    # A length that is given saves the request for it, and no block size means one request for all bytes.
    options = {"block_size": 0, "size": 1} if url.startswith(("http://", "https://")) and "::" not in url else {}
    with filesystem.open(name, "rb", **options) as stream:
        size = getattr(stream, "size", None) or 0
        check_length(url, size, limit)
        data = bytearray(stream.read(size + 1) if size else b"")
        # A server may not announce the length, and reading up to the limit at once would allocate the limit.
        while len(data) <= limit and (block := stream.read(_BLOCK)):
            data += block
    check_length(url, len(data), limit)
    return bytes(data)
