"""The rows of heads as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO

import pyarrow as pa
from pyarrow import csv

from rate.report.heads import VALUES, HeadRun
from rate.runs.rows import SCHEMA


def write_rows(heads: Sequence[HeadRun], names: Sequence[str], file: IO[bytes]) -> None:
    """Write the rows of all heads, part by part, in the order of a run.

    Args:
        heads: the heads.
        names: what they are called, in the first column; the others are those of a run's rows without its sketches.
        file: a binary file.

    Raises:
        RunError: a part of a run is missing or damaged.
    """
    schema = pa.schema([pa.field("name", pa.string()), *(SCHEMA.field(name) for name in VALUES)])
    with csv.CSVWriter(file, schema) as writer:
        for name, head in zip(names, heads, strict=True):
            for rows in head.batches(VALUES):
                named = pa.array([name] * len(rows), pa.string())
                writer.write_table(pa.table([named, *(rows[column] for column in VALUES)], schema))
