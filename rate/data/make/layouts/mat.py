"""Variables of a MATLAB 5 file. Files of other versions and large files are refused before parsing."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rate.errors import SampleError, need
from rate.files import read_whole

MAX_BYTES = 1 << 20
"""The largest annotation or list that is read, bytes."""

MAX_INFLATED = 1 << 26
"""The largest total of its inflated compressed parts, bytes."""

_MAGIC = b"MATLAB 5.0 MAT-file"
_HEADER = 128  # bytes; the last two define the byte order
_COMPRESSED = 15  # type of a compressed part


def load_mat(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Read the named variables of a .mat file.

    Raises:
        SampleError: the file is missing, not of version 5, too large, damaged, or lacks a variable.
        MissingExtra: scipy is not installed.
    """
    io = need("scipy.io", "mat")
    try:
        data = read_whole(path, MAX_BYTES)
        _check(path, data)
        variables = io.loadmat(BytesIO(data), variable_names=list(names))
    except SampleError:
        raise
    # scipy raises arbitrary exceptions for a damaged file: ValueError, TypeError, zlib.error, ...
    except Exception as error:
        raise SampleError(f"{path} cannot be read: {type(error).__name__}: {error}") from error
    missing = [name for name in names if name not in variables]
    if missing:
        raise SampleError(f"{path} lacks {', '.join(missing)}")
    return {name: np.asarray(variables[name]) for name in names}


def _check(path: Path, data: bytes) -> None:
    if not data.startswith(_MAGIC):
        raise SampleError(f"{path} is not a MATLAB file of version 5")
    order = "<" if data[_HEADER - 2 : _HEADER] == b"IM" else ">"
    at, inflated = _HEADER, 0
    while at + 8 <= len(data):  # each part has a type, a length and its bytes
        kind, length = struct.unpack_from(f"{order}II", data, at)
        if kind == _COMPRESSED:
            part = data[at + 8 : at + 8 + length]
            inflated += len(zlib.decompressobj().decompress(part, MAX_INFLATED + 1 - inflated))
        if inflated > MAX_INFLATED:
            raise SampleError(f"{path} has more than {MAX_INFLATED:,} bytes once it is inflated")
        at += 8 + length


def texts(path: Path, values: NDArray[Any]) -> list[str]:
    """Return the texts of a cell array, in order.

    Raises:
        SampleError: a cell is no text.
    """
    cells = [cell.item() if isinstance(cell, np.ndarray) and cell.size == 1 else cell for cell in values.ravel()]
    if not all(isinstance(cell, str) for cell in cells):
        raise SampleError(f"{path}: expected a cell array of texts")
    return [str(cell) for cell in cells]
