"""Arrays of an .npz file that somebody else may have written: nothing is allocated before its size is known."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

_SIZES = {"f": 4, "i": 8}
Expected = tuple[str, tuple[str | int, ...]]
"""Kind, "f" = float32 or "i" = int64, and shape; an axis with a name has one size wherever the name stands."""


def read_arrays(path: Path, expected: Mapping[str, Expected]) -> dict[str, Any]:
    """The arrays of these names, of the kinds and shapes that are expected.

    An array lies in the file as it is, as `numpy.savez` writes it. A compressed one, or one whose header promises more
    than the file holds, would make a small file fill the memory.

    Raises:
        OSError, zipfile.BadZipFile: the file cannot be read.
        ValueError, KeyError, NotImplementedError, EOFError: an array is missing or other than expected.
    """
    arrays: dict[str, Any] = {}
    axes: dict[str, int] = {}
    with zipfile.ZipFile(path) as archive:
        for name, (kind, shape) in expected.items():
            member = archive.getinfo(f"{name}.npy")
            if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
                raise ValueError(f"{name!r} is compressed or encrypted")
            with archive.open(member) as stream:
                there = _header(stream, name, kind)
                for axis, count in zip(shape, there, strict=False):
                    wanted = axes.setdefault(axis, count) if isinstance(axis, str) else axis
                    if count != wanted:
                        raise ValueError(f"{name!r} has the shape {there}, expected {shape} with {axes}")
                if len(there) != len(shape) or stream.tell() + _SIZES[kind] * _product(there) != member.file_size:
                    raise ValueError(f"{name!r} has the shape {there} in {member.file_size:,} bytes, expected {shape}")
                if member.file_size > path.stat().st_size:
                    raise ValueError(f"{name!r} has {member.file_size:,} bytes, more than the file")
                stream.seek(0)
                arrays[name] = np.lib.format.read_array(stream, allow_pickle=False)
    return arrays


def _header(stream: IO[bytes], name: str, kind: str) -> tuple[int, ...]:
    """The shape of the array that begins here."""
    try:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):
            raise ValueError(f"version {version} of npy, expected (1, 0)")
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    except Exception as error:  # numpy parses a header as Python, which a damaged one leads to exceptions of any type
        raise ValueError(f"{name!r} has no header that can be read: {error}") from error
    if dtype.kind != kind or dtype.itemsize != _SIZES[kind]:
        raise ValueError(f"{name!r} holds {dtype}, expected {kind}{_SIZES[kind]}")
    return tuple(shape)


def _product(shape: tuple[int, ...]) -> int:
    count = 1
    for axis in shape:
        count *= axis
    return count
