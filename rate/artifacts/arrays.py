"""Arrays of an .npz file of untrusted origin; sizes are checked before memory is allocated."""

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
            member = archive.getinfo(f"{name}.npy")
            if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
                raise ValueError(f"{name!r} is compressed or encrypted")
            with archive.open(member) as stream:
                there = _header(stream, name, kind)
                for axis, count in zip(shape, there, strict=False):
                    wanted = axes.setdefault(axis, count) if isinstance(axis, str) else axis
                    if count != wanted:
                        raise ValueError(f"{name!r} has the shape {there}, expected {shape} with {axes}")
                if len(there) != len(shape) or stream.tell() + _SIZES[kind] * math.prod(there) != member.file_size:
                    raise ValueError(f"{name!r} has the shape {there} in {member.file_size:,} bytes, expected {shape}")
                if member.file_size > path.stat().st_size:
                    raise ValueError(f"{name!r} has {member.file_size:,} bytes, more than the file")
                stream.seek(0)
                arrays[name] = np.lib.format.read_array(stream, allow_pickle=False)
    return arrays


def _header(stream: IO[bytes], name: str, kind: str) -> tuple[int, ...]:
    try:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):
            raise ValueError(f"version {version} of npy, expected (1, 0)")
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    except Exception as error:  # numpy parses a header as Python, so a damaged one raises exceptions of any type
        raise ValueError(f"{name!r} has no header that can be read: {error}") from error
    if dtype.kind != kind or dtype.itemsize != _SIZES[kind]:
        raise ValueError(f"{name!r} holds {dtype}, expected {kind}{_SIZES[kind]}")
    return tuple(shape)
