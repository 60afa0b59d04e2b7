"""Parquet files of a run, written all or nothing, with a digest of every column that every reader checks.

The checksums of Parquet cover the pages alone. The digests in the file's own metadata also cover the names and places
of columns, so that a changed bit anywhere in the file is detected without another file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rate.files import write_atomically

_DIGESTS = b"rate.digests"


class DamagedTableError(Exception):
    """A file is missing, unreadable or changed; the message continues its path."""


def write_table(table: pa.Table, path: Path, about: Mapping[str, str] | None = None) -> None:
    """Write ``table`` with its digests, and with ``about`` in its metadata.

    Raises:
        StorageError: it cannot be written.
    """
    digests = {name: _digest(table[name]) for name in table.schema.names}
    metadata = (table.schema.metadata or {}) | {_DIGESTS: json.dumps(digests).encode()}
    metadata |= {name.encode(): value.encode() for name, value in (about or {}).items()}
    described = table.replace_schema_metadata(metadata)
    write_atomically(path, lambda file: pq.write_table(described, file, write_page_checksum=True))


def read_table(path: Path, schema: pa.Schema, columns: Sequence[str] | None = None) -> pa.Table:
    """Read the named columns of a file with ``schema``; None = all of them. The metadata is the file's own.

    Raises:
        DamagedTableError: it is not whole. A file without digests, of an earlier version, is compared with its schema
            and the checksums of its pages alone.
    """
    names = list(schema.names if columns is None else columns)
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read(names, use_threads=False)
        _check_schema(table, schema, names)
        _check_digests(table)
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, MemoryError, pa.ArrowException) as error:
        raise DamagedTableError(f"cannot be read ({str(error) or type(error).__name__})") from error
    return table.select(names)


def about_of(table: pa.Table, name: str) -> str | None:
    """Return the ``about`` that `write_table` wrote into the metadata; None if it is absent."""
    value = (table.schema.metadata or {}).get(name.encode())
    return None if value is None else value.decode("utf-8", "replace")


def _check_schema(table: pa.Table, schema: pa.Schema, names: Sequence[str]) -> None:
    for name in names:
        own = schema.field(name)
        if table.schema.names.count(name) != 1 or table.schema.field(name).type != own.type:
            raise DamagedTableError(f"has no column {name} of {own.type}: the file was changed")
        if not own.nullable and table[name].null_count:
            raise DamagedTableError(f"has rows without {name}: the file was changed")


def _check_digests(table: pa.Table) -> None:
    written = (table.schema.metadata or {}).get(_DIGESTS)
    if written is None:
        return
    digests = json.loads(written)
    for name in table.schema.names:
        if digests.get(name) != _digest(table[name]):
            raise DamagedTableError(f"holds other values in its column {name} than were written: the file was changed")


def _digest(column: pa.ChunkedArray) -> str:
    """Compute the digest of a column's values, independent of chunks and encoding."""
    digest = hashlib.blake2b(np.asarray(pc.is_valid(column)).tobytes(), digest_size=8)
    if pa.types.is_string(column.type) or pa.types.is_binary(column.type):
        values = pc.fill_null(column.cast(pa.binary()), b"")
        digest.update(np.asarray(pc.binary_length(values)).tobytes())
        digest.update(b"".join(values.to_pylist()))
    else:
        digest.update(np.asarray(pc.fill_null(column, pa.scalar(0).cast(column.type))).tobytes())
    return digest.hexdigest()
