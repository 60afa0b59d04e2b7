"""The small parts of a run joined, so that the number of files follows that of the rows and not the time they took."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from rate.runs.part_list import ListedPart
from rate.runs.parts import read_part, write_part
from rate.runs.rows import SCHEMA


def join_parts(folder: Path, key: str, parts: Iterable[ListedPart], least: int) -> list[ListedPart]:
    """Write the rows of the parts with fewer than ``least`` rows as parts with at least so many; the last has the rest.

    Nothing is deleted: the parts that were joined count until the returned list is written, and a run that goes on
    without that list deletes the joined ones, whose samples it has.

    Returns:
        The parts that hold the same rows: those that were large enough, then the joined ones.

    Raises:
        RunError: a part is missing or damaged.
        StorageError: a part cannot be written.
    """
    parts = list(parts)
    kept, small = ([part for part in parts if (part.rows < least) is is_small] for is_small in (False, True))
    for group in _groups(small, least):
        if len(group) == 1:
            kept += group
            continue
        tables = [read_part(folder, part).replace_schema_metadata(SCHEMA.metadata) for part in group]
        kept.append(write_part(folder, key, pa.concat_tables(tables).combine_chunks()))
    return kept


def _groups(parts: Sequence[ListedPart], least: int) -> Iterator[list[ListedPart]]:
    group: list[ListedPart] = []
    for part in parts:
        group.append(part)
        if sum(one.rows for one in group) >= least:
            yield group
            group = []
    if group:
        yield group
