"""Parts of a run: files that are written all or nothing, and count once they are listed.

Every reader checks that the list is consistent: each sample once, with a row of every head. A file holds a digest of
every column that every reader checks. The checksums of Parquet cover the pages alone; the digests in the file's own
metadata also cover the names and places of columns, so that a changed bit anywhere in the file is detected without
another file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rate.errors import RunError
from rate.files import write_atomically
from rate.runs.failures import FailureCounts
from rate.runs.folder import LIST, part_name
from rate.runs.order import groups_of, ranks
from rate.runs.part_list import RELIST, ListedPart, read_list
from rate.runs.rows import SCHEMA
from rate.runs.run_document import RunDocument
from rate.types import UInt64

PART_ROWS = 256
PART_SECONDS = 30.0

KEPT_FAILURES = 20
"""The most reasons of failures in the list for a part; the reasons of a run are far fewer."""

KEY = "rate.key"
"""The metadata key under which a part stores the run's key."""

CURE = "`rate eval ... --repair`, with the arguments of the run, evaluates its samples again"


def write_part(folder: Path, key: str, rows: pa.Table) -> ListedPart:
    """Write rows of a run as a part, and return its entry in the list.

    Raises:
        StorageError: it cannot be written.
    """
    name = part_name(key, rows["id"].to_pylist())
    write_table(rows, folder / "samples" / name, {KEY: key})
    return entry(name, rows)


def entry(name: str, rows: pa.Table) -> ListedPart:
    """Return the entry in the list of a part with these rows."""
    rank, failed = ranks(rows["id"].to_pylist()), rows.filter(pc.is_valid(rows["error"]))
    settled = pc.value_counts(rows.filter(pc.is_null(rows["error"]))["settled"]).to_pylist()
    failures = FailureCounts()
    one_head = failed.filter(pc.equal(failed["head"], rows["head"][0]))  # all of them failed
    for identifier, error in zip(one_head["id"].to_pylist(), one_head["error"].to_pylist(), strict=True):
        failures.take(identifier, error)
    return ListedPart(
        name=name,
        rows=len(rows),
        first=f"{rank.min():016x}",
        last=f"{rank.max():016x}",
        errors=len(failed),
        settled={one["values"]: one["counts"] for one in settled},
        failures=failures.commonest(KEPT_FAILURES),
    )


def read_part(folder: Path, part: ListedPart, columns: list[str] | None = None) -> pa.Table:
    """Read rows of a listed part.

    Raises:
        RunError: it is missing or damaged.
    """
    path = folder / "samples" / part.name
    try:
        table = read_table(path, SCHEMA, columns)
    except DamagedTableError as error:
        raise RunError(f"{path} is listed in {LIST} and {error}; {CURE}") from error
    if len(table) != part.rows:
        raise RunError(f"{path} holds {len(table)} rows, {LIST} says {part.rows}: the part was changed; {CURE}")
    return table


def iter_parts(
    folder: Path,
    run: RunDocument,
    columns: list[str] | None = None,
    parts: Iterable[ListedPart] | None = None,
) -> Iterator[pa.Table]:
    """Yield the rows of ``parts``, part by part, and check that they make a run; None = the listed parts.

    Raises:
        RunError: a listed part is missing or damaged, the list names a sample twice, or it is inconsistent.
    """
    read = None if columns is None else list(dict.fromkeys(["id", "head", *columns]))
    parts = read_list(folder, run.rows) if parts is None else tuple(parts)
    check = ListCheck(folder, run, parts)
    for part in parts:
        table = read_part(folder, part, read)
        check.take(part, table)
        yield table if columns is None else table.select(columns)
    check.finish()


def iter_in_order(folder: Path, run: RunDocument, columns: list[str]) -> Iterator[pa.Table]:
    """Yield ``id``, ``head``, ``columns`` and ``rank`` of the listed parts in order of rank; see `iter_parts`.

    Of a finished run one part is held at a time; parts of an unfinished one whose ranges overlap are held together.
    """
    parts = read_list(folder, run.rows)
    check = ListCheck(folder, run, parts)
    for group in groups_of(parts):
        tables = []
        for part in group:
            table = read_part(folder, part, list(dict.fromkeys(["id", "head", *columns])))
            rank = ranks(table["id"].to_pylist())
            check.take(part, table, rank)
            tables.append(table.replace_schema_metadata(None).append_column("rank", pa.array(rank)))
        yield pa.concat_tables(tables).sort_by("rank")
    check.finish()


