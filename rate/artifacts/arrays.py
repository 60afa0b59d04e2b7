"""Arrays of .npy and .npz files of untrusted origin; sizes are checked before memory is allocated."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

_SIZES = {"f": 4, "i": 8, "u": 1}
Expected = tuple[str, tuple[str | int, ...]]
"""Kind, "f" = float32, "i" = int64 or "u" = uint8, and shape; an axis with a name has one size in all arrays."""


def read_arrays(path: Path, expected: Mapping[str, Expected]) -> dict[str, Any]:
    """Read the arrays of these names with the expected kinds and shapes.

    Arrays are stored uncompressed, as `numpy.savez` writes them. A compressed array, or one whose header promises more
    than the file holds, is refused, since a small file could fill the memory.

    Raises:
        OSError, zipfile.BadZipFile: the file cannot be read.
        ValueError, KeyError, NotImplementedError, EOFError: an array is missing or not as expected.
    """
    arrays: dict[str, Any] = {}
    axes: dict[str, int] = {}
    with zipfile.ZipFile(path) as archive:
        for name, (kind, shape) in expected.items():
            member = _stored(archive.getinfo(f"{name}.npy"), name)
            with archive.open(member) as stream:
                there = _header(stream, name, kind)
                for axis, count in zip(shape, there, strict=False):
                    wanted = axes.setdefault(axis, count) if isinstance(axis, str) else axis
                    if count != wanted:
                        raise ValueError(f"{name!r} has the shape {there}, expected {shape} with {axes}")
                if len(there) != len(shape) or stream.tell() + _SIZES[kind] * math.prod(there) != member.file_size:
                    raise ValueError(f"{name!r} has the shape {there} in {member.file_size:,} bytes, expected {shape}")
                _check_fits(member, name, path)
                stream.seek(0)
                arrays[name] = np.lib.format.read_array(stream, allow_pickle=False)
    return arrays


def read_all_arrays(path: Path) -> dict[str, Any]:
    """Read every array of an .npz file by name, or the one of an .npy file under the name "", as `read_arrays` does.

    Raises:
        OSError, zipfile.BadZipFile: the file cannot be read.
        ValueError, NotImplementedError, EOFError: an array holds Python objects, or is not stored whole and plain.
    """
    if path.suffix == ".npy":
        with path.open("rb") as stream:
            return {"": _whole(stream, "the array", path.stat().st_size)}
    arrays: dict[str, Any] = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            _check_fits(_stored(member, name), name, path)
            with archive.open(member) as stream:
                arrays[name] = _whole(stream, repr(name), member.file_size)
    return arrays


def _whole(stream: IO[bytes], name: str, size: int) -> Any:
    shape, dtype = _read_header(stream, name)
    if dtype.hasobject:
        raise ValueError(f"{name} holds Python objects, which are not unpickled; save text as numpy.array(names, str)")
    if stream.tell() + dtype.itemsize * math.prod(shape) != size:
        raise ValueError(f"{name} has the shape {shape} in {size:,} bytes")
    stream.seek(0)
    return np.lib.format.read_array(stream, allow_pickle=False)


def _stored(member: zipfile.ZipInfo, name: str) -> zipfile.ZipInfo:
    if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
        raise ValueError(f"{name!r} is compressed or encrypted; write it by numpy.savez")
    return member


def _check_fits(member: zipfile.ZipInfo, name: str, path: Path) -> None:
    if member.file_size > path.stat().st_size:
        raise ValueError(f"{name!r} has {member.file_size:,} bytes, more than the file")


def _header(stream: IO[bytes], name: str, kind: str) -> tuple[int, ...]:
    shape, dtype = _read_header(stream, repr(name))
    if dtype.kind != kind or dtype.itemsize != _SIZES[kind]:
        raise ValueError(f"{name!r} holds {dtype}, expected {kind}{_SIZES[kind]}")
    return shape


def _read_header(stream: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):
            raise ValueError(f"version {version} of npy, expected (1, 0)")
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    except Exception as error:  # numpy parses a header as Python, so a damaged one raises exceptions of any type
        raise ValueError(f"{name} has no header that can be read: {error}") from error
    return tuple(shape), dtype
