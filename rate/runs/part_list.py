"""parts.jsonl: the parts of a run that count, a line each.

The owner of a run appends a line once a part is whole on the disk. What a killed process left of a line has no end and
counts for nothing; every whole line has a digest of itself. Only where parts are dropped or joined is the list written
anew, all or nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, ClassVar, TypeAlias

from msgspec import Meta, field

from rate.errors import RunError
from rate.files import read_whole, storage_error, storing, write_atomically
from rate.records import Count, Document, as_line, from_line
from rate.runs.failures import Failure
from rate.runs.folder import LIST
from rate.runs.rows import RunStats

Rank: TypeAlias = Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]

RELIST = "`rate eval ... --repair`, with the arguments of the run, makes the list again from the parts that are there"


class ListedPart(Document, frozen=True, tag="rate.part/2"):
    """A part that counts. It has a name and no path: it is read and, when it is listed no more, deleted."""

    has_digest: ClassVar[bool] = True

    name: Annotated[str, Meta(pattern=r"^part-[0-9a-f]+\.parquet$")]
    rows: Count
    first: Annotated[Rank, Meta(description="lowest rank of its samples: blake2b-64 of the id, as hex digits")]
    last: Annotated[Rank, Meta(description="highest rank of its samples")]
    errors: Annotated[Count, Meta(description="rows of samples that failed")] = 0
    settled: Annotated[dict[str, Count], Meta(description="fixed | decided | capped: rows that did not fail")] = field(
        default_factory=dict
    )
    failures: Annotated[tuple[Failure, ...], Meta(description="the commonest")] = ()
    session: Annotated[Count, Meta(description="number of the session that listed the part, from 1; 0: unknown")] = 0
    stats: Annotated[RunStats, Meta(description="of that session so far")] = RunStats()


def read_list(folder: Path, rows: int | None = None) -> tuple[ListedPart, ...]:
    """Read the list of a run folder.

    Args:
        folder: the run folder.
        rows: how many rows the parts have at least, from run.json.

    Raises:
        RunError: it is missing or damaged, has fewer rows, or lists a part twice.
    """
    path = folder / LIST
    try:
        *lines, _ = read_whole(path).split(b"\n")
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read ({error}); {RELIST}") from error
    parts: dict[str, ListedPart] = {}
    for number, line in enumerate(lines, 1):
        try:
            part = from_line(line, ListedPart)
        except ValueError as error:
            raise RunError(f"{path}, line {number}: {error}; {RELIST}") from error
        if part.name in parts:
            raise RunError(f"{path} lists {part.name} twice; {RELIST}")
        parts[part.name] = part
    if (listed := sum(part.rows for part in parts.values())) < (rows or 0):
        raise RunError(f"{path} lists {listed} rows, run.json says {rows}; {RELIST}")
    return tuple(parts.values())


def latest_session(folder: Path) -> ListedPart | None:
    """Return the latest part, which has the session that listed it; None if there is none, or the list is damaged."""
    with suppress(RunError):
        return next(reversed(read_list(folder)), None)
    return None


class PartLog:
    """The list of a run in the hands of its owner."""

    def __init__(self, folder: Path, parts: Iterable[ListedPart] = ()) -> None:
        """Begin with the parts that count; nothing is written before `replace`."""
        self._path = folder / LIST
        self._listed = {part.name: (part, 0) for part in parts}  # and the byte where its line ends

    @property
    def parts(self) -> tuple[ListedPart, ...]:
        """The parts that count, in the order of the list."""
        return tuple(part for part, _ in self._listed.values())

    def append(self, part: ListedPart) -> None:
        """List one more part, unless it is listed; after an interrupt at any point the same call finishes it.

        Raises:
            StorageError: it cannot be written; the part is not listed.
        """
        if part.name in self._listed:
            return
        line, end = as_line(part), next((end for _, end in reversed(self._listed.values())), 0)
        try:
            with storing(self._path), self._path.open("r+b") as file:
                file.truncate(end)  # what a write that failed has left
                file.seek(end)
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise storage_error(self._path, error) from error
        self._listed[part.name] = part, end + len(line)

    def replace(self, parts: Iterable[ListedPart]) -> None:
        """Write the list anew.

        Raises:
            StorageError: it cannot be written; the old list still exists.
        """
        listed, lines, end = {}, [], 0
        for part in parts:
            lines.append(as_line(part))
            end += len(lines[-1])
            listed[part.name] = part, end
        write_atomically(self._path, lambda file: file.writelines(lines))
        self._listed = listed