def read_rows(folder: Path, run: RunDocument, columns: list[str] | None = None) -> pa.Table:
    """Read all rows of the listed parts.

    Raises:
        RunError: as `iter_parts`.
    """
    names = SCHEMA.names if columns is None else columns
    tables = (table.replace_schema_metadata(SCHEMA.metadata) for table in iter_parts(folder, run, columns))
    return pa.concat_tables([SCHEMA.empty_table().select(names), *tables])


def contents_of(
    folder: Path, run: RunDocument, parts: Iterable[ListedPart] | None = None
) -> Iterator[tuple[str, bytes | None]]:
    """Yield the id of every sample in ``parts`` of the run, with the digest of the files of which it was computed.

    None = the listed parts.

    Raises:
        RunError: as `iter_parts`.
    """
    for table in iter_parts(folder, run, ["id", "content"], parts):
        yield from dict(zip(table["id"].to_pylist(), table["content"].to_pylist(), strict=True)).items()


def ids_of(folder: Path, run: RunDocument) -> Iterator[str]:
    """Yield the id of every sample in the listed parts, once for each head.

    Raises:
        RunError: as `iter_parts`.
    """
    for table in iter_parts(folder, run, ["id"]):
        yield from pc.unique(table["id"]).to_pylist()


def fault_of(table: pa.Table, name: str, key: str, heads: Iterable[str]) -> str | None:
    """Describe the fault of the rows (their columns ``id`` and ``head``) of the part ``name``, or return None.

    Every sample must have one row of every head, and the samples must be those that the name is a digest of.
    """
    own = about_of(table, KEY)
    if own is not None and own != key:
        return f"belongs to the run with key {own[:12]}, not to that with key {key[:12]}"
    if not len(table):
        return "holds no sample"
    ids = table["id"].to_pylist()
    rows = set(zip(ids, table["head"].to_pylist(), strict=True))
    if name != part_name(key, ids):
        return "holds other samples than its name says"
    if len(rows) != len(ids) or rows != {(one, head) for one in set(ids) for head in heads}:
        return f"does not hold one row of each head ({', '.join(heads)}) for each of its samples"
    return None


class ListCheck:
    """Compares the parts of a run with its list while they are read.

    It takes 8 bytes for each sample of a part whose range of ranks overlaps that of another, and none for the others.
    """

    def __init__(self, folder: Path, run: RunDocument, parts: Iterable[ListedPart]) -> None:
        """Begin with the parts that will be taken."""
        self._folder, self._run = folder, run
        self._heads = [head.name for head in run.heads]
        self._ranks, self._samples = bytearray(), 0
        self._overlapping = {part.name for group in groups_of(parts) if len(group) > 1 for part in group}

    def take(self, part: ListedPart, table: pa.Table, rank: UInt64 | None = None) -> None:
        """Check one part, of which at least ``id`` and ``head`` were read; ``rank`` is of its rows, if it is known.

        Raises:
            RunError: its rows are not those of its name and of the run's heads.
        """
        if fault := fault_of(table, part.name, self._run.key, self._heads):
            raise RunError(f"{self._folder / 'samples' / part.name} {fault}: the part was changed; {CURE}")
        rank = np.unique(ranks(pc.unique(table["id"]).to_pylist()) if rank is None else rank)
        if (f"{rank.min():016x}", f"{rank.max():016x}") != (part.first, part.last):
            place = self._folder / "samples" / part.name
            raise RunError(f"{place} holds samples of other ranks than {LIST} says; {RELIST}")
        self._samples += len(rank)
        if part.name in self._overlapping:
            self._ranks += rank.tobytes()

    def finish(self) -> None:
        """Check all parts together.

        Raises:
            RunError: two of them hold the same sample, there are more samples than the data set has, or fewer although
                the run is complete.
        """
        place, available = self._folder / LIST, self._run.samples.available
        stored, rank = self._samples, np.frombuffer(self._ranks, np.uint64)
        rank.sort()
        if twice := int((rank[1:] == rank[:-1]).sum()):
            raise RunError(f"the parts that {place} lists hold {twice} samples twice; {RELIST}")
        if stored > available:
            raise RunError(f"the parts that {place} lists hold {stored} of {available} samples; {RELIST}")
        if stored < available and self._run.status == "complete":
            raise RunError(
                f"{self._folder / 'run.json'} says complete, and the parts that {LIST} lists hold {stored} of "
                f"{available} samples; {RELIST}"
            )


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
