"""Objects of remote storage: the version of an object, and its bytes in one request.

The version of an object of S3 and HTTP comes with its bytes, so a read of a pinned one costs no request more. Of other
storages it is asked for after the bytes: what was replaced before is seen, and versions do not come back.
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


def is_http(url: str) -> bool:
    """Tell whether a URL names an object by HTTP."""
    return url.startswith(("http://", "https://")) and "::" not in url


def uncached(url: str) -> str:
    """Remove links that keep copies of whole files of any length from a URL (`simplecache::https://...`)."""
    return "::".join(link for link in url.split("::") if link not in _CACHES)


def version_of(info: Mapping[str, Any]) -> str:
    """Return the version of an object from what its storage says of it; empty = it says nothing of the kind."""
    return str(next((info[name] for name in _VERSIONS if info.get(name)), "")).strip('"')


def has_versions(url: str) -> bool:
    """Tell whether a storage can be asked for versions and for parts of objects.

    The Hugging Face Hub, which limits the number of requests, is not; a set there has a commit.
    """
    return "::" not in url and not url.startswith("hf://")


def object_stamp(url: str) -> Stamp | None:
    """Return the stamp of the present version of an object; None = its storage says nothing that changes with it.

    Raises:
        FileNotFoundError: there is none.
        OSError: the storage does not answer.
    """
    filesystem, name = storage(url)
    if is_http(url):  # a signed URL is for GET alone, so a HEAD would be refused
        size, version, _ = http_part(filesystem, name, "bytes=0-0")
    else:
        filesystem.invalidate_cache()  # of listings, whose versions may be old
        info = filesystem.info(name)
        size, version = info.get("size") or 0, version_of(info)
    return version_stamp(size, version) if version else None


def http_part(filesystem: Any, url: str, asked: str) -> tuple[int, str, bytes | None]:
    """Return length and version of an object, with the bytes that are asked for; None = the server sends all or none.

    Raises:
        FileNotFoundError: there is none.
        PermissionError: the server refuses to give it.
    """
    from fsspec.asyn import sync

    async def ask() -> tuple[int, str, bytes | None]:
        session = await filesystem.set_session()
        options = filesystem.kwargs | {"headers": _as_stored(filesystem) | {"Range": asked}}
        async with session.get(filesystem.encode_url(url), **options) as answer:
            try:
                filesystem._raise_not_found_for_status(answer, url)
            except Exception as error:
                if 400 <= answer.status < 500 and answer.status != 429 and not isinstance(error, FileNotFoundError):
                    raise PermissionError(f"{url} is refused: {error}") from error
                raise
            total = answer.headers.get("Content-Range", "").rpartition("/")[2]
            is_part = answer.status == 206 and total.isdecimal()
            size = int(total if is_part else answer.headers.get("Content-Length", 0))
            return size, version_of(answer.headers), await answer.read() if is_part else None

    answered: tuple[int, str, bytes | None] = sync(filesystem.loop, ask)
    return answered


def _as_stored(filesystem: Any) -> dict[str, str]:
    """Return headers that ask for bytes as they are stored: in another encoding they would have another version."""
    return dict(filesystem.kwargs.get("headers", {})) | {"Accept-Encoding": "identity"}


def version_stamp(size: int, version: str) -> Stamp:
    """Return the stamp of a version of an object."""
    return Stamp(size, 0, 0, 0, "", version)


def object_bytes(url: str, limit: int, expected: Stamp | None = None) -> bytes:
    """Return all bytes of an object; of S3 and HTTP in one request.

    Args:
        url: where it is.
        limit: the largest length, bytes; a longer one is not read to its end.
        expected: the version of the first reading of the set; None = any.

    Raises:
        SampleError: the object is longer than ``limit``.
        SetChanged: it has another version than ``expected``, or is gone.
        FileNotFoundError: there is none, and none is expected.
    """
    filesystem, name = storage(url)
    try:
        if is_s3(url):
            return _s3_bytes(filesystem, name, url, limit, expected)
        if is_http(url):
            return _http_bytes(filesystem, name, url, limit, expected)
        with filesystem.open(name, "rb") as stream:
            data = _streamed(stream, url, getattr(stream, "size", None) or 0, limit)
        if expected is not None:
            check_same(url, expected, object_stamp(url))
        return data
    except FileNotFoundError:
        check_same(url, expected, None)
        raise


def _s3_bytes(filesystem: Any, name: str, url: str, limit: int, expected: Stamp | None) -> bytes:
    answer = s3_answer(filesystem, name)
    try:
        check_same(url, expected, version_stamp(answer["ContentLength"], version_of(answer)))
        check_length(url, answer["ContentLength"], limit)
    except RateError:
        answer["Body"].close()
        raise
    return s3_body(filesystem, answer)


def s3_answer(filesystem: Any, name: str, **asked: str) -> Any:
    """Ask S3 for an object; its bytes come with `s3_body`."""
    bucket, key, _ = filesystem.split_path(name)
    return filesystem.call_s3("get_object", Bucket=bucket, Key=key, **asked)


def s3_body(filesystem: Any, answer: Any) -> bytes:
    """Return the bytes of an answer."""
    from fsspec.asyn import sync

    try:
        data: bytes = sync(filesystem.loop, answer["Body"].read)
    finally:
        answer["Body"].close()
    return data


def _http_bytes(filesystem: Any, name: str, url: str, limit: int, expected: Stamp | None) -> bytes:
    # A length that is given saves the request for it, and no block size means one request for all bytes.
    with filesystem.open(name, "rb", block_size=0, size=1, headers=_as_stored(filesystem)) as stream:
        told = stream.r.headers
        size = int(told.get("Content-Length", 0))
        check_same(url, expected, version_stamp(size, version_of(told)))
        return _streamed(stream, url, size, limit)


def _streamed(stream: Any, url: str, size: int, limit: int) -> bytes:
    """Read a stream to its end; a ``size`` of 0 is not known."""
    check_length(url, size, limit)
    data = bytearray(stream.read(size + 1) if size else b"")
    # A server may not announce the length, and reading up to the limit at once would allocate the limit.
    while len(data) <= limit and (block := stream.read(_BLOCK)):
        data += block
    check_length(url, len(data), limit)
    return bytes(data)
